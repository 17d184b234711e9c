"""The command `mpflow`, as the console starts it: Ctrl-C is quiet while Python still imports.

Knows: SIGINT. Must not know: anything of the command. It stands beside the package `mpflow`, not in
it: importing any module of a package imports all that the package itself imports, before a line of
the module runs.
"""

from __future__ import annotations

import signal

__all__ = ["main"]

# Python's own handler raises KeyboardInterrupt in the midst of an import, and shows a traceback.
# Another handler is left alone, as is SIG_IGN, which a shell's job in the background has.
_is_ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
if _is_ours:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def main() -> int:
    """Run the command line of the process; the exit code. SIGINT ends what does not catch it."""
    from mpflow.cli import main as run  # while SIGINT has its default

    try:
        if _is_ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return run()
    except KeyboardInterrupt:
        return 130  # 128 + SIGINT: it came between the handler and the command
    finally:
        if _is_ours:  # what is left is to end
            signal.signal(signal.SIGINT, signal.SIG_DFL)
