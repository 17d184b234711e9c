"""Asks a service how it is, again and again, until its own input ends.

Knows: HTTP. Must not know: the service. In a process of its own, whose clock nobody holds up.
Prints how long each answer took, in seconds, as JSON.
"""

from __future__ import annotations

import json
import select
import sys
import time
from http.client import HTTPConnection

PAUSE = 0.01


def main(port: int) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    took: list[float] = []
    while True:
        start = time.perf_counter()
        connection.request("GET", "/health")
        response = connection.getresponse()
        assert response.status == 200
        response.read()
        took.append(time.perf_counter() - start)
        if select.select([sys.stdin], [], [], PAUSE)[0]:
            print(json.dumps(took))
            return


if __name__ == "__main__":
    main(int(sys.argv[1]))
