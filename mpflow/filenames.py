"""A client's filename, made harmless.

Knows: which names a file system, a shell or a person may take for something else.
Must not know: directories, files, parts; nothing here touches a disk.
"""

from __future__ import annotations

import re
import unicodedata

__all__ = ["safe_filename"]

_MAX_BYTES = 255  # NAME_MAX of the common file systems; NTFS counts 255 UTF-16 units, never more
_MAX_EXTENSION = 64
_MAX_INPUT = 2048  # characters looked at; normalising costs more than linear on long marks runs
_SEPARATORS = re.compile(r"[/\\]")
_RESERVED = re.compile(r'[<>:"|?*]')  # Windows; the colon is a drive or an alternate data stream
_DROPPED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})  # controls, format and bidi, lone surrogates
_DEVICES = frozenset(
    ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$"]
    + [f"{port}{digit}" for port in ("COM", "LPT") for digit in range(10)]
)


def safe_filename(name: str | None, *, default: str = "unnamed") -> str:
    """The last component of `name` as a filename that is safe on any common file system.

    It is at most 255 bytes in UTF-8, in form NFKC, and never empty. It holds no separator, no
    control, format or bidi character, no lone surrogate and nothing that Windows reserves
    (such a character becomes `_`). It neither begins with a dot, a hyphen or a space nor ends
    with a dot or a space, and is no Windows device. A name that is too long is cut at a character
    and keeps its extension. Where nothing is left, `default` is given; a `default` that is not
    safe itself raises `ValueError`.

    A safe name comes out as it went in. Safe does not mean free: two clients may send the same
    name, or names that differ only by case.
    """
    if default != "unnamed" and (not default or _clean(default) != default):
        raise ValueError(f"expected a safe filename as default, got {default[:40]!a}")
    return (_clean(name) if name else "") or default


def _clean(name: str) -> str:
    name = _last(name)
    if len(name) > _MAX_INPUT:
        name = name[: _MAX_INPUT // 2] + name[-_MAX_INPUT // 2 :]
    name = "".join(char for char in name if unicodedata.category(char) not in _DROPPED)
    # Normalised before anything is checked: fullwidth dots and solidi turn into real ones here.
    name = _last(unicodedata.normalize("NFKC", name))
    name = _RESERVED.sub("_", name)
    name = _cut(_trim_end(name.lstrip(" .-")))
    if _is_device(name):
        name = _cut("_" + name)
    return name


def _last(path: str) -> str:
    return _SEPARATORS.split(path)[-1]


def _trim_end(name: str) -> str:
    return name.rstrip(" .")


def _cut(name: str) -> str:
    """`name` in at most 255 bytes; its extension is kept where that is a short one."""
    if len(name.encode()) <= _MAX_BYTES:
        return name
    stem, dot, extension = name.rpartition(".")
    suffix = (dot + extension).encode()
    if not stem or len(suffix) > _MAX_EXTENSION:
        stem, suffix = name, b""
    kept = stem.encode()[: _MAX_BYTES - len(suffix)].decode(errors="ignore")
    return _trim_end(kept) + suffix.decode()


def _is_device(name: str) -> bool:
    # Windows opens the device for `CON.txt.html` and for `COM1 .txt` as well.
    return name.partition(".")[0].rstrip(" ").upper() in _DEVICES
