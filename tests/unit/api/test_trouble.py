"""What is reported of the API's present trouble: its cause, since when, the latest error and the next try."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from structlog.testing import capture_logs

from asset_worker.api.breaker import FAILURES_TO_OPEN
from asset_worker.api.errors import ApiError, EdgeRefusedError, KeyRefusedError, RateLimitedError, TransientError
from asset_worker.api.gate import Gate
from asset_worker.api.limits.limiter import Shortage
from asset_worker.api.responses import Verdict
from asset_worker.api.subjects import Endpoint, Subject
from asset_worker.api.trouble import (
    EDGE_SECONDS,
    RELIEF_SECONDS,
    ApiProblem,
    Cause,
    Scarcity,
    Trouble,
    scarcity_after,
    trouble_after,
)
from asset_worker.runtime.stop import Stop
from tests.doubles.clocks import LoopClock

REFUSED, EDGE, FAILED = KeyRefusedError("401 code"), EdgeRefusedError("403 page"), TransientError("502")


@pytest.mark.parametrize(
    ("before", "verdict", "error", "after"),
    [
        pytest.param(None, Verdict.SUCCEEDED, None, None, id="nothing is wrong"),
        pytest.param(None, Verdict.FAILED, FAILED, Trouble(Cause.UNAVAILABLE, 9.0, 9.0, "502"), id="the first failure"),
        pytest.param(
            Trouble(Cause.UNAVAILABLE, 1.0, 2.0, "503"),
            Verdict.FAILED,
            FAILED,
            Trouble(Cause.UNAVAILABLE, 1.0, 9.0, "502"),
            id="the same cause, with its latest error",
        ),
        pytest.param(
            Trouble(Cause.KEY_REFUSED, 1.0, 2.0, "401"),
            Verdict.FAILED,
            FAILED,
            Trouble(Cause.UNAVAILABLE, 9.0, 9.0, "502"),
            id="another cause",
        ),
        pytest.param(
            None, Verdict.FAILED, EDGE, Trouble(Cause.PROXY_OR_KEY, 9.0, 9.0, "403 page"), id="a refusal without a code"
        ),
        pytest.param(
            None, Verdict.KEY_REFUSED, REFUSED, Trouble(Cause.KEY_REFUSED, 9.0, 9.0, "401 code"), id="a refused key"
        ),
        pytest.param(
            None,
            Verdict.RATE_LIMITED,
            RateLimitedError("429"),
            Trouble(Cause.RATE_LIMITED, 9.0, 9.0, "429"),
            id="a rate limit",
        ),
        pytest.param(
            Trouble(Cause.KEY_REFUSED, 1.0, 2.0, "401"),
            Verdict.LOST,
            asyncio.CancelledError(),
            Trouble(Cause.KEY_REFUSED, 1.0, 2.0, "401"),
            id="a cancelled attempt",
        ),
        pytest.param(Trouble(Cause.UNAVAILABLE, 1.0, 2.0, "503"), Verdict.SUCCEEDED, None, None, id="a success"),
    ],
)
def test_the_cause_is_that_of_the_latest_attempts(before, verdict, error, after):
    assert trouble_after(before, verdict, error, now=9.0) == after


def test_only_refusals_without_a_code_for_a_minute_ask_people_to_look():
    over = 100.0 + EDGE_SECONDS
    assert not Trouble(Cause.PROXY_OR_KEY, 100.0, over - 0.1, "403").is_lasting_edge(over - 0.1)
    assert Trouble(Cause.PROXY_OR_KEY, 100.0, over, "403").is_lasting_edge(over)
    assert Trouble(Cause.PROXY_OR_KEY, 100.0, 120.0, "403").is_lasting_edge(over), "probes are rare by then"
    assert not Trouble(Cause.PROXY_OR_KEY, 100.0, 119.9, "403").is_lasting_edge(over), "only the first few are known"
    assert not Trouble(Cause.PROXY_OR_KEY, 100.0, 101.0, "403").is_lasting_edge(over), "nothing was tried since"
    assert not Trouble(Cause.UNAVAILABLE, 100.0, 999.0, "502").is_lasting_edge(999.0)


def new_gate() -> Gate:
    clock = LoopClock(asyncio.get_running_loop())
    return Gate(clock=clock, requests_per_second=0, concurrency=20, share=1.0, uniform=lambda: 0.5)


def problem_of(gate: Gate) -> ApiProblem | None:
    return gate.problem


async def attempt(gate: Gate, answer: ApiError | None, headers: Mapping[str, str] | None = None) -> None:
    """One attempt that ends so; the error's text begins with the status."""
    status = 200 if answer is None else int(str(answer)[:3])
    try:
        async with gate.permit(Subject(Endpoint.RETRIEVE, "a")) as permit:
            permit.answered(status, headers or {})
            if answer is not None:
                raise answer
    except ApiError:
        pass


