"""The scanner of parameters: `; name=value; name="value"`, from left to right, once.

Knows: the grammar of RFC 2045, 5.1, quoted strings, and what browsers and others make of them.
Must not know: which header this is, or what RFC 2231 makes of several parameters.
"""

from __future__ import annotations

import re

import attrs

from mpflow.errors import excerpt
from mpflow.wire.headers.policy import Findings

__all__ = ["CONTROL", "TCHAR", "TOKEN", "Parameter", "check_text", "scan_parameters"]

# RFC 2045, 5.1: "token := 1*<any (US-ASCII) CHAR except SPACE, CTLs, or tspecials>"
TCHAR = r"!#$%&'*+\-.0-9A-Z^_`a-z{|}~"
TOKEN = re.compile(f"[{TCHAR}]+")
# RFC 9110, 5.5 and 5.6: CTL, without the tab, which is white space.
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_CONTROLS = (
    ("nul", re.compile("\0")),
    ("bare-cr-lf", re.compile("[\r\n]")),
    ("control-character", re.compile(r"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]")),
)

# RFC 2231, 7: attribute-char leaves out "*", "'" and "%"; a section has no leading zero.
# Five digits are more than any header holds, and few enough for int().
_KEY = re.compile(r"([!#$&+\-.0-9A-Z^_`a-z{|}~]++)(?:\*(0|[1-9][0-9]{0,4}+))?(\*)?")
_OWS = re.compile(r"[ \t]*+")
_SEPARATORS = re.compile(r"[; \t]*+")
_TO_EQUALS = re.compile(r"[^=;]*+")
_TO_SEMICOLON = re.compile(r"[^;]*+")
_WORD = re.compile(r"[^; \t]*+")
# Possessive throughout: a quote that does not close fails at once, without going back.
_QUOTED = re.compile(r'"([^"\\]*+(?:\\.[^"\\]*+)*+)"', re.DOTALL)
# What most parameters are: nothing to undo, nothing to record. The rest is for `_Scanner`.
_USUAL = re.compile(
    r"; ?([!#$&+\-.0-9A-Z^_`a-z{|}~]++)="
    r'(?:"([^"\\%]*+)"|([!#$&+\-.0-9A-Z^_`a-z{|}~]++))(?=;|\Z)'
)
_NOTED = re.compile(r'[ \t"]')  # in a value without quotes, these have codes of their own
_COMMENT = re.compile(r'\([^()"\\;]*+\)[ \t]*+(?=;|\Z)')
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
# A drive or a share that nobody escaped: `C:\x`, `\\server\x`; never `C:\\x` or `\\a\\b`.
_WINDOWS_PATH = re.compile(r'[A-Za-z]:\\[^\\"]|\\\\[^\\"]++\\[^\\"]')
# WHATWG HTML, "multipart form data": these three and no other are escaped by browsers.
_BROWSER_ESCAPE = re.compile(r"%(22|0[AaDd])")
_BROWSER_ESCAPES = {"22": '"', "0D": "\r", "0A": "\n"}
_BROWSER_KEYS = frozenset({"name", "filename"})


@attrs.frozen
class Parameter:
    """One `name=value` as it stands there: `filename*1*=x` is ("filename", 1, True, "x")."""

    key: str
    section: int | None
    extended: bool
    value: str
    quoted: bool


def check_text(value: str, notes: Findings) -> str:
    """Judge the controls in a header's value that came as text; give it back without CR and LF."""
    if CONTROL.search(value) is None:
        return value.strip(" \t")
    for code, pattern in _CONTROLS:
        match = pattern.search(value)
        if match is not None:
            got = excerpt(value[match.start() : match.start() + 41])
            notes.note(code, f"expected a header without {match[0]!a}, got {got}")
    return value.replace("\r", " ").replace("\n", " ").strip(" \t")


def scan_parameters(
    text: str, pos: int, notes: Findings, *, disposition: bool = False, form: bool = False
) -> list[Parameter]:
    """All parameters of `text` from `pos` on, in their order.

    `pos` is the end of what stands before the first semicolon. `disposition` reads a name and a
    filename as browsers mean them; `form` undoes the browsers' escapes as well.
    """
    scanner = _Scanner(text, notes, disposition, form)
    parameters: list[Parameter] = []
    if pos < len(text) and text[pos] != ";":
        pos = scanner.skip_junk(pos)
    while pos < len(text):
        usual = _USUAL.match(text, pos)
        if usual is not None:
            key, quoted, token = usual.groups()
            value = token if quoted is None else quoted
            parameters.append(Parameter(key.lower(), None, False, value, quoted is not None))
            pos = usual.end()
            continue
        start = _end(_SEPARATORS, text, pos + 1)
        if start == len(text) or ";" in text[pos + 1 : start]:
            notes.note("empty-parameter", "expected a parameter after ';'", text[pos:start])
        if start == len(text):
            break
        parameter, pos = scanner.parameter(start)
        if parameter is not None:
            parameters.append(parameter)
    return parameters


