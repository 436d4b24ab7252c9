"""The loop: take what is due, look, assess, defer or settle.

Assets that are due together share list requests. What a list shows is a hint (`can_act_on_list`): what would settle an
asset, or contradicts what was seen before, is confirmed by one retrieve, from which the event is made.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec
import structlog

from asset_worker.api.errors import (
    ApiError,
    BadIdError,
    KeyRefusedError,
    MalformedAnswerError,
    NotFoundError,
    RateLimitedError,
    TransientError,
)
from asset_worker.api.retry import retry_after_of
from asset_worker.domain.assets import Asset, AssetId, Expectations, Missing, Observation, Unanswered, is_usual
from asset_worker.domain.events import Redact
from asset_worker.domain.submissions import expectations_for
from asset_worker.poller.changes import Changes
from asset_worker.poller.decide import Defer, Settle, can_act_on_list, decide, is_older, last_seen_of, samples
from asset_worker.poller.lateness import Lateness
from asset_worker.poller.list_health import ListHealth, Restored, Suspended
from asset_worker.poller.per_asset_refusals import PerAssetRefusals
from asset_worker.queue.ports import Lease, Queue
from asset_worker.runtime.clock import Clock
from asset_worker.runtime.randomness import Uniform
from asset_worker.runtime.stop import Stop
from asset_worker.schedule.ports import Learner, Schedule

_log = structlog.get_logger()

KEY_REFUSED_DELAY_SECONDS = 1.0
LAST_LOOK_SECONDS = 1.0
"""Even a strict deadline leaves its last look the time for an answer: that decides better than the clock."""
CROWDED_SECONDS = 0.5
"""Where looks are later than that, each request gets the turn to queue up at the gate before more is taken: else all
slots would be filled at once, with what is most due then and not when a request can go out."""
TOO_LATE = "the deadline came before the answer"
AUDIT_SHARE = 0.05
"""How many lists have one of the hints checked that would be acted on unchecked: a list that is always late shows
nothing else that could be contradicted."""


class Api(Protocol):
    """What the poller asks of the assets API."""

    @property
    def latest_failure(self) -> str | None:
        """What the last request that failed in passing failed of, for people; None: none did."""
        ...

    async def wait_for_capacity(self) -> None:
        """Return when a request would not have to wait behind others."""
        ...

    async def retrieve(self, asset_id: AssetId) -> Asset:
        """The asset, as the API tells it now.

        Raises:
            ApiError: it could not be had.
        """
        ...

    async def list_assets(self, asset_ids: Sequence[AssetId]) -> dict[AssetId, Asset]:
        """Those of the assets that a list shows.

        Raises:
            ApiError: it could not be had.
        """
        ...


class Batching(msgspec.Struct, frozen=True):
    """How looks are shared."""

    limit: int = 50
    """Assets in one list request."""
    ahead: float = 1.0
    """Assets due within so many seconds ride along when a request goes out anyway."""
    gather: float = 0.0
    """After a request that had room left, the next one waits for so many seconds. No longer than `ahead`: what comes
    due in that time rode along already, so it is only the first looks at new assets that wait for one another."""


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
        redact: Redact,
        looks_at_once: int,
        batching: Batching | None = None,
        learner: Learner | None = None,
        breaker_is_open: Callable[[], bool] = lambda: False,
        strict_deadlines: bool = False,
        uniform: Uniform = random.random,
    ) -> None:
        """`source` is the events' CloudEvents source; `redact` masks the key in them.

        Without `batching`, each look is a retrieve.

        `breaker_is_open` tells whether requests are kept back by an outage or a refused key: what is late for that is
        no sign that requests are scarce.

        With `strict_deadlines` a look ends with its asset's deadline, answered or not. Without, it waits for its turn
        and its answer, so that an asset past its deadline is settled by what the API says.
        """
        self._queue = queue
        self._api = api
        self._schedule = schedule
        self._expectations = expectations
        self._clock = clock
        self._source = source
        self._redact = redact
        self._slots = asyncio.Semaphore(looks_at_once)
        self._batching = batching
        self._learner = learner
        self._breaker_is_open = breaker_is_open
        self._lateness = Lateness()
        self._strict = strict_deadlines
        self._uniform = uniform
        self._list_health = ListHealth()
        self._refusals = PerAssetRefusals()
        self._changes = Changes()
        self.looks = 0
        """Looks made so far, those without an answer included."""
        self.completions: Counter[str] = Counter()
        """Settled so far, by outcome."""

    async def run(self, stop: Stop) -> None:
        """Look at what is due until the stop; then finish the looks that are under way."""
        async with asyncio.TaskGroup() as looks:
            taking = looks.create_task(self._take(looks, stop))
            await stop.wait()
            # What is leased and not yet looked at stays pending, for the next start.
            taking.cancel()

    async def _take(self, looks: asyncio.TaskGroup, stop: Stop) -> None:
        gathered_at = 0.0
        while True:
            if (gathering := gathered_at - self._clock.monotonic()) > 0:
                await asyncio.sleep(gathering)
            await self._slots.acquire()
            # What is most due is known best when the request can go out, so nothing is taken before.
            await self._api.wait_for_capacity()
            free_at = self._clock.monotonic()
            batching = self._batching if self._list_health.is_usable(free_at) else None
            if batching is None:
                leases = await self._queue.take(1)
            else:
                leases = await self._queue.take(batching.limit, ahead=batching.ahead)
            taken = self._clock.monotonic()
            self._note_backlog(leases[0], taken, idle=taken - free_at, gathered_at=gathered_at)
            if batching is not None and len(leases) < batching.limit:
                gathered_at = taken + batching.gather
            for number, group in enumerate(_groups(leases)):
                if number:  # the first has the slot from above
                    await self._slots.acquire()
                is_alone = len(group) == 1
                looks.create_task(self._look_at(group[0], stop) if is_alone else self._look_at_all(group, looks, stop))
            if leases[0].late > CROWDED_SECONDS:
                await asyncio.sleep(0)

    async def _look_at(self, lease: Lease, stop: Stop) -> None:
        """Retrieve one asset; a slot is held, and given back."""
        try:
            await self._retrieve(lease, stop)
        finally:
            self._slots.release()

    async def _look_at_all(self, leases: list[Lease], looks: asyncio.TaskGroup, stop: Stop) -> None:
        """List several assets; a slot is held, and given back."""
        try:
            async with asyncio.timeout(min(filter(None, map(self._time_left, leases)), default=None)):
                shown = await self._api.list_assets([lease.submission.asset_id for lease in leases])
        except TimeoutError:
            for lease in leases:
                await self._act(lease, self._too_late())
            return
        except KeyRefusedError as error:
            first, *rest = leases
            looks.create_task(self._find_fault(first, error, stop))
            await self._put_back(rest)
            return
        except RateLimitedError as error:
            await self._put_off(leases, error)
            return
        except TransientError as error:
            first, *rest = leases
            looks.create_task(self._find_fault(first, error, stop))
            if not stop.is_set():
                await self._put_off(rest, error)
            return
        except ApiError as error:
            self._tell(self._list_health.refused(self._clock.monotonic(), str(error)))
            shown = None
        finally:
            self._slots.release()
        audited = self._uniform() < AUDIT_SHARE
        for lease in leases:
            hint: Observation | None = None
            if shown is not None:
                hint = shown.get(lease.submission.asset_id) or Missing()
                if not audited and await self._act(lease, hint, is_hint=True):
                    continue
                audited = False
            looks.create_task(self._confirm(lease, hint, stop))

    async def _find_fault(self, lease: Lease, failure: TransientError | KeyRefusedError, stop: Stop) -> None:
        """Retrieve one of the assets of a list that failed: when that works, neither API nor key are at fault."""
        async with self._slots:
            observation = await self._retrieve(lease, stop)
        if isinstance(observation, Asset | Missing):
            now = self._clock.monotonic()
            is_refused = isinstance(failure, MalformedAnswerError | KeyRefusedError)
            change = (
                self._list_health.refused(now, str(failure))
                if is_refused
                else self._list_health.checked(now, agreed=False)
            )
            self._tell(change)

    async def _confirm(self, lease: Lease, hint: Observation | None, stop: Stop) -> None:
        """Retrieve what a list has shown; `hint` None: it has shown nothing at all."""
        if hint is not None:
            # The look at the list counts, though nothing is concluded from it.
            polls = lease.progress.polls + 1
            lease = msgspec.structs.replace(lease, progress=msgspec.structs.replace(lease.progress, polls=polls))
            self.looks += 1
        async with self._slots:
            observation = await self._retrieve(lease, stop)
        if hint is None or observation is None or isinstance(observation, Unanswered):
            return
        self._tell(self._list_health.checked(self._clock.monotonic(), agreed=_agree(hint, observation)))

    async def _retrieve(self, lease: Lease, stop: Stop) -> Observation | None:
        """Look at one asset and act on it; what was seen, or None when it was no look."""
        try:
            observation = await self._see(lease)
        except KeyRefusedError as error:
            if not self._refusals.refused(lease.submission.asset_id, self._clock.monotonic()):
                await self._put_back([lease])
                return None
            observation = Unanswered(str(error))
        if isinstance(observation, Asset | Missing):
            self._refusals.answered(lease.submission.asset_id, self._clock.monotonic())
        # A look cut short by the stop is none: the asset stays pending, and the next start looks again.
        if isinstance(observation, Unanswered) and stop.is_set():
            return None
        await self._act(lease, observation)
        return observation

    async def _see(self, lease: Lease) -> Observation:
        try:
            if not self._strict:
                return await self._api.retrieve(lease.submission.asset_id)
            async with asyncio.timeout(self._time_left(lease)):
                return await self._api.retrieve(lease.submission.asset_id)
        except NotFoundError:
            return Missing()
        except BadIdError as error:
            return Missing(refused=str(error))
        except TimeoutError:
            return self._too_late()
        except KeyRefusedError:
            raise
        except ApiError as error:
            return Unanswered(str(error), retry_after_of(error))

    def _too_late(self) -> Unanswered:
        failure = self._api.latest_failure
        return Unanswered(TOO_LATE if failure is None else f"{TOO_LATE}; lately: {failure}")

    def _time_left(self, lease: Lease) -> float | None:
        """Seconds for a look; None: as long as it takes."""
        if not self._strict:
            return None
        expectations = expectations_for(lease.submission.options, self._expectations)
        return max(expectations.deadline - lease.age - self._held(lease), LAST_LOOK_SECONDS)

    def _held(self, lease: Lease) -> float:
        """Seconds since it was taken."""
        return self._clock.monotonic() - lease.taken_at

    async def _put_off(self, leases: list[Lease], error: TransientError) -> None:
        """No answer about them could be had."""
        for lease in leases:
            await self._act(lease, Unanswered(str(error), retry_after_of(error)))

    async def _put_back(self, leases: list[Lease]) -> None:
        """No look: the key is at fault, and the gate holds all requests until it works again."""
        for lease in leases:
            await self._queue.defer(lease, KEY_REFUSED_DELAY_SECONDS, lease.progress)

    async def _act(self, lease: Lease, observation: Observation, *, is_hint: bool = False) -> bool:
        """Do what follows from a look; whether anything does: a hint may not be enough."""
        held = self._held(lease)
        next_step = decide(
            lease,
            observation,
            held=held,
            expectations=self._expectations,
            schedule=self._schedule,
            now=self._clock.now(),
            source=self._source,
            redact=self._redact,
        )
        if is_hint and not can_act_on_list(lease, observation, next_step):
            return False
        self.looks += 1
        self._changes.log(lease.submission.asset_id, lease.progress.last_seen, next_step.progress.last_seen)
        if self._learner is not None:
            for sample in samples(lease, observation, held=held):
                self._learner.observe(sample.look, since=sample.since, ended=sample.ended)
        match next_step:
            case Defer(delay=delay, progress=progress):
                await self._queue.defer(lease, delay, progress)
            case Settle(verdict=verdict, event=event, progress=progress):
                await self._queue.settle(lease, event)
                self._refusals.forget(lease.submission.asset_id)
                self.completions[verdict.outcome] += 1
                _log.info(
                    "asset.completed",
                    asset_id=lease.submission.asset_id,
                    outcome=verdict.outcome.value,
                    reason=verdict.reason,
                    elapsed=round(lease.age + held, 3),
                    polls=progress.polls,
                )
        return True

    def _note_backlog(self, first: Lease, taken: float, *, idle: float, gathered_at: float) -> None:
        """Teach the schedule whether more looks are wanted than can be made, from the one that was due first."""
        if self._learner is None:
            return
        self._learner.idled(idle)
        is_cut_off = self._breaker_is_open()
        late = self._lateness.of(first.late, now=taken, is_cut_off=is_cut_off, gathered_at=gathered_at)
        if late is not None and first.progress.polls:
            self._learner.looked_late(late.seconds, since=late.since)

    @staticmethod
    def _tell(change: Suspended | Restored | None) -> None:
        match change:
            case Suspended(why, seconds):
                _log.warning("api.list_doubted", why=why, seconds=seconds)
            case Restored():
                _log.info("api.list_trusted")
            case None:
                pass


def _groups(leases: list[Lease]) -> list[list[Lease]]:
    """Leases by the request that they are to share."""
    if len(leases) == 1:
        return [leases]
    alone: list[list[Lease]] = []
    shared: list[Lease] = []
    for lease in leases:
        if _may_share(lease):
            shared.append(lease)
        else:
            alone.append([lease])
    return [*alone, shared] if shared else alone


def _may_share(lease: Lease) -> bool:
    """Whether its ID may stand in a list: one that the API takes for none would spoil it for the others."""
    last_seen = lease.progress.last_seen
    return is_usual(lease.submission.asset_id) or (last_seen is not None and last_seen.status != "missing")


def _agree(hint: Observation, observation: Observation) -> bool:
    """Whether a retrieve has shown what a list had: not less, and not what it must have seen, too."""
    if isinstance(hint, Missing) or isinstance(observation, Missing):
        return isinstance(hint, Missing) and isinstance(observation, Missing)
    listed, retrieved = last_seen_of(hint, None), last_seen_of(observation, None)
    return not is_older(retrieved, listed) and not is_older(listed, retrieved)
