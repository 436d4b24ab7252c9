"""Group commit: many writers share one durable transaction.

While one transaction is being committed, all new changes wait together for the next one. So no writer waits longer than
two commits take, and a single writer does not wait for others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from asset_worker.domain.unavailable import QueueUnavailableError
from asset_worker.queue.ports import Failure
from asset_worker.runtime.clock import Clock, wall_time
from asset_worker.runtime.measures import SHORT_SECONDS, Operations
from asset_worker.runtime.threads import WorkerThread, reporting_hang

S = TypeVar("S")
S_co = TypeVar("S_co", covariant=True)
T = TypeVar("T")
X = TypeVar("X")

RETRY_SECONDS = 1.0
"""The wait between two attempts while the store is full, failing or away."""


class Store(Protocol[S_co]):
    """Where an engine keeps what it must not lose. One thread uses it, and every call blocks.

    `S_co` is what changes and queries are called with.
    """

    @property
    def what(self) -> str:
        """What people call it, for messages."""
        ...

    @property
    def answers(self) -> str:
        """What people wait for while a call hangs."""
        ...

    @property
    def patience(self) -> float | None:
        """For how many seconds a call may hang before it is interrupted; None: for ever."""
        ...

    def interrupt(self) -> None:
        """Let the present call fail with a transient error. Called from another thread than that of the call."""
        ...

    def transact(self, changes: Sequence[Callable[[S_co], Any]]) -> list[Any]:
        """Make these changes in one transaction. Return what they return, once it is durable.

        After a transient error the same sequence is passed again: a change that has become durable all the same must
        not be made twice.
        """
        ...

    def read(self, query: Callable[[S_co], T]) -> T:
        """Return what `query` returns."""
        ...

    def is_transient(self, error: Exception) -> bool:
        """Return whether an error is the store's, and the same may succeed later."""
        ...

    def log_failure(self, error: str, *, retry_in: float | None) -> None:
        """Log that it can't be written now. None: an attempt hangs."""
        ...

    def log_recovery(self) -> None:
        """Log that it can be written again."""
        ...

    def close(self) -> None:
        """Release it."""
        ...


class _Write(NamedTuple):
    """A change that waits for its transaction."""

    change: Callable[[Any], Any]
    done: asyncio.Future[Any]
    applied: Callable[[Any], None] | None


class Commits(Generic[S]):
    """Runs transactions on a store for callers in the event loop."""

    def __init__(self, store: Store[S], thread: WorkerThread, clock: Clock) -> None:
        self._store = store
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
        """Why the store can't be written now, and since when; None: it can."""
        if self._failing_since is None:
            return None
        return Failure(self._error, since=wall_time(self._clock, self._failing_since))

    async def write(self, change: Callable[[S], T], applied: Callable[[T], None] | None = None) -> T:
        """Run `change` within a transaction. Return what it returns, once the transaction is durable.

        Changes are made in the order of the calls. After a transient failure (a full disk, a lost connection)
        the transaction is retried until it succeeds. `applied` is called with what `change` returns as soon as it is
        durable, also if the caller was cancelled: what is counted in memory then stays true.

        Raises:
            Exception: an error of the store that does not pass: it is damaged.
            QueueUnavailableError: it can't be written after `stop_retrying`.
        """
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Write(change, done, applied))
        if self._task is None:
            self._task = asyncio.create_task(self._commit_all(), name="commits")
        return await done

    async def read(self, query: Callable[[S], T]) -> T:
        """Run `query` between two transactions, and return what it returns. Transient failures are retried.

        Raises:
            Exception: an error of the store that does not pass: it is damaged.
            QueueUnavailableError: it can't be read after `stop_retrying`.
        """
        while True:
            try:
                found = await self._run(self._store.read, query)
            except Exception as error:
                if not self._store.is_transient(error):
                    raise
                if not self._retries:
                    raise self._unavailable(error) from error
                await self._wait_to_retry(error)
            else:
                if self._task is None:  # a write would say by itself that it succeeds again
                    self._recovered()
                return found

    def stop_retrying(self) -> None:
        """Raise `QueueUnavailableError` at a transient failure from now on: the process is about to end."""
        self._retries = False

    async def close(self) -> None:
        """Wait for the transactions in progress, then close the store and its thread."""
        if self._task is not None:
            await asyncio.wait([self._task])
        await self._thread.run(self._store.close)
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
                results = await self._run(self._store.transact, changes)
            except Exception as error:  # noqa: BLE001 - handed to every writer of the group
                if self._store.is_transient(error) and self._retries:
                    await self._wait_to_retry(error)
                    continue
                failure = self._unavailable(error) if self._store.is_transient(error) else error
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

    async def _run(self, call: Callable[[X], T], argument: X) -> T:
        """Return what a call of the store returns. That it hangs is reported, and after some time it is interrupted."""
        patience = self._store.patience
        loop = asyncio.get_running_loop()
        timer = None if patience is None else loop.call_later(patience, self._store.interrupt)
        try:
            with reporting_hang(self._failed, self._store.answers):
                return await self._thread.run(call, argument)
        finally:
            if timer is not None:
                timer.cancel()

    async def _wait_to_retry(self, error: Exception) -> None:
        self._failed(str(error), retry_in=RETRY_SECONDS)
        await asyncio.sleep(RETRY_SECONDS)

    def _failed(self, error: str, *, retry_in: float | None = None) -> None:
        self._error = error
        if self._failing_since is None:
            self._failing_since = self._clock.steady()
            self._store.log_failure(error, retry_in=retry_in)

    def _recovered(self) -> None:
        if self._failing_since is not None:
            self._failing_since = None
            self._store.log_recovery()

    def _unavailable(self, error: Exception) -> QueueUnavailableError:
        return QueueUnavailableError(f"{self._store.what} can't be used, and the process is about to end: {error}")