@attrs.frozen
class _Scanner:
    """One header's value. Each method begins at a place, and says where it ends."""

    text: str
    notes: Findings
    disposition: bool
    form: bool

    def parameter(self, start: int) -> tuple[Parameter | None, int]:
        """The parameter that begins at `start`, or None where it has to be left out."""
        text, notes = self.text, self.notes
        pos = _end(_TO_EQUALS, text, start)
        name = text[start:pos]
        if '"' in name:
            notes.note("misplaced-quote", "expected a parameter", name)
        if text[pos : pos + 1] != "=":
            notes.note("parameter-without-value", "expected 'name=value'", name)
            return None, pos
        bare = name.rstrip(" \t")
        begin = _end(_OWS, text, pos + 1)
        if begin > pos + 1 or bare != name:
            notes.note("space-around-equals", "expected no white space", text[start : begin + 1])
        key = _KEY.fullmatch(bare)
        base = "" if key is None else key[1].lower()
        browser = self.disposition and base in _BROWSER_KEYS
        quoted = text[begin : begin + 1] == '"'
        if quoted:
            value, pos = self._quoted(begin)
            value = _unescape(value, notes, browser=browser, path=browser and base == "filename")
        else:
            value, pos = self._unquoted(begin, comments=not browser)
        if key is None:
            notes.note("malformed-parameter", "expected a token", bare)
            return None, pos
        section = None if key[2] is None else int(key[2])
        if self.form and browser and section is None and not key[3]:
            value = _BROWSER_ESCAPE.sub(_browser_escape, value)
        return Parameter(base, section, key[3] is not None, value, quoted), pos

    def _quoted(self, start: int) -> tuple[str, int]:
        """The quoted string that begins at `start`, still escaped."""
        match = _QUOTED.match(self.text, start)
        if match is not None:
            return match[1], self.skip_junk(match.end())
        self.notes.note("unclosed-quote", "expected a closing quote", self.text[start:])
        return self.text[start + 1 :], len(self.text)

    def _unquoted(self, start: int, *, comments: bool) -> tuple[str, int]:
        """The value without quotes that begins at `start`.

        RFC 2045, 5.1 has comments after a value, "charset=us-ascii (Plain text)"; in a name or
        filename that nobody quoted, "photo (1)" is no comment.
        """
        text, notes = self.text, self.notes
        stop = _end(_WORD, text, start)
        end = _end(_OWS, text, stop)
        if end < len(text) and text[end] != ";":
            if comments and _COMMENT.match(text, end):
                end = self.skip_junk(end)
            else:
                end = _end(_TO_SEMICOLON, text, end)
                stop = start + len(text[start:end].rstrip(" \t"))
                notes.note("unquoted-space", "expected a quoted value", text[start:stop])
        value = text[start:stop]
        if '"' in value:
            notes.note("misplaced-quote", "expected a value", value)
        if not value:
            notes.note("empty-value", "expected a value after '='", value)
        elif TOKEN.fullmatch(_NOTED.sub("", value) or "-") is None:
            notes.note("unquoted-value", "expected a quoted value", value)
        return value, end

    def skip_junk(self, pos: int) -> int:
        """To the next semicolon, or the end; what stands before it is recorded."""
        pos = _end(_OWS, self.text, pos)
        comment = _COMMENT.match(self.text, pos)
        if comment is not None:
            self.notes.note("comment", "expected no comment", comment[0])
            return comment.end()
        end = _end(_TO_SEMICOLON, self.text, pos)
        if end > pos:
            junk = self.text[pos:end]
            # A parser that knows quotes and one that does not see different semicolons here.
            code = "misplaced-quote" if '"' in junk else "junk-after-value"
            self.notes.note(code, "expected ';' or the end", junk)
        return end


def _unescape(raw: str, notes: Findings, *, browser: bool, path: bool) -> str:
    """What a quoted string means.

    RFC 2045 has quoted pairs: `\\x` is `x`. Browsers have none: a backslash is a backslash, and
    old ones send whole paths. Common ground: `\\"` and `\\\\` are pairs, for everybody who escapes
    at all. Before another character a backslash is kept in a name or filename, and recorded.
    """
    if "\\" not in raw:
        return raw
    if path and _WINDOWS_PATH.match(raw) and '"' not in raw:
        notes.note("windows-path", "expected a filename without a path", raw)
        return raw
    stray = False

    def pair(match: re.Match[str]) -> str:
        nonlocal stray
        if match[1] in '"\\':
            return match[1]
        stray = True
        return match[0] if browser else match[1]

    value = _ESCAPE.sub(pair, raw)
    if stray:
        notes.note("stray-backslash", "expected \\\\ for a backslash", raw)
    return value


def _browser_escape(match: re.Match[str]) -> str:
    return _BROWSER_ESCAPES[match[1].upper()]


def _end(pattern: re.Pattern[str], text: str, pos: int) -> int:
    """Where a pattern that always matches ends."""
    match = pattern.match(text, pos)
    assert match is not None
    return match.end()
