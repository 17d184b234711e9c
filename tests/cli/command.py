"""`mpflow` in a process of its own, and mails to give to it.

Knows: how a command is run. Must not know: what it does.
"""

from __future__ import annotations

import subprocess
import sys
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

__all__ = ["COMMAND", "GIF", "PATIENCE", "Done", "mail", "run"]

COMMAND = [sys.executable, "-m", "mpflow"]
PATIENCE = 60.0
"""Seconds that anything may take on a busy machine."""

GIF = b"GIF89a" + bytes(range(256)) * 40

Done = subprocess.CompletedProcess[bytes]


def run(*arguments: str | Path, cwd: Path, data: bytes | None = b"") -> Done:
    """Run a command to its end; it must not have shown a traceback."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        input=data,
        capture_output=True,
        cwd=cwd,
        timeout=PATIENCE,
    )
    assert b"Traceback" not in done.stderr, done.stderr
    return done


def mail(*, stored: bool = False) -> bytes:
    """A mail of the standard library: text and HTML, and two attachments of one name.

    `stored` has bare LFs, as files on many disks have.
    """
    message = EmailMessage()
    message["Subject"] = "Grüße"
    message.set_content("Käse\n", cte="quoted-printable")
    message.add_alternative("<p>Käse\n", subtype="html", cte="base64")
    for data in (GIF, GIF[::-1]):
        message.add_attachment(data, maintype="image", subtype="gif", filename="bild.gif")
    return message.as_bytes() if stored else message.as_bytes(policy=SMTP)
