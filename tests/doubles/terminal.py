"""A terminal that is emulated."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import pyte

from asset_worker.runtime.footer import Footer, Row


class Terminal:
    """A terminal that shows text, and the rows of a live display below it."""

    def __init__(self, columns: int, rows: int = 24) -> None:
        self.columns, self.rows = columns, rows
        self._screen = pyte.HistoryScreen(columns, rows, history=10_000)
        self._stream = pyte.Stream(self._screen)
        self.footer = Footer()

    def write(self, text: str) -> int:
        """Write text above the rows."""
        before, after = self.footer.around(text.encode(), columns=self.columns, reflows=False)
        self.feed(before + text.encode() + after)
        return len(text)

    def show(self, rows: Sequence[Row]) -> None:
        """Show these rows below the text."""
        self.footer.wanted = rows
        before, after = self.footer.around(b"", columns=self.columns, reflows=False)
        self.feed(before + after)

    def feed(self, data: bytes) -> None:
        """Take what a process writes; the driver of the terminal makes `\\r\\n` of a newline."""
        self._stream.feed(data.decode().replace("\n", "\r\n"))

    @property
    def lines(self) -> list[str]:
        """All lines, those that have scrolled away as well, without those after the last that is not empty."""
        gone = ["".join(line[column].data for column in range(self.columns)) for line in self._screen.history.top]
        lines = [line.rstrip() for line in [*gone, *self._screen.display]]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    @property
    def cursor(self) -> tuple[int, int]:
        """The column, and the line of `lines`."""
        return self._screen.cursor.x, self._screen.cursor.y + len(self._screen.history.top)


def size_of(terminal: Terminal) -> Callable[[int], os.terminal_size]:
    return lambda _fd: os.terminal_size((terminal.columns, terminal.rows))
