"""The worker, which notes each file that it opens: `python -m tests.integration.opens FILE run …`.

Each line of FILE is an audit event of Python, `open` or `sqlite3.connect`, and the path.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from asset_worker.cli import main

NOTED = ("open", "sqlite3.connect")


def note_opens(file: str) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in NOTED and not isinstance(arguments[0], int):
            os.write(descriptor, f"{event} {os.fsdecode(arguments[0])}\n".encode())

    sys.addaudithook(hook)


if __name__ == "__main__":
    note_opens(sys.argv.pop(1))
    main()
