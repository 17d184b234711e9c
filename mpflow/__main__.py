"""`python -m mpflow`: the same as the command `mpflow`."""

from __future__ import annotations

import sys

from mpflow.cli import main

if __name__ == "__main__":
    sys.exit(main())
