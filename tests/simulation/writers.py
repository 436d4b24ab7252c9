"""The programs that write the queue file: whole lines, and lines that come in two parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.simulation.setup import QUEUE_FILE

if TYPE_CHECKING:
    from tests.simulation.file_system import SimulatedFiles
    from tests.simulation.loop import SimulatedLoop


class Writers:
    """Writers that take turns: who begins a line completes it before another one begins."""

    def __init__(self, files: SimulatedFiles, loop: SimulatedLoop) -> None:
        self._files = files
        self._loop = loop
        self._complete: Callable[[], None] | None = None
        """What completes the line that is written in part; None: there is none."""

    @property
    def is_within_line(self) -> bool:
        """Whether a line is written in part."""
        return self._complete is not None

    def append(self, line: bytes) -> None:
        """Append a whole line."""
        if self._complete is not None:
            self._complete()
        self._files.append(QUEUE_FILE, line)

    def tear(self, line: bytes, *, share: float, rest_after: float, done: Callable[[], None]) -> None:
        """Append this share of a line, and the rest so many seconds later, or when another writer's turn comes.

        `done` is called when the line is whole.
        """
        cut = max(1, int(share * len(line)))
        self.append(line[:cut])

        def complete() -> None:
            if self._complete is complete:
                self._complete = None
                self._files.append(QUEUE_FILE, line[cut:])
                done()

        self._complete = complete
        self._loop.call_later(rest_after, complete)
