"""Group commit: many writers share one durable transaction.

While one commit is on its way to the disk, all that comes in waits together for the next. Nobody waits longer than two
commits take, and nobody is made to wait for company.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar

import structlog

from asset_worker.queue.local.journal import Journal, is_passing
from asset_worker.runtime.threads import WorkerThread

T = TypeVar("T")
_log = structlog.get_logger()

RETRY_SECONDS = 1.0


class Commits:
    """Transactions on a journal, from the event loop."""

    def __init__(self, journal: Journal, thread: WorkerThread) -> None:
        self._journal = journal
        self._thread = thread
        self._waiting: list[tuple[Callable[[Journal], Any], asyncio.Future[Any]]] = []
        self._task: asyncio.Task[None] | None = None
        self.count = 0
        """Durable commits so far."""
        self.failing = False
        self._gives_up = False

    async def write(self, change: Callable[[Journal], T]) -> T:
        """Run `change` within a transaction; what it returned, once that is durable.

        A full disk or a failing one is waited out. Changes are made in the order of the calls.

        Raises:
            sqlite3.Error: the journal is damaged, or can't be written when nothing is waited out any more.
        """
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((change, done))
        if self._task is None:
            self._task = asyncio.create_task(self._commit_all(), name="commits")
        return await done

    async def read(self, query: Callable[[Journal], T]) -> T:
        """Run `query` between two transactions. A disk that fails in passing is waited out.

        Raises:
            sqlite3.Error: the journal is damaged, or can't be read when nothing is waited out any more.
        """
        while True:
            try:
                return await self._thread.run(query, self._journal)
            except sqlite3.Error as error:
                if not is_passing(error) or self._gives_up:
                    raise
                await self._wait_out(error)

    def give_up(self) -> None:
        """From now on a disk that is full or failing is not waited for: the process is to end."""
        self._gives_up = True

    async def close(self) -> None:
        """Wait for what is under way, and close the journal."""
        if self._task is not None:
            await asyncio.wait([self._task])
        await self._thread.run(self._journal.close)
        self._thread.close()

    async def _commit_all(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting, []
                await self._commit([change for change, _ in group], [done for _, done in group])
        finally:
            self._task = None

    async def _commit(self, changes: list[Callable[[Journal], Any]], waiters: list[asyncio.Future[Any]]) -> None:
        while True:
            try:
                results = await self._thread.run(self._transact, changes)
            except sqlite3.Error as error:
                if is_passing(error) and not self._gives_up:
                    await self._wait_out(error)
                    continue
                failure: BaseException = error
            except Exception as error:  # noqa: BLE001 - handed to every writer of the group
                failure = error
            else:
                self._recovered()
                for done, result in zip(waiters, results, strict=True):
                    if not done.done():
                        done.set_result(result)
                return
            for done in waiters:
                if not done.done():
                    done.set_exception(failure)
            return

    def _transact(self, changes: list[Callable[[Journal], Any]]) -> list[Any]:
        with self._journal.transaction():
            return [change(self._journal) for change in changes]

    async def _wait_out(self, error: sqlite3.Error) -> None:
        if not self.failing:
            _log.error("journal.failed", path=str(self._journal.path), error=str(error), retry_in=RETRY_SECONDS)
        self.failing = True
        await asyncio.sleep(RETRY_SECONDS)

    def _recovered(self) -> None:
        self.count += 1
        if self.failing:
            self.failing = False
            _log.info("journal.recovered", path=str(self._journal.path))
