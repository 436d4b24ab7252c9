"""One worker in virtual time: the real poller, schedule and gate, and an API whose assets end when their time has come.

Policies, schedule and gate are made from settings, as the service makes them. So what isn't set has its default: ten
requests a second, twenty in flight.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any

import structlog

from asset_worker import policies, wiring
from asset_worker.api.gate import Gate
from asset_worker.api.subjects import Endpoint, Subject
from asset_worker.domain.assets import Asset, AssetId, Expectations, asset_from
from asset_worker.domain.progress import Progress
from asset_worker.domain.submissions import Submission
from asset_worker.poller.decide import last_seen_of
from asset_worker.poller.loop import Poller
from asset_worker.poller.policy import Policy
from asset_worker.queue.memory import MemoryQueue
from asset_worker.runtime.redaction import Secrets
from asset_worker.runtime.stop import Stop
from asset_worker.schedule.learned import LearnedState
from asset_worker.settings.tree import Limits, Poll
from asset_worker.simulator.lifecycles import Created, Lifecycle, Rendition, document
from tests.bench.workloads import AssetClass
from tests.doubles.clocks import LoopClock

LATENCY = 0.2
"""Seconds that each request takes. The answer shows the state at half of this time."""
BATCH = ("off", "confirm", "auto")
"""The values of `poll.batch`."""
NO_DEADLINE = Expectations(deadline=10**7)
Row = dict[str, Any]


@dataclass(frozen=True)
class Watched:
    """One asset. Instants are in the loop's time."""

    created: Created
    lifecycle: Lifecycle
    created_at: float
    accepted_at: float
    fields: dict[str, str]
    """More fields of the document once it has ended."""

    @property
    def known_from(self) -> float:
        """From when on the worker could know the end."""
        return max(self.created_at + self.lifecycle.ends_after, self.accepted_at)


class VirtualApi:
    """The assets API behind the gate, and a count of requests. A list shows the state `list_lag` seconds before."""

    latest_failure = None

    def __init__(self, gate: Gate, *, list_lag: float, latency: float) -> None:
        self._gate = gate
        self._list_lag, self._latency = list_lag, latency
        self.watched: dict[AssetId, Watched] = {}
        self.retrieves = self.lists = self.listed = 0

    @property
    def stalled_for(self) -> float:
        return self._gate.stalled_for

    @property
    def may_list(self) -> bool:
        return self._gate.may_list

    @property
    def lists_are_limited(self) -> bool:
        return self._gate.lists_are_limited

    @property
    def has_capacity(self) -> bool:
        return self._gate.has_capacity

    async def wait_for_capacity(self) -> None:
        await self._gate.wait_for_capacity()

    async def retrieve(self, asset_id: AssetId) -> Asset:
        await self._request(Subject(Endpoint.RETRIEVE, asset_id))
        self.retrieves += 1
        return self.shown(asset_id)

    async def list_assets(self, asset_ids: Sequence[AssetId]) -> dict[AssetId, Asset | None]:
        await self._request(Subject(Endpoint.LIST, asset_ids[0]))
        self.lists += 1
        self.listed += len(asset_ids)
        return {asset_id: self.shown(asset_id, lag=self._list_lag) for asset_id in asset_ids}

    async def _request(self, subject: Subject) -> None:
        async with self._gate.permit(subject) as permit:
            await asyncio.sleep(self._latency)
            permit.answered(200, {})

    def shown(self, asset_id: AssetId, *, lag: float = 0.0) -> Asset:
        watched = self.watched[asset_id]
        age = asyncio.get_running_loop().time() - self._latency / 2 - lag - watched.created_at
        shown = document(watched.created, watched.lifecycle, max(age, 0.0))
        assert shown is not None
        return asset_from(shown | watched.fields if age >= watched.lifecycle.ends_after else shown)


class RecordingQueue(MemoryQueue):
    """A queue in memory that reports each settlement."""

    def __init__(self, clock: LoopClock, on_settled: Callable[[AssetId, str], None]) -> None:
        super().__init__(clock, sinks=(), dedupe_window=60, max_pending=10**6)
        self._on_settled = on_settled

    async def settle(self, lease, event, *, steps=()):
        await super().settle(lease, event, steps=steps)
        self._on_settled(lease.submission.asset_id, event.outcome)


MakeQueue = Callable[[LoopClock, Callable[[AssetId, str], None]], Any]
"""Makes a queue of a clock and of what is called at each settlement."""


