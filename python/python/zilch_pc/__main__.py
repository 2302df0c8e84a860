"""The command line: the script zilch, and python -m zilch_pc. It behaves as the binary of the same name."""

import os
import signal
import sys

from . import _core


def _prepare() -> None:
    """Gives the process what the binary's runtime gives it."""
    # The command handles signals itself. Python's handler would add a KeyboardInterrupt.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if os.name != "posix":
        return
    # A stream that the caller closed must not become the number of a file that a command writes.
    for stream in range(3):
        try:
            os.fstat(stream)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def main() -> int:
    """Runs the command of sys.argv, and returns its exit code."""
    _prepare()
    return _core.main(["zilch", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
