"""The loop: take what is due, look, assess, defer or settle."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Protocol

import msgspec
import structlog

from worker.api.errors import ApiError, BadIdError, KeyRefusedError, NotFoundError
from worker.api.retry import told_wait
from worker.assets import Ages, Asset, AssetId, Done, Expectations, Missing, Sight, Unanswered, Waiting, assess
from worker.clock import Clock
from worker.events import Event, Times, completed
from worker.queue import Lease, Progress, Queue, Sighting
from worker.schedule import Look, Schedule
from worker.stopping import Stop
from worker.submissions import expectations_for

_log = structlog.get_logger()

KEY_REFUSED_DELAY_SECONDS = 1.0
LAST_LOOK_SECONDS = 1.0
"""Even a strict deadline leaves its last look the time for an answer: that decides better than the clock."""
KNOWN_STATUSES = frozenset({"processing", "ready", "failed"})
KNOWN_RENDITION_STATUSES = frozenset({"pending", "processing", "ready", "error"})


class Api(Protocol):
    """What the poller asks of the assets API."""

    async def retrieve(self, asset_id: AssetId) -> Asset:
        """The asset, as the API tells it now.

        Raises:
            ApiError: it could not be had.
        """
        ...


class Settle(msgspec.Struct, frozen=True):
    """The wait is over, with this event."""

    verdict: Done
    event: Event
    progress: Progress


class Defer(msgspec.Struct, frozen=True):
    """The wait goes on: the next look is due in `delay` seconds."""

    delay: float
    progress: Progress


def sighting_of(sight: Sight, before: Sighting | None) -> Sighting | None:
    """What is now known of the asset, in brief; a look without an answer changes nothing."""
    match sight:
        case Asset():
            return Sighting(sight.status, sight.hls, sight.thumbnail, sight.file_type, sight.method)
        case Missing():
            return Sighting("missing")
        case Unanswered():
            return before


def conclude(
    lease: Lease, sight: Sight, *, held: float, expectations: Expectations, schedule: Schedule, now: float, source: str
) -> Settle | Defer:
    """What follows from one look.

    `held` is how long the lease has been held, in seconds; `now` is the wall clock's, in seconds since the epoch.
    """
    before = lease.progress
    is_ready = isinstance(sight, Asset) and sight.status == "ready"
    newly_ready = is_ready and before.ready_at is None
    ages = Ages(
        accepted=lease.age + held,
        ready=0.0 if newly_ready else None if lease.ready_age is None else lease.ready_age + held,
    )
    verdict = assess(sight, expectations_for(lease.submission.options, expectations), ages)
    progress = msgspec.structs.replace(
        before,
        polls=before.polls + 1,
        phase_polls=1 if newly_ready else before.phase_polls + 1,
        sighting=sighting_of(sight, before.sighting),
        ready_at=now if newly_ready else before.ready_at,
    )
    if isinstance(verdict, Done):
        event = completed(
            lease.submission,
            verdict,
            asset=sight if isinstance(sight, Asset) else None,
            completion=lease.completion,
            times=Times(lease.accepted_at, now, progress.ready_at, before.waiting_at),
            polls=progress.polls,
            source=source,
        )
        return Settle(verdict, event, progress)
    progress = msgspec.structs.replace(
        progress,
        waiting_on=verdict.on,
        waiting_at=before.waiting_at if isinstance(sight, Unanswered) else now,
    )
    delay = min(schedule(_look(progress, ages, verdict)), verdict.decides_in)
    return Defer(max(delay, sight.told_wait) if isinstance(sight, Unanswered) else delay, progress)


def _look(progress: Progress, ages: Ages, verdict: Waiting) -> Look:
    sighting = progress.sighting
    return Look(
        attempt_number=progress.phase_polls,
        phase="asset" if ages.ready is None else "renditions",
        age=ages.accepted if ages.ready is None else ages.ready,
        waiting_on=verdict.on,
        file_type=None if sighting is None else sighting.file_type,
        method=None if sighting is None else sighting.method,
    )


class Poller:
    """Empties a queue into its outbox."""

    def __init__(
        self,
        queue: Queue,
        api: Api,
        *,
        schedule: Schedule,
        expectations: Expectations,
        clock: Clock,
        source: str,
        looks_at_once: int,
        strict_deadlines: bool = False,
    ) -> None:
        """`source` is the events' CloudEvents source.

        With `strict_deadlines` a look ends with its asset's deadline, answered or not. Without, it waits for its turn
        and its answer, so that an asset past its deadline is settled by what the API says.
        """
        self._queue = queue
        self._api = api
        self._schedule = schedule
        self._expectations = expectations
        self._clock = clock
        self._source = source
        self._slots = asyncio.Semaphore(looks_at_once)
        self._strict = strict_deadlines
        self._unknown: set[str] = set()
        self.looks = 0
        """Looks answered so far."""
        self.completions: Counter[str] = Counter()
        """Settled so far, by outcome."""

    async def run(self, stop: Stop) -> None:
        """Look at what is due until the stop; then finish the looks that are under way."""
        async with asyncio.TaskGroup() as looks:
            while not stop.is_set():
                if await stop.unless(self._slots.acquire()) is None:
                    return
                leases = await stop.unless(self._queue.take(1))
                if not leases:
                    self._slots.release()
                    return
                for lease in leases:
                    looks.create_task(self._look_at(lease, stop))

    async def _look_at(self, lease: Lease, stop: Stop) -> None:
        taken = self._clock.monotonic()
        try:
            sight = await self._see(lease)
        except KeyRefusedError:
            # No look: the key is at fault, and the gate holds all requests until it works again.
            await self._queue.defer(lease, KEY_REFUSED_DELAY_SECONDS, lease.progress)
        else:
            # A look cut short by the stop is none: the asset stays pending, and the next start looks again.
            if not (isinstance(sight, Unanswered) and stop.is_set()):
                await self._act(lease, sight, held=self._clock.monotonic() - taken)
        finally:
            self._slots.release()

    async def _see(self, lease: Lease) -> Sight:
        expectations = expectations_for(lease.submission.options, self._expectations)
        left = max(expectations.deadline - lease.age, LAST_LOOK_SECONDS) if self._strict else None
        try:
            async with asyncio.timeout(left):
                return await self._api.retrieve(lease.submission.asset_id)
        except NotFoundError:
            return Missing()
        except BadIdError as error:
            return Missing(refused=str(error))
        except TimeoutError:
            return Unanswered("the deadline came before the answer")
        except KeyRefusedError:
            raise
        except ApiError as error:
            return Unanswered(str(error), told_wait(error))

    async def _act(self, lease: Lease, sight: Sight, *, held: float) -> None:
        self.looks += 1
        next_step = conclude(
            lease,
            sight,
            held=held,
            expectations=self._expectations,
            schedule=self._schedule,
            now=self._clock.now(),
            source=self._source,
        )
        self._log_changes(lease, next_step.progress)
        match next_step:
            case Defer(delay=delay, progress=progress):
                await self._queue.defer(lease, delay, progress)
            case Settle(verdict=verdict, event=event, progress=progress):
                await self._queue.settle(lease, event)
                self.completions[verdict.outcome] += 1
                _log.info(
                    "asset.completed",
                    asset_id=lease.submission.asset_id,
                    outcome=verdict.outcome.value,
                    reason=verdict.reason,
                    elapsed=round(lease.age + held, 3),
                    polls=progress.polls,
                )

    def _log_changes(self, lease: Lease, progress: Progress) -> None:
        before, after = lease.progress.sighting, progress.sighting
        if after is None or after == before:
            return
        asset_id = lease.submission.asset_id
        for what, known in (
            ("status", KNOWN_STATUSES | {"missing"}),
            ("hls", KNOWN_RENDITION_STATUSES),
            ("thumbnail", KNOWN_RENDITION_STATUSES),
        ):
            old, new = before and getattr(before, what), getattr(after, what)
            if old != new:
                _log.info("asset.changed", **{"asset_id": asset_id, "what": what, "from": old, "to": new})
            if new is not None and new not in known and (value := f"{what}={new}") not in self._unknown:
                self._unknown.add(value)
                _log.warning("api.unknown_status", asset_id=asset_id, what=what, value=new)