class World:
    """One worker, its API, and what became of the assets."""

    def __init__(
        self,
        poll: Poll,
        learned: LearnedState | None = None,
        *,
        limits: Limits | None = None,
        expectations: Expectations = NO_DEADLINE,
        list_lag: float = 0.0,
        latency: float = LATENCY,
        seed: int = 3,
        make_queue: MakeQueue = RecordingQueue,
    ) -> None:
        self._clock = LoopClock(asyncio.get_running_loop())
        random, limits = Random(seed), limits or Limits()
        gate = wiring.make_gate(limits, self._clock)
        self.api = VirtualApi(gate, list_lag=list_lag, latency=latency)
        self.gate = gate
        self.queue = make_queue(self._clock, self._settled)
        self.schedule = policies.schedule(poll, learned, random.random)
        self.poller = Poller(
            self.queue,
            self.api,
            schedule=self.schedule,
            policy=Policy(
                expectations=expectations,
                source="s",
                redact=Secrets().redact,
                looks_at_once=policies.looks_at_once(limits),
                batching=policies.batching(poll),
            ),
            clock=self._clock,
            feedback=wiring.make_feedback(self.schedule, gate, self._clock),
            uniform=random.random,
        )
        self._random = Random(seed + 1)
        self._changed = asyncio.Event()
        self.count = 0
        self.ended: list[tuple[Watched, float, str]] = []
        """Each settled asset, when it was settled, and how."""
        self.on_ended: Callable[[], None] = lambda: None

    @asynccontextmanager
    async def running(self):
        """The worker runs within this context."""
        before = structlog.get_config()
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
        try:
            stop = Stop()
            polling = asyncio.ensure_future(self.poller.run(stop))
            polling.add_done_callback(lambda _: self._changed.set())
            self._polling = polling
            yield
            stop.set("done")
            await polling
        finally:
            structlog.configure(**before)

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    @property
    def requests(self) -> int:
        return self.api.retrieves + self.api.lists

    def add(
        self,
        asset_class: AssetClass,
        duration: float,
        *,
        accepted_ago: float = 0.0,
        created_ago: float = 0.0,
        fields: dict[str, str] | None = None,
        hls: float = 0.0,
        thumbnail: float = 0.0,
    ) -> AssetId:
        """Submit an asset that takes `duration` seconds from its creation, `created_ago` seconds before acceptance.

        `accepted_ago`: it has been pending for so many seconds, and an earlier run has looked at it. `fields` are more
        of its document. Its renditions, if it has them, take `hls` and `thumbnail` seconds more.
        """
        asset_id = self.watch(
            asset_class, duration, accepted_ago, created_ago=created_ago, fields=fields, hls=hls, thumbnail=thumbnail
        )
        steady = self._clock.steady()
        self.queue._add([(Submission(asset_id, "-", self.count), 1)], accepted_at=steady - accepted_ago)
        if accepted_ago:
            self.queue._pending[asset_id].progress = self.progress_of(asset_id)
        return asset_id

    def progress_of(self, asset_id: AssetId) -> Progress:
        """What a look shows now."""
        seen = last_seen_of(self.api.shown(asset_id), None)
        return Progress(1, 1, seen, ("asset",), waiting_at=self._clock.steady())

    def watch(
        self,
        asset_class: AssetClass,
        duration: float,
        accepted_ago: float = 0.0,
        *,
        created_ago: float = 0.0,
        fields: dict[str, str] | None = None,
        hls: float = 0.0,
        thumbnail: float = 0.0,
    ) -> AssetId:
        """Let the API have an asset, as `add` does."""
        self.count += 1
        asset_id = AssetId(f"{self.count:024x}")
        accepted_at = self.now - accepted_ago
        created_at = accepted_at - created_ago
        wall = self._clock.now() - self.now + created_at
        kind = asset_class.file_type.partition("/")[0]
        self.api.watched[asset_id] = Watched(
            Created(
                id=asset_id,
                created_at=datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                filename=f"{self.count}.{asset_class.file_type.partition('/')[2]}",
                file_type=asset_class.file_type,
                method=asset_class.method,
                size=self._random.randrange(10**5, 10**9),
                duration=self._random.uniform(5, 5000) if kind in {"video", "audio"} else None,
            ),
            Lifecycle(
                ends_after=duration,
                hls=Rendition(hls) if "hls" in asset_class.renditions else None,
                thumbnail=Rendition(thumbnail) if "thumbnail" in asset_class.renditions else None,
            ),
            created_at,
            accepted_at,
            fields or {},
        )
        return asset_id

    async def until(self, is_over: Callable[[], bool]) -> None:
        """Wait for settlements until this is true."""
        while not is_over():
            if self._polling.done():
                self._polling.result()
            self._changed.clear()
            await self._changed.wait()

    async def until_time(self, instant: float) -> None:
        """Wait until the loop's time is `instant`."""
        await asyncio.sleep(instant - self.now)

    def _settled(self, asset_id: AssetId, outcome: str) -> None:
        self.ended.append((self.api.watched[asset_id], self.now, outcome))
        self.on_ended()
        self._changed.set()

    def lags(self, since: int = 0) -> list[float]:
        """Seconds from the end of each settled asset to its settlement; those that never ended are left out."""
        return [at - each.known_from for each, at, _ in self.ended[since:] if each.known_from < math.inf]


def summary(lags: Sequence[float]) -> Row:
    """Mean and 95th percentile, in seconds."""
    return {"lag": sum(lags) / len(lags), "p95": sorted(lags)[int(len(lags) * 0.95)]}
