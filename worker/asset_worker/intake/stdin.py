"""The intake of stdin, which may be a pipe, a terminal or a file; it is read in a thread of its own.

What was read from a pipe can't be put back, and no position can be stored. So everything that was read is accepted
before the run ends, or logged.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from asset_worker.domain.submissions import Batch, Rejection
from asset_worker.domain.worker_report import InputReport
from asset_worker.intake.descriptor import DescriptorReader
from asset_worker.intake.lines import parse, parse_lines, reject
from asset_worker.intake.ports import BatchReceiver, IntakeContext
from asset_worker.intake.splitter import LINE_BYTES_LIMIT, Line, LineSplitter, count_newlines
from asset_worker.runtime.log import get_logger
from asset_worker.runtime.stop import Stop
from asset_worker.runtime.threads import DaemonThread, WorkerThread

_log = get_logger()

ORIGIN: Final = "stdin"
CLOSE_SECONDS: Final = 1.0
"""How long the end waits for a read that hangs."""


class StdinIntake:
    """Reads a file descriptor to its end, the next chunk when all lines of the one before have been accepted."""

    name: Final = "standard input"
    unreadable_since: Final = None
    """Always None: the log says when."""
    is_following: Final = True
    """Always True: what is written to a pipe waits there."""
    progress: Final = InputReport()
    """Always empty: nobody knows how much more its writer has."""

    def __init__(self, descriptor: int, receiver: BatchReceiver, thread: WorkerThread) -> None:
        self._reader = DescriptorReader(descriptor)
        self._receiver = receiver
        self._thread = thread
        self._run_id = uuid.uuid4().hex  # a line of another run is another line, even with the same text
        self._splitter = LineSplitter(0)
        self._waiting: list[Line] = []
        """Lines that were read and have not been accepted yet."""
        self._next_line = 1
        self._error: str | None = None
        self.has_lost_input = False
        """See `Intake.has_lost_input`."""

    @property
    def unreadable(self) -> str | None:
        """The error that ended the reading; None: there was none. It stays: stdin can't be opened again."""
        return self._error

    async def run(self, stop: Stop) -> None:
        """Read until the input ends or `stop` is set. What was read by then is accepted, even if there is no room."""
        watching = asyncio.create_task(_when_set(stop, self._reader.stop))
        try:
            while not stop.is_set():
                try:
                    data = await self._thread.run(self._reader.read)
                except OSError as error:
                    await self._fail(error)
                    return
                if data is None:
                    break
                await self._accept(self._splitter.feed(data) if data else self._splitter.finish(), stop)
                if not data:
                    return
            await self._finish_line(stop)
        finally:
            watching.cancel()
            self._reader.stop()
            self.abandon()
            await self._close()

    def abandon(self) -> None:
        """Log the lines that were read and not accepted: they can't be read again, and the run is about to end."""
        lines = [(line, "the run ended before the journal had taken it") for line in self._waiting]
        cut = "the run ended within this line: another run would take the rest for a line of its own"
        lines += [(line, cut) for line in self._splitter.partial]
        self._waiting = []
        self._splitter.finish()
        number, count = self._next_line, 0
        for line, reason in lines:
            if parse(line, number=number, origin=ORIGIN, stream=self._run_id) is not None:
                text = line.raw.decode(errors="backslashreplace")
                _log.error("intake.not_accepted", source=f"{ORIGIN}:{number}", line=text, reason=reason)
                count += 1
            number += not line.zeros
        if count:
            self.has_lost_input = True
            _log.error("intake.not_accepted", count=count)

    async def _accept(self, lines: list[Line], stop: Stop) -> None:
        self._waiting = lines
        while self._waiting:
            room = await stop.race(self._receiver.room())
            now = self._waiting[:room]  # all, if the stop came while there was no room: they can't be put back
            parsed = parse_lines(now, first=self._next_line, origin=ORIGIN, stream=self._run_id)
            if parsed.submissions or parsed.rejections or parsed.zeros:
                await self._receiver.accept(Batch(parsed.submissions, parsed.rejections, ORIGIN, None, parsed.zeros))
            self._waiting = self._waiting[len(now) :]
            self._next_line += count_newlines(now)

    async def _finish_line(self, stop: Stop) -> None:
        """Read the rest of the line in which the stop came, if it is there: the next reader would misread it."""
        if self._splitter.partial:
            rest, has_ended = await self._thread.run(self._reader.read_rest_of_line, _LONGEST)
            await self._accept([*self._splitter.feed(rest), *(self._splitter.finish() if has_ended else [])], stop)

    async def _fail(self, error: OSError) -> None:
        """Report that stdin can't be read, and reject the line in which that happened: its end is unknown."""
        self._error = error.strerror or str(error)
        self.has_lost_input = True
        _log.error("intake.failed", source=ORIGIN, error=self._error)
        self._waiting = self._splitter.finish()
        rejections = self._rejections(self._waiting, f"incomplete: reading failed within this line ({self._error})")
        if rejections:
            await self._receiver.accept(Batch([], rejections, ORIGIN, None))
        self._waiting = []

    def _rejections(self, lines: Sequence[Line], why: str) -> list[Rejection]:
        number, run_id = self._next_line, self._run_id
        held = [line for line in lines if parse(line, number=number, origin=ORIGIN, stream=run_id) is not None]
        return [reject(line, why, number=number, origin=ORIGIN, stream=run_id) for line in held]

    async def _close(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._thread.run(self._reader.close)
        self._thread.close()


_LONGEST: Final = 2 * LINE_BYTES_LIMIT
"""Bytes of the rest of a line that are read after the stop: more than a good line has."""


async def _when_set(stop: Stop, call: Callable[[], None]) -> None:
    await stop.wait()
    call()


def open_intake(_source: Path | str, context: IntakeContext) -> StdinIntake:
    """Return an intake that reads standard input, with a thread of its own."""
    return StdinIntake(0, context.receiver, DaemonThread("stdin"))
