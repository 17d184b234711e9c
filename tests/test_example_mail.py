"""The mail gateway example, fed as a mail server would: mails in, tickets and statuses out.

Knows: docs/examples/mail_gateway.py, and how mails are made. Must not know: how it reads them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from email.message import EmailMessage
from email.policy import SMTP, EmailPolicy, default
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).parents[1] / "docs" / "examples" / "mail_gateway.py"
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 2000


def deliver(mail: bytes, tickets: Path, backend: str = "asyncio") -> tuple[int, str, list[Path]]:
    """What the program says to a mail, and the tickets that there are."""
    command = [sys.executable, EXAMPLE, f"--tickets={tickets}", f"--backend={backend}"]
    done = subprocess.run(command, input=mail, capture_output=True, timeout=60)
    return done.returncode, done.stderr.decode(), sorted(tickets.iterdir())


def mail_of(**headers: str) -> EmailMessage:
    mail = EmailMessage()
    mail["From"] = "Jörg <joerg@example.org>"
    mail["Subject"] = "Kaputt …"
    for name, value in headers.items():
        mail[name.replace("_", "-")] = value
    return mail


def ticket(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "ticket.json").read_text("utf-8"))
    assert sorted(path.name for path in folder.iterdir()) == ["files", "ticket.json"]
    return found


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("policy", [SMTP, default], ids=["crlf", "lf"])
def test_attachments_at_any_depth(policy: EmailPolicy, backend: str, tmp_path: Path) -> None:
    mail = mail_of()
    mail.set_content("Es ist kaputt.\n")
    mail.add_alternative("<p>Es ist <b>kaputt</b>.</p>", subtype="html")
    for filename in ("../../größe.png", "größe.png", "ticket.json"):
        mail.add_attachment(PICTURE, maintype="image", subtype="png", filename=filename)
    before = mail_of()
    before.set_content("Es ging noch.")
    mail.add_attachment(before)
    inner = EmailMessage()
    inner.set_content("Anbei.\n")
    inner.add_attachment(b"%PDF-1.7", maintype="application", subtype="pdf", filename=".profile")
    mail.attach(inner)
    status, errors, (folder,) = deliver(mail.as_bytes(policy=policy), tmp_path, backend)
    assert (status, errors) == (0, "")
    found = ticket(folder)
    assert (found["from"], found["subject"]) == ("Jörg <joerg@example.org>", "Kaputt …")
    assert found["text"].split() == ["Es", "ist", "kaputt.", "Anbei."]
    names = ["größe.png", "größe-1.png", "ticket.json", "forwarded.eml", "profile"]
    assert found["files"] == names
    files = {path.name: path.read_bytes() for path in (folder / "files").iterdir()}
    assert sorted(files) == sorted(names)
    assert files["größe-1.png"] == PICTURE
    assert b"Es ging noch." in files["forwarded.eml"]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_mail_of_one_body(newline: str, tmp_path: Path) -> None:
    mail = (
        "From: me@example.org\nSubject: =?utf-8?q?Gr=C3=B6=C3=9Fe?=\n"
        f"X-Long: {'x' * 9000}\n"
        "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n"
        "Gr=C3=B6=C3=9Fe\n--\n--mail--\n"
    )
    status, errors, (folder,) = deliver(mail.replace("\n", newline).encode(), tmp_path)
    assert (status, errors) == (0, "")
    found = ticket(folder)
    assert (found["subject"], found["files"]) == ("Größe", [])
    assert found["text"].split(newline)[0] == "Größe"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize(
    "kind",
    ["text/plain", "text/plain; charset=us-ascii", "multipart/mixed; boundary=b"],
)
def test_bytes_that_are_no_text_cost_no_mail(kind: str, backend: str, tmp_path: Path) -> None:
    content = b"gr\xfc\xdfe"
    if "boundary" in kind:
        content = b"--b\n\n" + content + b"\n--b--\n"
    head = b"From: J\xf6rg <joerg@example.org>\nSubject: \xff\nContent-Type: %s\n\n"
    status, errors, (folder,) = deliver(head % kind.encode() + content, tmp_path, backend)
    assert (status, errors) == (0, "")
    found = ticket(folder)
    assert (found["from"], found["subject"]) == ("J?rg <joerg@example.org>", "?")
    assert found["text"].strip() == "gr\ufffd\ufffde"


@pytest.mark.parametrize(
    ("mail", "text"),
    [
        (b"", "blank line"),
        (b"no headers\n\n", ""),
        (b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\ncut", "close delimiter"),
        (b"Content-Type: text/plain; charset=nonsense\n\nx", "charset"),
    ],
)
def test_what_cannot_be_read_is_bounced_and_leaves_nothing(
    mail: bytes, text: str, tmp_path: Path
) -> None:
    status, errors, tickets = deliver(mail, tmp_path)
    assert (status, tickets) == (os.EX_DATAERR, [])
    assert text in errors
    assert "Traceback" not in errors


def test_a_disk_without_room_has_the_mail_sent_again(tmp_path: Path) -> None:
    mail = mail_of()
    mail.set_content("Anbei.")
    mail.add_attachment(PICTURE, maintype="image", subtype="png", filename="a.png")
    tickets = tmp_path / "tickets"
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))"
    script = f"import runpy, sys; {limit}; sys.argv[0] = {str(EXAMPLE)!r}\n"
    script += f"runpy.run_path({str(EXAMPLE)!r}, run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", script, f"--tickets={tickets}"],
        input=mail.as_bytes(policy=SMTP),
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == os.EX_TEMPFAIL
    assert b"File too large" in done.stderr
    assert list(tickets.iterdir()) == []
