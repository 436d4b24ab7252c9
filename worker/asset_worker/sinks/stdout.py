"""The sink `-`: events as lines on standard output."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Sequence
from typing import Final, Literal

from asset_worker.domain.events import Stored
from asset_worker.runtime.line_stream import LineStream
from asset_worker.runtime.paths import is_same_open_file
from asset_worker.runtime.threads import DaemonThread, WorkerThread
from asset_worker.sinks.lines import ToLines, first_bytes, lines_of
from asset_worker.sinks.ports import Sent, SinkContext, SinkUnavailableError, TargetProblem

SEND_BYTES: Final = 1 << 16
"""The most bytes sent at once, as much as a pipe holds: so a slow reader is seen to take events."""


class StdoutSink:
    """Standard output. Events may be repeated after a restart: what the reader already has is not known.

    `thread` must be used by nothing else: a slow reader blocks it.
    """

    kind: Literal["ordered"] = "ordered"
    name = "stdout"

    def __init__(self, thread: WorkerThread, *, fd: int | None = None, to_lines: ToLines = lines_of) -> None:
        self._thread = thread
        self._to_lines = to_lines
        self._fd = standard_output() if fd is None else fd
        self._stream = LineStream(self._fd)

    def resume(self, checkpoint: bytes | None) -> None:
        """Do nothing: there is no checkpoint in a stream."""

    async def check(self) -> None:
        """Check that standard output was opened for writing.

        Raises:
            SinkUnavailableError: it was not.
        """
        if (problem := _problem_of(self._fd)) is not None:
            raise SinkUnavailableError(problem.text)

    async def send(self, events: Sequence[Stored]) -> Sent:
        """Write the first events, one a line.

        Raises:
            SinkUnavailableError: standard output could not be written.
        """
        lines = self._to_lines(first_bytes(events, SEND_BYTES))
        try:
            return Sent(await self._thread.run(self._stream.write, lines), None)
        except OSError as error:
            raise SinkUnavailableError(f"standard output: {error.strerror}") from error

    def writes_to(self, descriptor: int) -> bool:
        """Return whether standard output goes to the file of a descriptor."""
        return is_same_open_file(self._fd, descriptor)

    async def close(self) -> None:
        """End the thread. Standard output stays open."""
        self._thread.close()


def checked_target(target: str) -> str:
    """Return the target, which is always `-`."""
    return target


def find_problem(_target: str) -> TargetProblem | None:
    """Return what keeps standard output from being written in this process; None: nothing that can be seen."""
    return _problem_of(standard_output())


def _problem_of(fd: int) -> TargetProblem | None:
    if fd < 0:
        return TargetProblem("standard output is closed: redirect it with > or >>, or name a file", is_final=True)
    if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        return TargetProblem("standard output is open for reading only: redirect it with > or >>", is_final=True)
    return None


def find_warnings(_target: str) -> tuple[()]:
    """Return nothing: what is wrong with a target of this form is a problem."""
    return ()


def open_sink(_target: str, context: SinkContext) -> StdoutSink:
    """Return the sink, with a thread of its own."""
    return StdoutSink(DaemonThread("stdout"), to_lines=context.lines_on_stdout)


def standard_output() -> int:
    """Return the descriptor of standard output; an invalid one if the process was started without it (`>&-`).

    In that case descriptor 1 belongs to the first file that is opened, which could be the journal.
    """
    return -1 if sys.__stdout__ is None else 1
