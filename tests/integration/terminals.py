"""Commands on a terminal of their own."""

from __future__ import annotations

import json
import os
from asyncio import create_task, to_thread
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.integration.processes import Run, Worker


class OnATerminal:
    """A command whose stdin, stdout and stderr are one terminal."""

    def __init__(self, run: Run, terminal: int) -> None:
        self.run = run
        self.terminal = terminal
        self.shown = b""

    def read(self) -> None:
        try:
            while block := os.read(self.terminal, 65536):
                self.shown += block
        except OSError:  # the other end is closed
            return

    @property
    def lines(self) -> list[str]:
        return self.shown.decode().replace("\r\n", "\n").split("\n")

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines[:-1] if line.startswith("{")]


@asynccontextmanager
async def on_a_terminal(worker: Worker, *arguments: str | Path, **options: Any) -> AsyncIterator[OnATerminal]:
    terminal, other = os.openpty()
    run = worker.start(*arguments, stdin=other, stdout=other, redirect="2>&1", **options)
    os.close(other)
    it = OnATerminal(run, terminal)
    reading = create_task(to_thread(it.read))
    try:
        yield it
    finally:
        run.process.kill()  # else the reading would not end
        run.process.wait()
        await reading
        os.close(terminal)
