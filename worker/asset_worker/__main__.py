"""Runs the command `asset-worker`, also as `python -m asset_worker`."""

from __future__ import annotations

import signal


def main() -> None:
    """Load the command and run it.

    Meanwhile SIGINT ends the process. Python would raise a KeyboardInterrupt, which is dropped, and Ctrl-C with it, if
    it comes while a callback of an import runs.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from asset_worker.cli import main as run  # noqa: PLC0415 - see above

    run()


if __name__ == "__main__":
    main()
