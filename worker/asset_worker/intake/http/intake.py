"""The intake of what comes over HTTP: one batch for each request, accepted whole or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from enum import Enum
from typing import Final, Protocol

from asset_worker.domain.assets import AssetId
from asset_worker.domain.submissions import Batch, Submission
from asset_worker.domain.unavailable import QueueUnavailableError
from asset_worker.domain.worker_report import InputReport
from asset_worker.runtime.stop import Stop

DURABLE_SECONDS: Final = 10.0
"""How long a client waits for its submissions to be on the disk. Usually that takes some milliseconds."""
MOST_WAITING: Final = 64
"""Batches that wait for the disk at once. While it is full, clients try again and again, each time with a batch that
would stay in memory."""


class Denied(Enum):
    """Why a batch was not accepted, or not yet, and what to do: for its sender."""

    FULL = (
        "none was accepted, because there is no room for all: too many assets are pending (queue.max_pending), or too "
        "many events wait for the sinks; send them again later, or fewer at once"
    )
    STOPPING = "none was accepted, because the worker stops: send them again"
    NOT_DURABLE = (
        "these are not on the disk yet, which is full, failing or busy, and may or may not be accepted: send them "
        "again; what was accepted is then a repeat"
    )


class WholeReceiver(Protocol):
    """Accepts batches, and says before whether there is room for the whole of one."""

    def has_room_for(self, asset_ids: Collection[AssetId]) -> bool:
        """Return whether all of these assets that are not pending yet may be accepted now."""
        ...

    async def accept(self, batch: Batch) -> Sequence[Submission]:
        """Accept a batch; it is durable when this returns. Return the submissions that are no repeats.

        Raises:
            QueueUnavailableError: the process is about to end, and the batch may or may not be durable.
        """
        ...


class HttpIntake:
    """Accepts the submissions of requests until the stop."""

    name = "http"
    unreadable: str | None = None
    """Always None: there is nothing to read."""
    unreadable_since: float | None = None
    is_following: Final = True
    """Always True: its port is served before anything runs."""
    progress: Final = InputReport()
    """Always empty: there is nothing to read."""
    has_lost_input = False
    """Always False: who submits is answered what was accepted."""

    def __init__(self, receiver: WholeReceiver, stop: Stop, *, endless: bool) -> None:
        """`stop` ends the acceptance; if not `endless`, the end of a run does not wait for it."""
        self._receiver = receiver
        self._stop = stop
        self._endless = endless
        self._accepting: set[asyncio.Task[Sequence[Submission] | None]] = set()

    @property
    def is_stopping(self) -> bool:
        """Whether nothing is accepted any more."""
        return self._stop.is_set()

    async def run(self, stop: Stop) -> None:
        """Wait until the stop, and until what came before it is accepted. Return at once if this run is not endless."""
        if not self._endless:
            return
        await stop.wait()
        if self._accepting:
            await asyncio.wait(self._accepting)

    def abandon(self) -> None:
        """Do nothing: whoever has had no answer submits again."""

    async def accept(self, submissions: Sequence[Submission]) -> Sequence[Submission] | Denied:
        """Accept all of these, or none. Return those that are no repeats, once they are durable.

        If the caller is cancelled, because its client has gone, they are accepted all the same: a write that has begun
        can't be taken back, and the queue must know what it has written.

        Raises:
            Exception: the queue is damaged; nothing was accepted.
        """
        if self.is_stopping:
            return Denied.STOPPING
        if len(self._accepting) >= MOST_WAITING:
            return Denied.NOT_DURABLE
        task = asyncio.get_running_loop().create_task(self._accept(submissions), name="http")
        self._accepting.add(task)
        task.add_done_callback(self._forget)
        await asyncio.wait({task}, timeout=DURABLE_SECONDS)
        if not task.done():
            return Denied.NOT_DURABLE
        try:
            accepted = task.result()
        except QueueUnavailableError:
            return Denied.NOT_DURABLE
        return Denied.FULL if accepted is None else accepted

    async def _accept(self, submissions: Sequence[Submission]) -> Sequence[Submission] | None:
        # Nothing else happens between the question and what `accept` does first.
        if not self._receiver.has_room_for([each.asset_id for each in submissions]):
            return None
        return await self._receiver.accept(Batch(list(submissions), [], self.name, None))

    def _forget(self, task: asyncio.Task[Sequence[Submission] | None]) -> None:
        self._accepting.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waits for it raises it; a caller that has gone needs no report