@pytest.mark.virtual_time
async def test_a_refused_key_that_turns_into_an_outage_and_a_rate_limit_is_reported_as_what_it_is_now():
    gate = new_gate()
    begin = gate._clock.now()
    await attempt(gate, None)
    with capture_logs() as logs:
        assert problem_of(gate) is None
        for _ in range(3):
            await attempt(gate, REFUSED)
        refused_for = [gate.key_refused_for]
        seen = [problem_of(gate)]
        await attempt(gate, FAILED)
        refused_for.append(gate.key_refused_for)
        seen.append(problem_of(gate))
        await attempt(gate, RateLimitedError("429"), {"Retry-After": "7"})
        seen.append(problem_of(gate))
        await attempt(gate, REFUSED)
        seen.append(problem_of(gate))
        await attempt(gate, None)
    assert problem_of(gate) is None
    assert refused_for == [pytest.approx(1.0), None]
    assert [(each.cause, each.last_error) for each in seen if each] == [
        (Cause.KEY_REFUSED, "401 code"),
        (Cause.UNAVAILABLE, "502"),
        (Cause.RATE_LIMITED, "429"),
        (Cause.KEY_REFUSED, "401 code"),
    ]
    assert [each.since - begin for each in seen if each] == pytest.approx([0.0, 3.0, 7.0, 14.0])
    assert [each.next_try - begin for each in seen if each and each.next_try] == pytest.approx([3.0, 7.0, 14.0, 22.0])
    assert [log["event"] for log in logs if log["event"] != "api.rate_limited"] == [
        "api.key_refused",
        "api.unavailable",
        "api.key_refused",
        "api.recovered",
    ]


@pytest.mark.virtual_time
async def test_an_outage_is_reported_once_whatever_its_errors():
    gate = new_gate()
    with capture_logs() as logs:
        for number in range(FAILURES_TO_OPEN + 6):
            await attempt(gate, EDGE if number % 2 else FAILED)
        assert (problem := problem_of(gate)) is not None
        assert problem.cause is Cause.UNAVAILABLE
        await attempt(gate, None)
    assert [log["event"] for log in logs] == ["api.unavailable", "api.recovered"]


@pytest.mark.virtual_time
async def test_refusals_without_a_code_for_a_minute_are_a_problem_though_few_requests_are_made():
    gate = new_gate()
    begin = gate._clock.now()
    with capture_logs() as logs:
        for _ in range(6):
            await attempt(gate, EDGE)
            assert problem_of(gate) is None
            await asyncio.sleep(10)
        await attempt(gate, EDGE)
        assert problem_of(gate) == ApiProblem(Cause.PROXY_OR_KEY, begin, "403 page", begin + 60)
        await attempt(gate, None)
        assert problem_of(gate) is None
    assert logs == [
        {"event": "api.proxy_or_key", "log_level": "error", "error": "403 page"},
        {"event": "api.recovered", "log_level": "info", "seconds": 60.0},
    ]


