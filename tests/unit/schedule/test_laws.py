"""What the adaptive schedule promises whatever it has learned, and whatever a look costs."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asset_worker.schedule.adaptive import FLOOR, AdaptiveSchedule
from asset_worker.schedule.classes import classify
from asset_worker.schedule.ports import WaitState
from tests.doubles.optimal_schedule import teach, uniform, watch

VIDEO = classify(("asset",), "video/mp4", "direct")
LISTS = st.lists(st.integers(1, 50), max_size=300)
"""The looks of each request."""
TEACHING = st.lists(
    st.tuples(st.floats(0.1, 1500), st.integers(1, 40), st.sampled_from(["video/mp4", "image/png", "video/webm"])),
    max_size=6,
)
"""Waits: about how long, in seconds; how many like that; and of what type."""


def learner(
    *, maximum: float = 30, multiplier: float = 1.5, initial: float = 2, looks: float | None = None
) -> AdaptiveSchedule:
    return AdaptiveSchedule(
        initial=initial, multiplier=multiplier, maximum=maximum, looks=looks, uniform=Random(1).random
    )


def taught(schedule: AdaptiveSchedule, teaching: list[tuple[float, int, str]], lists: list[int]) -> AdaptiveSchedule:
    random = Random(2)
    for duration, count, file_type in teaching:
        for _ in range(count):
            watch(schedule, duration * random.uniform(0.9, 1.1), learner=schedule, file_type=file_type)
    for looks in lists:
        schedule.requested(looks)
    return schedule


def looks_at_stuck(schedule: AdaptiveSchedule, seconds: float, *, learns: bool = False) -> int:
    """The looks at an asset of which nothing is heard for so many seconds."""
    age = since = 0.0
    looks = 0
    while age <= seconds:
        looks += 1
        look = WaitState(attempt_number=looks, age=age, file_type="video/mp4", method="direct")
        if learns:
            schedule.observe(look, since=since)
        since, age = age, age + schedule(look)
    return looks


@pytest.mark.parametrize("learns", [False, True])
def test_a_stuck_asset_costs_no_more_after_two_thousand_that_were_not(learns: bool) -> None:
    after = looks_at_stuck(teach(learner(), uniform(55, 65), 2000), 14_400, learns=learns)
    assert after <= 1.1 * looks_at_stuck(learner(), 14_400)


@settings(max_examples=25, deadline=None)
@given(TEACHING, LISTS, st.floats(3600, 20_000))
def test_a_stuck_asset_costs_at_most_half_more_after_any_teaching(
    teaching: list[tuple[float, int, str]], lists: list[int], seconds: float
) -> None:
    after = looks_at_stuck(taught(learner(), teaching, lists), seconds)
    assert after <= 1.5 * looks_at_stuck(taught(learner(), [], lists), seconds)


@settings(max_examples=25, deadline=None)
@given(TEACHING, LISTS, st.floats(1, 1000))
def test_delays_stay_within_their_bounds_and_grow_beyond_what_was_learned(
    teaching: list[tuple[float, int, str]], lists: list[int], backlog: float
) -> None:
    schedule = taught(learner(), teaching, lists)
    assert 0 < schedule.requests_per_look <= 1
    schedule.backlog_factor = backlog
    schedule(WaitState(attempt_number=1, file_type="video/mp4", method="direct"))  # so that there is a table
    plan = schedule.plan_for(VIDEO).plan
    delays = [plan.delay(plan.tail_age * i / 50) for i in range(50)]
    beyond = [plan.delay(plan.tail_age * 1.1**i + i) for i in range(60)]
    assert all(FLOOR * 0.999 <= delay <= min(30 * backlog, 3600) * 1.001 for delay in (*delays, *beyond))
    assert beyond == sorted(beyond)


def test_a_look_that_costs_a_quarter_is_made_twice_as_often() -> None:
    schedule = teach(learner(maximum=300), uniform(100, 300), 300)
    alone = schedule.plan_for(VIDEO).plan
    for _ in range(1000):
        schedule.requested(4)
    shared = schedule.plan_for(VIDEO).plan
    assert shared.looks == pytest.approx(2 * alone.looks, rel=0.1)
    assert shared.lag == pytest.approx(alone.lag / 2, rel=0.15)


@pytest.mark.parametrize("looks", [None, 8.0])
def test_the_price_of_a_request_does_not_depend_on_how_many_looks_share_one(looks: float | None) -> None:
    durations = uniform(20, 60)
    alone = teach(learner(looks=looks), durations, 400)
    shared = learner(looks=looks)
    random = Random(1)
    for _ in range(400):
        for _ in range(10):
            shared.requested(50)
        watch(shared, durations.sample(random), learner=shared)
    assert shared.price == pytest.approx(alone.price, rel=0.15)
    ratio = 1 / 50 if looks is None else 1.0
    assert shared.plan_for(VIDEO).plan.price == pytest.approx(ratio * shared.price, rel=0.2)


def test_an_asset_polled_alone_costs_the_looks_of_exponential() -> None:
    schedule = teach(learner(), uniform(20, 60), 400)
    found = schedule.plan_for(VIDEO)
    assert found.plan.looks == pytest.approx(found.exponential_looks, rel=0.05)


@pytest.mark.parametrize("count", [3, 15, 400])
def test_nothing_is_planned_beyond_the_waits_that_were_seen(count: int) -> None:
    plan = teach(learner(), uniform(59, 61), count).plan_for(VIDEO).plan
    assert 59 < plan.tail_age < 80
    assert plan.delay(plan.tail_age + 120) == plan.usual.delay(plan.tail_age + 120)


def test_delays_beyond_what_was_learned_grow_although_those_of_exponential_hardly_do() -> None:
    flat = AdaptiveSchedule(initial=10, multiplier=1.0, maximum=10, uniform=lambda: 0.5)
    plan = teach(flat, uniform(55, 65), 2000).plan_for(VIDEO).plan
    assert plan.first_tail_delay < 8
    assert plan.delay(plan.tail_age + 200) == plan.usual.delay(plan.tail_age + 200)
