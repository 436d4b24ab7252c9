"""This worker's life: begun, extended in time, and begun anew under another id if the others have retired it.

The lease is extended on a connection and in a thread of its own, so no other statement holds it up. How long it lasts
is counted here from before the request was sent; the database counts from when it got it. So this worker stops before
the others may retire it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, Final, TypeVar

import msgspec
import psycopg

from asset_worker.domain.quota_share import LearnedRate
from asset_worker.queue.postgres.connection import Connection, Link, execute, is_transient
from asset_worker.queue.postgres.errors import DatabaseError, DatabaseUnavailableError
from asset_worker.queue.postgres.shares import Portion
from asset_worker.queue.postgres.workers import Life, Lives
from asset_worker.runtime.clock import Clock
from asset_worker.runtime.log import get_logger
from asset_worker.runtime.steady_time import Mark
from asset_worker.runtime.threads import WorkerThread

T = TypeVar("T")
_log = get_logger()

RETRY_SECONDS: Final = 1.0
"""The wait between two attempts to begin another life."""
RENEWALS: Final = 3
"""How often a lease is extended before it would end."""


def read_time(connection: Connection) -> float:
    """Return what the database's clock shows, in seconds since the epoch."""
    row = execute(connection, "SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
    assert row is not None
    return float(row[0])


class Membership:
    """A worker's place in its fleet."""

    def __init__(
        self,
        link: Link,
        thread: WorkerThread,
        clock: Clock,
        lives: Lives,
        *,
        name: str,
        version: str,
        lease: float,
        settings: Mapping[str, Any] = MappingProxyType({}),
        read_time: Callable[[Connection], float] = read_time,
    ) -> None:
        """Begin nothing yet.

        Args:
            link: the connection for leases; only `thread` uses it.
            thread: runs all calls to the database.
            clock: the clock, whose steady time follows that of the database.
            lives: the statements.
            name: the worker's name, which no other live worker has.
            version: the program's version, for people.
            lease: how long it lasts, in seconds.
            settings: those that must be the same for all workers, by their names.
            read_time: reads the database's clock.
        """
        self._link = link
        self._thread = thread
        self._clock = clock
        self.lives = lives
        """The statements about lives."""
        self.name = name
        self._version = version
        self.lease = lease
        """How long a lease lasts, in seconds."""
        self._settings = dict(settings)
        self._read_time = read_time
        self.life = 0
        """The id of the present life; 0: none was begun."""
        self.others: Sequence[Life] = ()
        """The other lives, when the lease was extended last."""
        self._portion = Portion()
        self.valid_until = -float("inf")
        """When the lease ends, or has ended, in steady time."""
        self.error = ""
        """Why the last extension failed."""
        self.leases_lost = 0
        """How often the lease has ended, or this worker was retired, since the start."""
        self._has_lapsed = False
        """Whether the present loss of the lease was counted."""
        self._renewed_since: float | None = None
        """Since when no extension has failed, in steady time; None: the last one has."""

    @property
    def is_valid(self) -> bool:
        """Whether the lease surely lasts: only then may this worker look at what it owns."""
        return self._clock.steady() < self.valid_until

    @property
    def may_retire(self) -> bool:
        """Whether others may be retired: after an outage of the database, all seem to be dead at first."""
        now, since = self._clock.steady(), self._renewed_since
        return since is not None and now - since >= self.lease and self.is_valid

    def begin(self, former: int | None) -> int:
        """Begin a life, in the thread, and end the one before the restart. Return its id.

        The clock follows the database's from now on.

        Raises:
            DatabaseUnavailableError: another worker that is alive has this name.
            DatabaseError: another one has other settings, which must be the same.
        """
        if former is not None:
            self._link.ask(partial(self.lives.end, life=former, name=self.name))
        now = self._link.ask(self._read_time)
        self._clock.resume(Mark(now, self._clock.mark().reading))
        self._link.ask(self._refuse_other_settings)
        sent = self._clock.steady()
        self._start(self._link.ask(self._insert), sent)
        return self.life

    async def begin_anew(self) -> int:
        """Begin another life, as soon as the database allows. Return its id.

        Raises:
            DatabaseUnavailableError: another worker that is alive has this name.
        """
        self._count_lapse()
        lost_until = -float("inf")
        while True:
            sent = self._clock.steady()
            try:
                life: int = await self._run(self._insert)
            except psycopg.Error as error:
                if not is_transient(error):
                    raise
                lost_until = self._clock.steady() + 2 * self.lease
                await asyncio.sleep(RETRY_SECONDS)
            except DatabaseUnavailableError:
                if sent >= lost_until:
                    raise
                # The name may be that of a life which was begun, and whose answer was lost: it ends with its lease.
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self._start(life, sent)
                return life

    def _insert(self, connection: Connection) -> int:
        life = self.lives.begin(connection, name=self.name, version=self._version, facts=self._facts({}))
        if life is None:
            raise DatabaseUnavailableError(
                f"another worker of the fleet has the name {self.name!r}, and is alive: set fleet.name to one of its "
                "own, or wait until its lease has ended"
            )
        return life

    def _facts(self, others: Mapping[str, Any]) -> bytes:
        return msgspec.json.encode({"settings": self._settings, **others})

    def _refuse_other_settings(self, connection: Connection) -> None:
        for each in self.lives.others(connection, 0):
            theirs = each.facts.get("settings", {})
            differing = [name for name, value in self._settings.items() if theirs.get(name, value) != value]
            if each.alive_for > 0 and differing and each.name != self.name:
                raise DatabaseError(
                    f"the worker {each.name!r} of the fleet has another value of {differing[0]} "
                    f"({theirs[differing[0]]!r}): it must be the same for all"
                )

    def _start(self, life: int, sent: float) -> None:
        self.life, self.valid_until, self._renewed_since = life, sent + self.lease, sent
        self._portion, self._has_lapsed = Portion(), False

    def _count_lapse(self) -> None:
        """Count a loss of the lease, once."""
        self.leases_lost += not self._has_lapsed
        self._has_lapsed = True

    async def renew(self, *, owned: int, known: LearnedRate | None) -> bool:
        """Extend the lease, and see to this worker's portion of the quota. Return whether this life exists.

        Another worker may have retired it. `owned` is the number of its assets, `known` what it has learned of limits.

        Raises:
            psycopg.Error: the lease was not extended, as far as is known.
        """
        sent, life, portion = self._clock.steady(), self.life, self._portion
        facts = self._facts({} if known is None else {"rate": known.rate, "at": sent - known.age})

        def work(connection: Connection) -> tuple[bool, list[Life]]:
            others = self.lives.others(connection, life)
            shown = portion.renew(owned, [(each.owned, each.portion) for each in others if each.alive_for > 0])
            renewed = self.lives.renew(
                connection,
                life,
                name=self.name,
                owned=owned,
                portion=shown,
                leases_lost=self.leases_lost,
                facts=facts,
            )
            return renewed, others

        try:
            is_alive, self.others = await self._run(work)
        except BaseException as error:
            self._renewed_since, self.error = None, str(error).strip()
            if not self.is_valid:
                self._count_lapse()
            raise
        if is_alive and life == self.life:
            if not self.is_valid:  # the answer came late: perhaps the database stood still, for all workers
                self._count_lapse()
                self._renewed_since = None
            self.valid_until = max(self.valid_until, sent + self.lease)
            self._renewed_since = sent if self._renewed_since is None else self._renewed_since
            self._has_lapsed, self.error = not self.is_valid, ""
        return is_alive

    @property
    def portion(self) -> float:
        """The portion of the quota that this worker may use."""
        return self._portion.used

    @property
    def learned(self) -> LearnedRate | None:
        """What another worker has learned last of the limits; None: none has learned anything."""
        learned = [
            (at, rate) for each in self.others if (at := each.facts.get("at")) and (rate := each.facts.get("rate"))
        ]
        if not learned:
            return None
        at, rate = max(learned)
        return LearnedRate(rate, self._clock.steady() - at)

    async def run(self, renew: Callable[[], Any]) -> None:
        """Call `renew` again and again until cancelled, often enough for the lease; a lost connection is no end."""
        was_lost = False
        while True:
            began = self._clock.monotonic()
            try:
                await renew()
            except psycopg.Error as error:
                if not is_transient(error):
                    raise
                if not was_lost and not self.is_valid:
                    was_lost = True
                    _log.error("fleet.lease_lost", error=str(error))
            else:
                was_lost = False
            await asyncio.sleep(max(0.0, began + self.lease / RENEWALS - self._clock.monotonic()))

    async def retire_dead(self) -> list[tuple[int, str]]:
        """Retire the lives whose lease has ended, if that may be done yet. Return the id and name of each."""
        if not self.may_retire:
            return []
        return await self._run(lambda connection: self.lives.retire_dead(connection, self.life))

    async def end(self) -> None:
        """End this life: the others need not wait until its lease has ended."""
        await self._run(lambda connection: self.lives.end(connection, self.life, name=self.name))
        self.valid_until = -float("inf")

    async def close(self) -> None:
        """Close the connection and its thread."""
        await self._thread.run(self._link.close)
        self._thread.close()

    async def _run(self, work: Callable[[Connection], T]) -> T:
        """Return what `work` returns. Without an answer within a lease, the connection is given up."""
        timer = asyncio.get_running_loop().call_later(self.lease, self._link.interrupt)
        try:
            return await self._thread.run(self._link.ask, work)
        finally:
            timer.cancel()