@pytest.mark.virtual_time
async def test_the_minute_ends_whether_or_not_an_attempt_ends_then():
    gate = new_gate()
    with capture_logs() as logs:
        await attempt(gate, EDGE)
        await asyncio.sleep(30)
        await attempt(gate, EDGE)
        await asyncio.sleep(29)
        assert problem_of(gate) is None
        assert logs == []
        await asyncio.sleep(1.1)
        assert (problem := problem_of(gate)) is not None
        assert problem.cause is Cause.PROXY_OR_KEY
    assert [log["event"] for log in logs] == ["api.proxy_or_key"]


@pytest.mark.virtual_time
async def test_another_answer_begins_the_minute_again():
    gate = new_gate()
    with capture_logs() as logs:
        for _ in range(6):
            await attempt(gate, EDGE)
            await asyncio.sleep(20)
            await attempt(gate, EDGE)
            await asyncio.sleep(20)
            await attempt(gate, None)
    assert logs == []


@pytest.mark.virtual_time
async def test_a_limit_that_others_have_used_up_is_a_problem_while_an_attempt_waits_for_it():
    gate = new_gate()
    await attempt(gate, None)
    begin = gate._clock.now()
    used_up = {"X-Ratelimit-Limit": "60", "X-Ratelimit-Remaining": "0", "X-Ratelimit-Reset": "30"}
    await attempt(gate, None, used_up)
    assert problem_of(gate) is None, "nothing waits"
    waiting = asyncio.ensure_future(attempt(gate, None))
    await asyncio.sleep(1)
    assert (found := problem_of(gate)) is not None
    assert (found.cause, found.stops_work) == (Cause.RATE_LIMITED, False)
    assert found.last_error == "others have used 60 of 60 requests"
    assert found.since == pytest.approx(begin, abs=0.01)
    assert found.next_try == pytest.approx(begin + 30, abs=1.5)
    await waiting
    assert problem_of(gate) is None
    await attempt(gate, RateLimitedError("429"), used_up | {"Retry-After": "30"})
    assert (found := problem_of(gate)) is not None, "it is repeated later, and waits elsewhere"
    assert found.next_try == pytest.approx(gate._clock.now() + 30, abs=1.5)


@pytest.mark.parametrize(
    ("before", "shortage", "after"),
    [
        pytest.param(None, None, None, id="there is enough"),
        pytest.param(None, Shortage(90.0, "one"), Scarcity(90.0, 100.0, "one"), id="the first shortage"),
        pytest.param(
            Scarcity(1.0, 60.0, "one"), Shortage(90.0, "two"), Scarcity(1.0, 100.0, "two"), id="one after another"
        ),
        pytest.param(Scarcity(1.0, 60.0, "one"), None, Scarcity(1.0, 60.0, "one"), id="in between"),
        pytest.param(Scarcity(1.0, 100.0 - RELIEF_SECONDS, "one"), None, None, id="it is over"),
    ],
)
def test_shortages_that_follow_one_another_are_one_scarcity(before, shortage, after):
    assert scarcity_after(before, shortage, now=100.0) == after


@pytest.mark.virtual_time
async def test_a_limit_that_others_use_up_each_minute_is_one_problem_that_began_with_the_first():
    """So an alert that waits for ten minutes goes off, and people see for how long it has been so."""
    gate, stop = new_gate(), Stop()
    watching = asyncio.create_task(gate.watch(stop))
    await attempt(gate, None)
    begin, seen = gate._clock.now(), []
    for _ in range(5):
        await attempt(gate, None, {"X-Ratelimit-Limit": "60", "X-Ratelimit-Remaining": "0", "X-Ratelimit-Reset": "60"})
        waiting = asyncio.create_task(attempt(gate, None))
        while not waiting.done():
            await asyncio.sleep(1.5)
            seen.append(problem_of(gate))
    assert {each and each.cause for each in seen} == {Cause.RATE_LIMITED}
    assert [each.since for each in seen if each] == pytest.approx([begin] * len(seen), abs=0.01)
    await asyncio.sleep(RELIEF_SECONDS + 1)
    assert problem_of(gate) is None
    stop.set("done")
    await watching
