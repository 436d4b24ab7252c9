"""The server's limit, reported in every way or not at all: obeyed, used up, and shared.

Requests are the bottleneck: an asset is done already and costs one retrieve, or never is done and takes as many as
possible. All counts and times are the server's, so the start of the worker is in none of them.
"""

from __future__ import annotations

import asyncio
import math
import signal
import time
from collections import Counter
from statistics import median

import aiohttp
import msgspec
import pytest

from asset_worker.simulator.lifecycles import Lifecycle
from asset_worker.simulator.limits import Answer, Limit, Style, Window
from asset_worker.simulator.server import Simulator
from tests.integration.processes import Worker, eventually

REPORTING = {Style.VENDOR, Style.IETF}
"""Styles that report the quota with every answer. The others report nothing before the limit is reached."""

CONCURRENCY = 20
OF_OURS = {"POLL__BATCH": "off", "LIMITS__CONCURRENCY": str(CONCURRENCY)}
"""Single retrieves, no rate of our own, and the default number in flight."""


class Counted(Window):
    """A limit that counts the requests and the refusals in each window."""

    def __init__(self, limit: Limit) -> None:
        super().__init__(limit)
        self.asked: Counter[int] = Counter()
        self.refused: Counter[int] = Counter()

    def charge(self, now: float) -> Answer:
        answer = super().charge(now)
        number = int(now // self.limit.window)
        self.asked[number] += 1
        self.refused[number] += not answer.allowed
        return answer


def limit(simulator: Simulator, text: str) -> Counted:
    """Set the limit of the simulator; returns its counter."""
    simulator._window = window = Counted(Limit.parse(text))
    return window


class LimitedRun(msgspec.Struct):
    """The result of a run under a limit."""

    style: Style
    exit_code: int
    done: int
    seconds: float
    """From the first request to the last."""
    forced: float
    """The least number of seconds that the limit allows."""
    asked: list[int]
    """Requests in each window of the server."""
    refusals: list[int]
    """Refused requests in each window."""
    rate_limited: int
    """The number of `api.rate_limited` lines in the log."""

    @property
    def refused(self) -> float:
        """The share of requests that were refused."""
        return sum(self.refusals) / sum(self.asked)

    @property
    def refused_once_met(self) -> float:
        """The same, without the window in which the limit was reached first."""
        met = next((number for number, refusals in enumerate(self.refusals) if refusals), 0)
        later = sum(self.asked[:met]) + sum(self.asked[met + 1 :])
        return sum(self.refusals[met + 1 :]) / max(later, 1)

    def is_as_promised(self, limit: Limit) -> bool:
        """Whether the limit was obeyed and used up."""
        most = max(self.asked)
        if self.style in REPORTING:
            return (
                self.refused < 0.03
                and most <= limit.requests * 1.03
                and self.seconds < 1.3 * self.forced + limit.window
            )
        # The limit is reached at full speed, with all requests in flight; after that it is known, or nearly.
        return (
            self.refused_once_met < 0.12
            and most <= limit.requests + CONCURRENCY + 10
            and self.seconds < 1.6 * self.forced + limit.window
        )

    def __str__(self) -> str:
        return (
            f"{self.style}: {self.done} done in {self.seconds:.1f} s = {self.seconds / self.forced:.2f} x the forced "
            f"{self.forced:.1f} s; {self.refused:.1%} refused, {self.refused_once_met:.1%} once the limit was met, in "
            f"{self.rate_limited} events; asked in each window {self.asked}, refused {self.refusals}"
        )


async def all_done_under(simulator: Simulator, worker: Worker, *, text: str, count: int) -> LimitedRun:
    """Run under a limit until this many assets, which are done already, have been looked at one by one."""
    window = limit(simulator, text)
    worker.submit(*(simulator.store.add(Lifecycle()) for _ in range(count)))
    run = worker.run("--once", base_url=simulator.base_url, LIMITS__SHARE="1", **OF_OURS)
    exit_code = await run.end(within=100)
    times = simulator.stats.times
    return LimitedRun(
        style=window.limit.style,
        exit_code=exit_code,
        done=len({event["subject"] for event in worker.events() if event["data"]["outcome"] == "ready"}),
        seconds=times[-1] - times[0],
        forced=count * window.limit.window / window.limit.requests,
        asked=[window.asked[number] for number in sorted(window.asked)],
        refusals=[window.refused[number] for number in sorted(window.asked)],
        rate_limited=len(run.logs("api.rate_limited")),
    )


@pytest.mark.timeout(400)
async def test_a_limit_reported_in_any_way_is_obeyed_and_used_up(serve, worker_in):
    """All styles at the same time: under a limit, a worker mostly waits.

    Up to five tries: windows follow the wall clock, and a busy machine leaves some of them unused.
    """
    limited, count = "40/2", 240
    allowed, tries = Limit.parse(limited), []

    async def one(style: Style, number: int) -> LimitedRun:
        return await all_done_under(
            await serve(), worker_in(f"{style} {number}"), text=f"{limited}:{style}", count=count
        )

    left = set(Style)
    while left and len(tries) < 5:
        found = await asyncio.gather(*(one(style, len(tries)) for style in sorted(left)))
        tries.append("\n".join(map(str, found)))
        assert all((each.exit_code, each.done) == (0, count) for each in found), tries[-1]
        left -= {each.style for each in found if each.is_as_promised(allowed)}
    assert not left, "\n\n".join(tries)


async def test_a_share_of_a_reported_quota_is_left_to_others_who_are_never_refused(serve, worker_in):
    """Another client of the organisation uses 15 % of the limit, of which we leave 20 %; we could use all of it."""
    requests, seconds = 40, 2.0

    async def one(style: Style) -> None:
        simulator, worker = await serve(), worker_in(style)
        worker.submit(*(simulator.store.add(Lifecycle(math.inf)) for _ in range(60)))
        run = worker.run(base_url=simulator.base_url, **OF_OURS)
        await run.until("worker.started")
        window = limit(simulator, f"{requests}/{seconds:g}:{style}")
        statuses: Counter[int] = Counter()
        others: Counter[int] = Counter()
        url = f"{simulator.base_url}/assets/{simulator.store.add(Lifecycle())}"
        async with aiohttp.ClientSession(headers={"x-api-key": "another"}) as session:
            ends = asyncio.get_running_loop().time() + 13
            while asyncio.get_running_loop().time() < ends:
                others[int(time.time() // seconds)] += 1
                async with session.get(url) as response:
                    statuses[response.status] += 1
                await asyncio.sleep(seconds / (0.15 * requests))
        # The first window had begun before the limit was set, and the last is not over.
        whole = sorted(window.asked)[1:-1]
        asked, ours = [window.asked[each] for each in whole], [window.asked[each] - others[each] for each in whole]
        said = (
            f"{style}: others {statuses}; in each whole window asked {asked}, by us {ours}; "
            f"refused {window.refused.total()}"
        )
        assert set(statuses) == {200}, said
        assert window.refused.total() == 0, said
        assert max(asked) <= requests, said
        # One more if a request of the other was sent in one window and counted in the next.
        assert max(ours) <= 0.8 * requests + 1, said
        # The median: in some windows the machine may have been too busy.
        assert median(ours) > 0.4 * requests, said
        run.send(signal.SIGTERM)
        assert await run.end() == 0

    await asyncio.gather(*map(one, sorted(REPORTING)))


async def test_with_too_few_requests_no_asset_starves(serve, worker):
    """Assets that never end need many times the looks that the limit allows; some come when others are old."""
    simulator = await serve(seed=12)
    window = limit(simulator, "60/1:vendor")
    old = [simulator.store.add(Lifecycle(math.inf)) for _ in range(50)]
    worker.submit(*old)
    run = worker.run(base_url=simulator.base_url, **OF_OURS)
    await eventually(lambda: len(simulator.stats.looks) == len(old), otherwise=lambda: run.stderr)
    new = [simulator.store.add(Lifecycle(math.inf)) for _ in range(25)]
    worker.submit(*new)
    await eventually(lambda: {*new} <= simulator.stats.looks.keys(), otherwise=lambda: run.stderr)
    before = Counter(simulator.stats.looks)
    enough = before.total() + 5 * (len(old) + len(new))
    await eventually(lambda: simulator.stats.looks.total() >= enough, otherwise=lambda: run.stderr)
    looks = simulator.stats.looks - before
    spread = sorted(looks[asset_id] for asset_id in old), sorted(looks[asset_id] for asset_id in new)
    asked = [window.asked[number] for number in sorted(window.asked)]
    said = f"looks of the old {spread[0]}, of the new {spread[1]}; asked {asked}, refused {window.refused.total()}"
    assert min(spread[0] + spread[1]) >= 3, said
    assert max(spread[0] + spread[1]) <= 8, said
    assert window.refused.total() < 0.03 * window.asked.total(), said
    run.send(signal.SIGTERM)
    assert await run.end() == 0
