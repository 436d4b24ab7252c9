"""Commands on a terminal of their own, which is emulated."""

from __future__ import annotations

import fcntl
import os
import struct
import termios
from asyncio import create_task, to_thread
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pyte

from tests.integration.processes import Run, Worker


class OnATerminal:
    """A command whose stdin, stdout and stderr are one terminal."""

    def __init__(self, run: Run, terminal: int, size: tuple[int, int]) -> None:
        self.run = run
        self.terminal = terminal
        self.shown = b""
        """All bytes that the terminal was sent."""
        self._screen = pyte.HistoryScreen(*size, history=10_000)
        self._stream = pyte.ByteStream(self._screen)
        self._fed = 0

    def read(self) -> None:
        try:
            while block := os.read(self.terminal, 65536):
                self.shown += block
        except OSError:  # the other end is closed
            return

    def resize(self, columns: int, rows: int) -> None:
        """Change the size of the terminal."""
        set_size(self.terminal, (columns, rows))
        self._feed()
        self._screen.resize(rows, columns)

    def _feed(self) -> None:
        shown = self.shown  # a thread adds to it
        self._stream.feed(shown[self._fed :])
        self._fed = len(shown)

    @property
    def lines(self) -> list[str]:
        """What can be read on the terminal, what has scrolled away included, without empty lines."""
        self._feed()
        gone = ["".join(line[column].data for column in range(len(line))) for line in self._screen.history.top]
        return [line.rstrip() for line in [*gone, *self._screen.display] if line.strip()]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def set_size(terminal: int, size: tuple[int, int]) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))


@asynccontextmanager
async def on_a_terminal(
    worker: Worker,
    *arguments: str | Path,
    size: tuple[int, int] = (100, 30),
    term: str = "xterm",
    redirect: str = "2>&1",
    before: str = "",
    **options: Any,
) -> AsyncIterator[OnATerminal]:
    """Start a command on a terminal of this size (columns, rows) and kind."""
    terminal, other = os.openpty()
    set_size(terminal, size)
    environ = f"TERM={term}; export TERM; unset NO_COLOR; {before}"
    run = worker.start(*arguments, stdin=other, stdout=other, redirect=redirect, before=environ, **options)
    os.close(other)
    it = OnATerminal(run, terminal, size)
    reading = create_task(to_thread(it.read))
    try:
        yield it
    finally:
        run.process.kill()  # else the reading would not end
        run.process.wait()
        await reading
        os.close(terminal)
