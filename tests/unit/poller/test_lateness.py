"""Which looks are late because requests are scarce, and what the schedule makes of it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from asset_worker.api.errors import ApiError, KeyRefusedError, NotFoundError, TransientError
from asset_worker.api.gate import Gate
from asset_worker.api.subjects import Endpoint, Subject
from asset_worker.domain.assets import Expectations, asset_from
from asset_worker.poller.feedback import Feedback
from asset_worker.poller.lateness import Late, Lateness
from asset_worker.poller.loop import Poller
from asset_worker.poller.policy import Batching
from asset_worker.runtime.clock import SystemClock
from asset_worker.runtime.stop import Stop
from asset_worker.schedule.adaptive import AdaptiveSchedule
from tests.doubles.clocks import LoopClock
from tests.doubles.optimal_schedule import log_normal, teach
from tests.doubles.polling import events_in, policy, put, queue_in_memory

HOUR = 3600.0


def test_a_look_that_waited_for_a_request_is_late_for_that_reason() -> None:
    lateness = Lateness()
    assert lateness.of(3.0, now=10.0, is_cut_off=False, gathered_at=0.0) == Late(3.0, float("inf"))
    assert lateness.of(4.0, now=12.0, is_cut_off=False, gathered_at=0.0) == Late(4.0, 2.0)


def test_lateness_says_nothing_about_looks_due_while_requests_were_held() -> None:
    lateness = Lateness()
    assert lateness.of(30.0, now=100.0, is_cut_off=True, gathered_at=0.0) is None, "a probe"
    assert lateness.of(25.0, now=125.0, is_cut_off=False, gathered_at=0.0) is None, "the first after the repair"
    assert lateness.of(3.0, now=127.0, is_cut_off=False, gathered_at=0.0) is None, "due before the repair"
    assert lateness.of(3.0, now=129.0, is_cut_off=False, gathered_at=0.0) == Late(3.0, float("inf"))


def test_a_look_that_came_due_when_requests_went_out_again_is_late_because_they_are_scarce() -> None:
    lateness = Lateness()
    assert lateness.of(0.0, now=125.0, is_cut_off=True, gathered_at=0.0) == Late(0.0, float("inf"))
    assert lateness.of(1.0, now=126.0, is_cut_off=False, gathered_at=0.0) is None
    assert lateness.of(1.0, now=127.0, is_cut_off=False, gathered_at=0.0) == Late(1.0, 2.0)


def test_a_look_that_came_due_in_a_pause_for_new_assets_is_late_from_the_end_of_the_pause() -> None:
    lateness = Lateness()
    assert lateness.of(0.5, now=10.0, is_cut_off=False, gathered_at=9.75) == Late(0.25, float("inf"))
    assert lateness.of(5.0, now=20.0, is_cut_off=False, gathered_at=9.75) == Late(5.0, 10.0)


class GatedApi(Gate):
    """An API behind a gate.

    An asset ends `takes[ID]` seconds after its first look, or never. IDs that begin with `a` are texts, others videos.
    """

    latest_failure = None

    def __init__(self, *, rate=10.0):
        super().__init__(clock=SystemClock(), requests_per_second=rate, concurrency=20, share=1.0, uniform=lambda: 0.5)
        self.status, self.error = 200, None
        self.takes = {}
        self.first_asked, self.asked = {}, {}

    def fails(self, status: int, error: ApiError) -> None:
        self.status, self.error = status, error

    def works(self) -> None:
        self.status, self.error = 200, None

    @asynccontextmanager
    async def _request(self, subject):
        async with self.permit(subject) as permit:
            permit.answered(self.status, {})
            if self.error is not None:
                raise self.error
            yield

    def _asset(self, asset_id):
        now = asyncio.get_running_loop().time()
        began = self.first_asked.setdefault(asset_id, now)
        self.asked.setdefault(asset_id, []).append(now - began)
        is_done = now - began >= self.takes.get(asset_id, float("inf"))
        file_type = "text/plain" if asset_id.startswith("a") else "video/mp4"
        return asset_from({"_id": asset_id, "status": "ready" if is_done else "processing", "file_type": file_type})

    async def retrieve(self, asset_id):
        async with self._request(Subject(Endpoint.RETRIEVE, asset_id)):
            return self._asset(asset_id)

    async def list_assets(self, asset_ids):
        async with self._request(Subject(Endpoint.LIST, asset_ids[0])):
            return {asset_id: self._asset(asset_id) for asset_id in asset_ids}


@asynccontextmanager
async def polling(api, schedule, *, batching=None, deadline=10**6, strict=False):
    clock, stop = LoopClock(asyncio.get_running_loop()), Stop()
    queue = queue_in_memory(clock)
    poller = Poller(
        queue,
        api,
        schedule=schedule,
        policy=policy(
            expectations=Expectations(deadline=deadline, unanswered_factor=1.0),
            looks_at_once=40,
            batching=batching,
            last_look=0.0 if strict else 60.0,
        ),
        clock=clock,
        feedback=Feedback(schedule, breaker_is_open=lambda: api.reason is not None),
        uniform=lambda: 1.0,
    )
    running = asyncio.ensure_future(poller.run(stop))
    try:
        yield queue
    finally:
        stop.set("test")
        running.cancel()
        await asyncio.wait([running])


def learner(*, knows: float | None = None):
    """`knows`: how long videos take, in seconds."""
    schedule = AdaptiveSchedule(initial=2, multiplier=1.5, maximum=30, uniform=lambda: 0.5)
    return schedule if knows is None else teach(schedule, log_normal(knows, 0.3), 100)


def names(letter, count):
    return [f"{letter}{number:023x}" for number in range(count)]


@pytest.mark.virtual_time
@pytest.mark.usefixtures("hours_pass")
@pytest.mark.parametrize(
    ("status", "error", "batching"),
    [
        pytest.param(401, KeyRefusedError("401"), None, id="a refused key, retrieves"),
        pytest.param(503, TransientError("503"), Batching(ahead=1.5, gather=0.5), id="an outage, lists"),
    ],
)
async def test_an_hour_of_a_refused_key_or_an_outage_stretches_no_delay(status, error, batching):
    """What is uploaded after the repair is found as soon as before, though much else is pending."""
    api, schedule = GatedApi(), learner(knows=5.0)
    async with polling(api, schedule, batching=batching) as queue:
        await put(queue, names("a", 120))
        await asyncio.sleep(10 * 60)
        before = schedule.backlog_factor
        api.fails(status, error)
        await asyncio.sleep(HOUR)
        assert api.open_for > 0
        assert schedule.backlog_factor <= before
        api.works()
        await asyncio.sleep(60)
        assert api.reason is None
        assert schedule.backlog_factor <= max(before, 1.3), "a hundred looks that were due at once took some seconds"
        new = names("b", 4)
        api.takes |= dict.fromkeys(new, 5.0)
        await put(queue, new)
        await asyncio.sleep(12)
        assert queue.pending_count() == 120


@pytest.mark.virtual_time
async def test_scarce_requests_stretch_delays_until_they_are_no_longer_scarce():
    api, schedule = GatedApi(rate=1.0), learner()
    crowd = names("b", 300)
    api.takes |= dict.fromkeys(crowd, HOUR)
    async with polling(api, schedule) as queue:
        await put(queue, crowd)
        await asyncio.sleep(0.9 * HOUR)
        assert schedule.backlog_factor > 5, "one round takes five minutes"
        later = [times[-1] - times[-2] for times in api.asked.values()]
        assert max(later) < 4 * 300, "but nobody waits for much longer than that"
        await asyncio.sleep(2 * HOUR)
        assert queue.pending_count() == 0
        [new] = names("c", 1)
        await put(queue, [new])
        await asyncio.sleep(31)
        assert schedule.backlog_factor == 1
        assert len(api.asked[new]) >= 2, "poll.max is the longest delay again"


@pytest.mark.virtual_time
async def test_pauses_for_new_assets_stretch_no_delay():
    api, schedule = GatedApi(), learner()
    async with polling(api, schedule, batching=Batching(ahead=30.0, gather=10.0)) as queue:
        for name in names("a", 100):
            await put(queue, [name])
            await asyncio.sleep(3)
            assert schedule.backlog_factor == 1


@pytest.mark.virtual_time
async def test_a_burst_of_finished_assets_takes_few_of_the_requests_of_a_minute():
    """Assets that are held for a confirmation wait for it, though it waits for a request."""

    class SlowApi(GatedApi):
        @asynccontextmanager
        async def _request(self, subject):
            async with super()._request(subject):
                await asyncio.sleep(0.2)
                yield

        def _asset(self, asset_id):
            shown = super()._asset(asset_id)
            return asset_from(shown.document | {f"kind-{int(asset_id[-1], 16) % 5}": True})

    api = SlowApi(rate=1.0)
    ids = names("b", 1000)
    api.takes |= dict.fromkeys(ids, 0.0)
    async with polling(api, learner(), batching=Batching()) as queue:
        await put(queue, ids)
        await queue.idle()
        took = asyncio.get_running_loop().time()
        polls = [event["data"]["polls"] for event in await events_in(queue)]
    # 20 lists, 15 confirmations, and an audit for each fifty assets of a kind.
    assert took < 75
    assert sum(each > 1 for each in polls) < 45


@pytest.mark.virtual_time
async def test_elapsed_in_the_log_includes_waits_for_a_request():
    api = GatedApi(rate=2.0)
    ids = names("b", 80)
    api.takes |= dict.fromkeys(ids, 0.0)
    with capture_logs() as logs:
        async with polling(api, learner(), batching=Batching(confirm_all=True)) as queue:
            await put(queue, ids)
            await queue.idle()
            took = asyncio.get_running_loop().time()
            events = await events_in(queue)
    elapsed = [log["elapsed"] for log in logs if log["event"] == "asset.completed"]
    assert (len(elapsed), len(events)) == (80, 80)
    assert took > 30
    assert max(elapsed) == pytest.approx(took, abs=0.01)
    assert events[-1]["data"]["polls"] == 2


@pytest.mark.virtual_time
async def test_a_strict_deadline_counts_from_acceptance_though_a_list_was_asked_first():
    class Hanging(GatedApi):
        async def list_assets(self, asset_ids):
            await asyncio.sleep(3)
            return await super().list_assets(asset_ids)

        async def retrieve(self, asset_id):
            await asyncio.sleep(HOUR)

    api, ids = Hanging(), names("b", 2)
    api.takes |= dict.fromkeys(ids, 0.0)
    async with polling(api, learner(), batching=Batching(), deadline=5.0, strict=True) as queue:
        await put(queue, ids)
        await queue.idle()
        assert asyncio.get_running_loop().time() == pytest.approx(5.0, abs=0.01)


@pytest.mark.virtual_time
async def test_an_asset_that_is_not_visible_at_its_first_look_counts_among_those_that_began():
    """`poll.looks` is reckoned from them."""

    class Racing(GatedApi):
        async def retrieve(self, asset_id):
            if asset_id not in self.first_asked:
                self.first_asked[asset_id] = asyncio.get_running_loop().time()
                raise NotFoundError("404")
            return await super().retrieve(asset_id)

    api, schedule = Racing(rate=0), learner()
    async with polling(api, schedule) as queue:
        await put(queue, names("a", 5))
        await asyncio.sleep(60)
    [(key, count)] = schedule.learned().starts
    assert (str(key[0]), count) == ("asset text/plain other", 5.0)
