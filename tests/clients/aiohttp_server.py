"""aiohttp's server as a program: `python -m tests.clients.aiohttp_server FD module:function`.

Knows: how aiohttp serves what the function makes on a listening socket.
Must not know: the application.
"""

from __future__ import annotations

import socket
import sys
from importlib import import_module

from aiohttp import web

if __name__ == "__main__":
    module, _, name = sys.argv[2].partition(":")
    make = getattr(import_module(module), name)
    web.run_app(make(), sock=socket.socket(fileno=int(sys.argv[1])), print=None)
