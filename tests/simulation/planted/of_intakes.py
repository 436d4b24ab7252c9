"""Faults of what reads and accepts submissions."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any
from unittest.mock import patch

from asset_worker.intake.account import follower as account
from asset_worker.intake.file import file_set
from asset_worker.intake.file.file_set import FileSet
from asset_worker.intake.file.tail_reader import TailReader
from asset_worker.intake.http.intake import HttpIntake
from asset_worker.intake.ingest import Ingest
from tests.simulation.planted.registry import planted


@planted("torn-line-read", "nobody has ever uploaded", "lost:", "rejected lines")
def torn_line_read() -> Iterator[None]:
    """The first part of a line that is still being written is read as a line."""
    read = TailReader.read

    def read_all(self: TailReader, max_lines: int) -> list[Any]:
        return read(self, max_lines) or self._splitter.finish()

    with patch.object(TailReader, "read", read_all):
        yield


@planted("rotated-file-forgotten", "lost:")
def rotated_file_forgotten() -> Iterator[None]:
    """A file that was rotated is closed at once: what was written before, and not read, is forgotten."""
    move_on = FileSet._move_on

    def forget_old(self: FileSet, newest: Any, beside: Any, rewritten: Any, now: float, **rest: Any) -> None:
        for file in beside:
            file.close()
        move_on(self, newest, [], rewritten, now, **rest)
        for file in [*self.old]:
            self.retire(file)

    with patch.object(FileSet, "_move_on", forget_old):
        yield


@planted("rotated-file-left-open", "not closed")
def rotated_file_left_open() -> Iterator[None]:
    """The descriptor of the queue file is never closed."""

    def keep_open(self: TailReader) -> None:
        self.descriptor = -1

    with patch.object(TailReader, "close", keep_open):
        yield


@planted("truncation-unnoticed", "lost:", "rejected lines", "times, and may be")
def truncation_unnoticed() -> Iterator[None]:
    """A file that was copied and truncated is taken for the same as before, until it is as long again."""
    with (
        patch.object(file_set, "_is_rewritten", lambda _: False),
        patch.object(TailReader, "is_intact", lambda _: True),
    ):
        yield


@planted("rejection-dropped", "rejected lines: missing")
def rejection_dropped() -> Iterator[None]:
    """A line that holds no usable submission is only logged."""

    async def no_events(*_: object) -> list[Any]:
        return []

    with patch.object(Ingest, "_events_of", no_events):
        yield


@planted("answered-before-durable", "lost:")
def answered_before_durable() -> Iterator[None]:
    """A client is answered 202 before its submissions are on the disk."""

    async def accept_later(self: HttpIntake, submissions: Sequence[Any]) -> Sequence[Any]:
        task = asyncio.get_running_loop().create_task(self._accept(submissions))
        self._accepting.add(task)
        task.add_done_callback(self._forget)
        return submissions

    with patch.object(HttpIntake, "accept", accept_later):
        yield


@planted("late-uploads-missed", "and is not settled")
def late_uploads_missed() -> Iterator[None]:
    """Walks of the account go down to the newest asset of the last one: what appears late is never read."""
    init = account.Follower.__init__

    def without_overlap(self: Any, position: Any, *, overlap: float, **rest: Any) -> None:
        init(self, position, overlap=min(overlap, 0.0), **rest)

    with patch.object(account.Follower, "__init__", without_overlap):
        yield


@planted("task-leaked", "tasks are left")
def task_leaked() -> Iterator[None]:
    """A task is left for each submission."""
    accept = Ingest.accept

    async def accept_and_leak(self: Ingest, batch: Any) -> Any:
        accepted = await accept(self, batch)
        leaked.extend(asyncio.create_task(asyncio.sleep(1e6)) for _ in accepted)
        return accepted

    leaked: list[asyncio.Task[None]] = []
    with patch.object(Ingest, "accept", accept_and_leak):
        yield
