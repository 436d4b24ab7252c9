"""The receiver that people copy (`deploy/examples/receiver.py`), as a process."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from tests.integration.processes import ROOT, eventually


class ExampleReceiver:
    """The example, in a folder of its own."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.url = folder, f"http://127.0.0.1:{port}/hooks"
        self._environ = os.environ | {"PORT": str(port), "PYTHONWARNINGS": "error"}
        self.output = folder / "output"
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0

    async def start(self, *, secret: str) -> None:
        self._starts += 1
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - it starts without blocking
                [sys.executable, ROOT / "deploy" / "examples" / "receiver.py"],
                cwd=self.folder,
                stdout=output,
                stderr=output,
                env=self._environ | {"WEBHOOK_SECRET": secret},
            )
        await eventually(
            lambda: self.output.read_text().count("Running on") == self._starts, otherwise=self.output.read_text
        )

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def handled(self) -> list[str]:
        """The lines about events that it has worked on."""
        return [line for line in self.output.read_text().splitlines() if line.startswith("ready ")]

    def kept(self) -> list[str]:
        """The IDs of the events that it has kept."""
        with closing(sqlite3.connect(self.folder / "events.sqlite3")) as database:
            return [identity for (identity,) in database.execute("SELECT id FROM events ORDER BY rowid")]
