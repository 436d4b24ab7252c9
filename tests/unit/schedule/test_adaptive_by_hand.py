"""What an adaptive schedule does with one look, worked out by hand."""

from __future__ import annotations

import pytest

from asset_worker.schedule.adaptive import AdaptiveSchedule
from asset_worker.schedule.life_table import survival_at, survival_from
from asset_worker.schedule.ports import WaitState

BOTH = WaitState(1, phase="renditions", waiting_on=("hls", "thumbnail"), file_type="video/mp4", method="direct")


def schedule(initial: float = 2.0, multiplier: float = 1.5, maximum: float = 30.0) -> AdaptiveSchedule:
    return AdaptiveSchedule(initial=initial, multiplier=multiplier, maximum=maximum, uniform=lambda: 0.5)


def at(age: float, **other: str) -> WaitState:
    return WaitState(2, age=age, file_type="video/mp4", method="direct", **other)


@pytest.mark.parametrize(
    ("delays", "lateness", "factor"),
    [
        # A look is late by more than a fifth of the usual delay: 2 s before any, and then 0.99 · 2 s + 0.01 · 28.6 s.
        pytest.param(0, 0.39, 1.0, id="in-time"),
        pytest.param(0, 0.41, 1.02, id="late"),
        pytest.param(1, 0.45, 1.0, id="in-time-after-a-long-delay"),
        pytest.param(1, 0.46, 1.02, id="late-after-a-long-delay"),
        pytest.param(2, 0.50, 1.0, id="in-time-after-another"),
        pytest.param(2, 0.51, 1.02, id="late-after-another"),
    ],
)
def test_the_usual_delay_is_the_mean_of_the_last_hundred_or_so(delays: int, lateness: float, factor: float) -> None:
    """The longest delay leaves room for jitter: 30 s / 1.05. Jitter of one half leaves a delay as it is."""
    learner = schedule()
    for _ in range(delays):
        assert learner(WaitState(99, waiting_on=("answer",))) == pytest.approx(30 / 1.05)
    learner.looked_late(lateness, since=1.0)
    assert learner.backlog_factor == factor


@pytest.mark.parametrize(
    ("age", "within", "since"),
    [(10.0, 4.0, 6.0), (10.0, 10.0, 0.0), (10.0, 99.0, 0.0), (0.5, 0.2, 0.3), (0.5, 0.5, 0.0), (0.5, 9.0, 0.0)],
)
def test_the_chance_of_an_end_is_that_of_the_waits_that_had_lasted_to_the_look_before(
    age: float, within: float, since: float
) -> None:
    learner = schedule()
    chance = learner.chance_of_end(at(age), within=within)
    [found] = [learner.plan_for(key) for key in learner.evidence()]
    survival = survival_from(found.rates)
    assert chance == pytest.approx(1 - survival_at(age, survival) / survival_at(since, survival))
    assert chance > 0.01


def test_before_the_acceptance_nothing_can_have_ended() -> None:
    """Clocks and pauses may make an age negative."""
    assert schedule().chance_of_end(at(-1.0), within=5.0) == 0


def test_where_no_wait_should_be_left_an_end_is_certain() -> None:
    """An untaught schedule that looks each millisecond assumes so short waits that after a minute none is left."""
    assert schedule(initial=0.001, multiplier=1.0, maximum=0.001).chance_of_end(at(100.0), within=20.0) == 1


@pytest.mark.parametrize("slow", ["hls", "thumbnail"])
def test_a_plan_for_several_steps_is_made_anew_when_one_of_them_turns_out_slower(slow: str) -> None:
    learner = schedule()
    learner(BOTH)
    classes = tuple(name for key in learner.evidence() for name in key)
    before = learner.plan_for(classes)
    assert learner.plan_for(classes) is before
    for _ in range(50):
        look = WaitState(3, "renditions", 500.0, (slow,), "video/mp4", "direct")
        learner.observe(look, since=0.0)
    after = learner.plan_for(classes)
    assert after is not before
    assert survival_from(after.rates)[70] > survival_from(before.rates)[70] + 0.1
    assert after.plan.tail_age == pytest.approx(500, rel=0.13)
    assert before.plan.tail_age == 0
