"""`safe_filename`: every name of the file sink's list, and what holds for all others."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mpflow.filenames import safe_filename

DEVICES = [f"{port}{digit}" for port in ("COM", "LPT") for digit in range(10)]


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("photo.jpg", "photo.jpg"),
        ("naïve résumé.txt", "naïve résumé.txt"),
        ("写真 1.png", "写真 1.png"),
        ("../../etc/passwd", "passwd"),
        ("/etc/passwd", "passwd"),
        ("..\\..\\x", "x"),
        ("C:\\Users\\me\\photo.jpg", "photo.jpg"),
        ("\\\\server\\share\\f.txt", "f.txt"),
        ("C:evil.txt", "C_evil.txt"),
        ("file.txt:stream", "file.txt_stream"),
        ('a<b>c"d|e?f*g', "a_b_c_d_e_f_g"),
        ("a\x00b\x01c\x7fd\x85e", "abcde"),
        ("line\r\nbreak", "linebreak"),
        ("gpj.\u202eexe", "gpj.exe"),
        ("a\u2066b\u200dc\ufeffd", "abcd"),
        ("a\ud800b\udcffc", "abc"),
        ("\uff0e\uff0e\uff0fetc", "etc"),  # fullwidth: `../etc` once normalised
        ("\u2024\u2024\uff0f\u2024\u2024", "unnamed"),  # one-dot leaders
        ("x\uff3cy", "y"),
        ("a\uff1ab", "a_b"),
        (".\u200b.", "unnamed"),
        ("..", "unnamed"),
        (".", "unnamed"),
        ("", "unnamed"),
        ("dir/", "unnamed"),
        (" . . ", "unnamed"),
        ("---", "unnamed"),
        (None, "unnamed"),
        ("name. . ", "name"),
        ("-rf", "rf"),
        (".htaccess", "htaccess"),
        (" .-x", "x"),
        ("CON", "_CON"),
        ("con.txt.html", "_con.txt.html"),
        ("COM\u00b9", "_COM1"),  # the superscript one is a 1 to Windows and to NFKC
        ("com1 .txt", "_com1 .txt"),
        ("CONIN$", "_CONIN$"),
        ("CONSOLE.txt", "CONSOLE.txt"),
        ("COM10", "COM10"),
    ],
)
def test_names(name: str | None, safe: str) -> None:
    assert safe_filename(name) == safe


@pytest.mark.parametrize("device", ["CON", "PRN", "AUX", "NUL", *DEVICES])
def test_no_device_in_any_case_with_any_extension(device: str) -> None:
    for name in (device, device.lower(), f"{device}.txt", f"{device} .tar.gz"):
        assert safe_filename(name) == f"_{name}"


def test_a_long_name_is_cut_after_encoding_and_keeps_its_extension() -> None:
    safe = safe_filename("ж" * 300 + ".tar")
    assert safe == "ж" * 125 + ".tar"
    assert len(safe.encode()) == 254  # half a character does not fit


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("a" * 255, "a" * 255),
        ("a" * 256, "a" * 255),
        ("a." + "b" * 300, "a." + "b" * 253),  # too long to be an extension
        ("a" * 250 + " " * 10 + ".txt", "a" * 250 + ".txt"),
        ("CON" + " " * 300 + "x.txt", "_CON.txt"),  # cut, it became a device
        ("CON." + "a" * 300 + ".txt", "_CON." + "a" * 246 + ".txt"),
        ("\ufdfa" * 100 + ".x", safe_filename("\ufdfa" * 100 + ".x")),
    ],
    ids=["fits", "cut", "no-extension", "spaces", "device", "device-full", "grows"],
)
def test_cutting(name: str, safe: str) -> None:
    assert safe_filename(name) == safe
    assert len(safe.encode()) <= 255


def test_what_is_longer_than_a_path_is_looked_at_in_part() -> None:
    marks = "a" + "\u0300\u0316" * 500_000 + ".txt"  # to sort them all would take minutes
    safe = safe_filename(marks)
    assert safe.startswith("à")
    assert safe.endswith(".txt")


def test_default() -> None:
    assert safe_filename("..", default="file.bin") == "file.bin"
    assert safe_filename("a.txt", default="file.bin") == "a.txt"


@pytest.mark.parametrize("default", ["", "..", "a/b", "CON", "-x", "a\x00"])
def test_an_unsafe_default_is_refused(default: str) -> None:
    with pytest.raises(ValueError, match="expected a safe filename as default"):
        safe_filename("a.txt", default=default)


nasty = st.text(
    st.sampled_from('.-_ /\\:<>"|?*\x00\x1f\u202e\u200d\uff0e\uff0f\u00b9\u0301\ud800ab1CONcomж')
)


@given(st.one_of(nasty, st.text(), st.text(min_size=200), nasty.map(lambda x: x * 40)))
@example("CON" * 100)
@example("a" * 254 + "é")
@example("=\u0338" + "<\u0338")
def test_what_holds_for_every_name(name: str) -> None:
    safe = safe_filename(name)
    assert safe
    assert safe_filename(safe) == safe
    assert 1 <= len(safe.encode()) <= 255  # no lone surrogate is left to refuse
    assert not set('/\\:<>"|?*') & set(safe)
    assert not any(unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in safe)
    assert safe[0] not in ".- "
    assert safe[-1] not in ". "
    assert unicodedata.is_normalized("NFKC", safe)
    assert safe.partition(".")[0].rstrip().upper() not in ("CON", "PRN", "AUX", "NUL", *DEVICES)
