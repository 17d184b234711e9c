"""A run: all services are up, and each client uploads to all of them.

Knows: how the services are started. Must not know: how a client is told to send, how an answer is
judged, or how the outcome is written down.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.clients.matrix.hard import ENTRIES, SMALL
from tests.clients.matrix.judge import refused, whole
from tests.clients.matrix.known import CLIENTS, SERVICES, Outcome, Outcomes
from tests.clients.matrix.rules import HINDERED, sendable
from tests.clients.matrix.senders import SENDERS
from tests.clients.servers import SERVERS, serving
from tests.integrations.wsgi_servers import serving as serving_wsgi

__all__ = ["run", "services", "upload"]


@contextmanager
def services(folder: Path) -> Iterator[dict[str, str]]:
    """All servers at work: the address of each, without a path."""
    with ExitStack() as stack:
        urls: dict[str, str] = {}
        for kind in (*SERVERS, "aiohttp"):
            app = "of_aiohttp" if kind == "aiohttp" else "app"
            module = f"tests.clients.matrix.services:{app}"
            urls[kind] = stack.enter_context(serving(kind, module, _made(folder / kind))).url
        for kind in ("gunicorn", "werkzeug"):
            module = "tests.clients.matrix.wsgi_services"
            server = stack.enter_context(serving_wsgi(kind, _made(folder / kind), module))
            urls[kind] = f"http://127.0.0.1:{server.port}"
        yield urls


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def upload(client: str, urls: Mapping[str, str], folder: Path) -> dict[tuple[str, str], Outcome]:
    """One client's uploads: the outcome by server and framework."""
    large, small = sendable(client, ENTRIES), sendable(client, ENTRIES[:SMALL])
    found: dict[tuple[str, str], Outcome] = {}
    # Where the body is dropped, what is large is taken for requests that nobody understands.
    for sent, is_hindered in ((large, False), (small, True)):
        pairs = [
            (server, framework)
            for server, frameworks in SERVICES.items()
            for framework in frameworks
            if ((client, server) in HINDERED) == is_hindered
        ]
        if pairs:
            addresses = [f"{urls[server]}/{framework}" for server, framework in pairs]
            answers = SENDERS[client].send(addresses, sent, _made(folder / f"{is_hindered}"))
            judged = (refused(it) if is_hindered else whole(client, sent, it) for it in answers)
            found |= dict(zip(pairs, judged, strict=True))
    return found


def run(folder: Path) -> Outcomes:
    """All of it."""
    with services(folder) as urls:
        return {
            client: upload(client, urls, _made(folder / f"client{number}"))
            for number, client in enumerate(CLIENTS)
        }
