"""Group commit: many writers share one durable transaction.

While one transaction is being committed, all new changes wait together for the next one. So no writer waits longer than
two commits take, and a single writer does not wait for others.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from asset_worker.domain.unavailable import QueueUnavailableError
from asset_worker.queue.local.journal import Journal, is_transient
from asset_worker.queue.ports import Failure
from asset_worker.runtime.clock import Clock, wall_time
from asset_worker.runtime.log import get_logger
from asset_worker.runtime.measures import SHORT_SECONDS, Operations
from asset_worker.runtime.threads import WorkerThread, reporting_hang

T = TypeVar("T")
_log = get_logger()

RETRY_SECONDS = 1.0
"""The wait between two attempts while the disk is full or failing."""


class _Write(NamedTuple):
    """A change that waits for its transaction."""

    change: Callable[[Journal], Any]
    done: asyncio.Future[Any]
    applied: Callable[[Any], None] | None


class Commits:
    """Runs transactions on a journal for callers in the event loop."""

    def __init__(self, journal: Journal, thread: WorkerThread, clock: Clock) -> None:
        self._journal = journal
        self._thread = thread
        self._clock = clock
        self._waiting: list[_Write] = []
        self._task: asyncio.Task[None] | None = None
        self._retries = True
        self.made = Operations(SHORT_SECONDS)
        """The transactions that were committed."""
        self._failing_since: float | None = None
        """Since when attempts have failed, or one hangs, in steady time; None: the last one succeeded."""
        self._error = ""
        """The text of the latest failure."""

    @property
    def failure(self) -> Failure | None:
        """Why the journal can't be written now, and since when; None: it can."""
        if self._failing_since is None:
            return None
        return Failure(self._error, since=wall_time(self._clock, self._failing_since))

    async def write(self, change: Callable[[Journal], T], applied: Callable[[T], None] | None = None) -> T:
        """Run `change` within a transaction. Return what it returns, once the transaction is durable.

        Changes are made in the order of the calls. After a transient failure (a full disk, an I/O error) the
        transaction is retried until it succeeds. `applied` is called with what `change` returns as soon as it is
        durable, also if the caller was cancelled: what is counted in memory then stays true.

        Raises:
            sqlite3.Error: the journal is damaged.
            QueueUnavailableError: it can't be written after `stop_retrying`.
        """
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Write(change, done, applied))
        if self._task is None:
            self._task = asyncio.create_task(self._commit_all(), name="commits")
        return await done

    async def read(self, query: Callable[[Journal], T]) -> T:
        """Run `query` between two transactions, and return what it returns. Transient failures are retried.

        Raises:
            sqlite3.Error: the journal is damaged.
            QueueUnavailableError: it can't be read after `stop_retrying`.
        """
        while True:
            try:
                return await self._thread.run(query, self._journal)
            except sqlite3.Error as error:
                if not is_transient(error):
                    raise
                if not self._retries:
                    raise _unavailable(error) from error
                await self._wait_to_retry(error)

    def stop_retrying(self) -> None:
        """Raise `QueueUnavailableError` at a transient failure from now on: the process is about to end."""
        self._retries = False

    async def close(self) -> None:
        """Wait for the transactions in progress, then close the journal and its thread."""
        if self._task is not None:
            await asyncio.wait([self._task])
        await self._thread.run(self._journal.close)
        self._thread.close()

    async def _commit_all(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting, []
                await self._commit(group)
        finally:
            self._task = None

    async def _commit(self, group: list[_Write]) -> None:
        changes = [write.change for write in group]
        while True:
            began = self._clock.monotonic()
            try:
                with reporting_hang(self._failed):
                    results = await self._thread.run(self._transact, changes)
            except sqlite3.Error as error:
                if is_transient(error) and self._retries:
                    await self._wait_to_retry(error)
                    continue
                failure: BaseException = _unavailable(error) if is_transient(error) else error
            except Exception as error:  # noqa: BLE001 - handed to every writer of the group
                failure = error
            else:
                self.made.durations.observe((), self._clock.monotonic() - began)
                self.made.succeeded_at = self._clock.now()
                self._recovered()
                for write, result in zip(group, results, strict=True):
                    if write.applied is not None:
                        write.applied(result)
                    if not write.done.done():
                        write.done.set_result(result)
                return
            for write in group:
                if not write.done.done():
                    write.done.set_exception(failure)
            return

    def _transact(self, changes: list[Callable[[Journal], Any]]) -> list[Any]:
        with self._journal.transaction():
            return [change(self._journal) for change in changes]

    async def _wait_to_retry(self, error: sqlite3.Error) -> None:
        self._failed(str(error), retry_in=RETRY_SECONDS)
        await asyncio.sleep(RETRY_SECONDS)

    def _failed(self, error: str, *, retry_in: float | None = None) -> None:
        self._error = error
        if self._failing_since is None:
            self._failing_since = self._clock.steady()
            _log.error("journal.failed", path=str(self._journal.path), error=error, retry_in=retry_in)

    def _recovered(self) -> None:
        if self._failing_since is not None:
            self._failing_since = None
            _log.info("journal.recovered", path=str(self._journal.path))


def _unavailable(error: sqlite3.Error) -> QueueUnavailableError:
    return QueueUnavailableError(f"the journal can't be used, and the process is about to end: {error}")
