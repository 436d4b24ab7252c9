"""What a schedule forecasts: the rest of the step, what follows it, and the look that finds the end."""

from __future__ import annotations

from random import Random

import pytest

from asset_worker.domain.assets import Expectations, WaitFor
from asset_worker.schedule.adaptive import AdaptiveSchedule
from asset_worker.schedule.forecast import Forecast
from asset_worker.schedule.learned import LearnedState, UnreadableState, from_bytes, to_bytes
from asset_worker.schedule.ports import Renditions, WaitState

PROCESSING = WaitState(1, file_type="video/mp4", method="direct")
READY = WaitState(1, phase="renditions", waiting_on=("hls",), file_type="video/mp4", method="direct")
BOTH = ("hls", "thumbnail")


def learner(learned=None):
    return AdaptiveSchedule(learned, initial=2, multiplier=1.5, maximum=30, uniform=lambda: 0.5)


def teach(schedule, count, *, asset=100.0, hls=0.0, shown=BOTH, share=1.0, **like):
    """Let it see so many assets that take about so long, and a share of them so long again for their stream."""
    random = Random(1)
    for number in range(count):
        has_left = hls > 0 and number < count * share
        _see(schedule, ("asset",), asset * random.uniform(0.9, 1.1), Renditions(shown, ("hls",) * has_left), **like)
        if has_left:
            _see(schedule, ("hls",), hls * random.uniform(0.9, 1.1), None, **like)


def _see(schedule, steps, duration, renditions, *, file_type="video/mp4", method="direct"):
    phase = "asset" if steps == ("asset",) else "renditions"
    before = WaitState(2, phase, duration - 0.5, steps, file_type, method)
    schedule.observe(before, since=0.0)
    after = WaitState(3, phase, duration + 0.5, (), file_type, method)
    schedule.observe(after, since=duration - 0.5, ended=steps, renditions=renditions)


def forecast(schedule, look=PROCESSING, *, age=0.0, shown=BOTH, head_start=0.0, **wait_for):
    look = WaitState(1, look.phase, age, look.waiting_on, look.file_type, look.method, head_start)
    expected = Expectations(wait_for={name: WaitFor(when) for name, when in wait_for.items()})
    return schedule.forecast(look, shown=shown, expectations=expected)


def around(seconds):
    return pytest.approx(seconds, rel=0.2)


def test_it_is_the_rest_of_the_step():
    schedule = learner()
    teach(schedule, 100)
    assert forecast(schedule).p50 == around(100)
    assert forecast(schedule, age=60.0).p50 == around(40)
    assert 100 < forecast(schedule).p90 < 125


@pytest.mark.parametrize("count", [0, 19])
def test_nothing_is_said_of_a_class_before_twenty_of_it_have_ended(count):
    schedule = learner()
    teach(schedule, 500, file_type="video/webm")
    teach(schedule, 500, method="url")
    teach(schedule, count)
    assert forecast(schedule) is None
    teach(schedule, 20 - count)
    assert forecast(schedule) is not None
    assert forecast(learner(from_bytes(to_bytes(schedule.learned())))) is not None, "a restart forgets nothing"


def test_streams_that_go_on_when_the_asset_is_ready_come_on_top():
    schedule = learner()
    teach(schedule, 100, hls=300.0)
    assert forecast(schedule).p50 == around(400)
    assert forecast(schedule, READY).p50 == around(300)
    assert forecast(schedule, READY, age=200.0).p50 == around(100)


def test_streams_that_only_some_assets_wait_for_count_as_often_as_that():
    schedule = learner()
    teach(schedule, 200, hls=300.0, share=0.3)
    assert forecast(schedule).p50 == around(100)
    assert forecast(schedule).p90 == around(400)


def test_streams_that_are_done_with_the_asset_take_no_time():
    schedule = learner()
    teach(schedule, 100)
    assert forecast(schedule).p50 == around(100)


def test_what_other_renditions_showed_says_nothing():
    """Assets that show no stream while they are processing have none. Nothing is known of those that do."""
    schedule = learner()
    teach(schedule, 100, shown=("thumbnail",))
    assert forecast(schedule, shown=("thumbnail",)) is not None
    assert forecast(schedule) is None


def test_nothing_is_said_while_too_few_streams_have_ended():
    """Each asset of this class waits for its stream, and nobody knows yet for how long."""
    schedule = learner()
    teach(schedule, 19, hls=300.0)
    for _ in range(50):
        _see(schedule, ("asset",), 100.0, Renditions(BOTH, ("hls",)))
    assert forecast(schedule) is None
    teach(schedule, 6, hls=300.0)
    assert forecast(schedule).p50 == around(400)


def test_ignored_renditions_do_not_count_and_required_ones_do_though_not_shown():
    schedule = learner()
    teach(schedule, 100, hls=300.0)
    assert forecast(schedule, hls="ignore").p50 == around(100)
    teach(schedule, 100, shown=())
    assert forecast(schedule, shown=()).p50 == around(100)
    assert forecast(schedule, shown=(), hls="required").p50 == around(400)
    assert forecast(schedule, shown=(), thumbnail="required") is None, "none was ever waited for"


def test_a_stream_counts_no_longer_than_it_is_waited_for():
    schedule = learner()
    teach(schedule, 100, hls=300.0)
    look = WaitState(1, file_type="video/mp4", method="direct")
    found = schedule.forecast(look, shown=BOTH, expectations=Expectations(rendition_deadline=50.0))
    assert found.p50 == around(150)


def test_the_age_of_an_asset_that_was_not_new_counts_from_its_creation():
    schedule = learner()
    teach(schedule, 100)
    assert forecast(schedule, age=10.0, head_start=20.0).p50 == around(70)
    assert forecast(schedule, age=30.0, head_start=-20.0).p50 == around(90)
    assert forecast(schedule, age=1.0, head_start=1000.0) is None, "none of the class has lasted so long"


def test_a_wait_ends_with_a_look():
    """It was created long ago, so the end is likely at once. But nobody looks before the next look is due."""
    schedule = learner()
    teach(schedule, 100)
    [plan] = [schedule.plan_for(key).plan for key in schedule.evidence()]
    found = forecast(schedule, age=10.0, head_start=80.0)
    assert found.p50 == around(plan.delay(10.0))
    assert found.p90 > plan.delay(10.0)


def test_new_evidence_changes_the_forecast():
    schedule = learner()
    teach(schedule, 100)
    assert forecast(schedule).p50 == around(100)
    teach(schedule, 1000, asset=500.0)
    assert forecast(schedule).p50 == around(500)


@pytest.mark.parametrize("steps", [("visibility",), ("answer",)])
def test_what_is_not_learned_is_not_forecast(steps):
    schedule = learner()
    teach(schedule, 100)
    look = WaitState(1, waiting_on=steps, file_type="video/mp4", method="direct")
    assert schedule.forecast(look, shown=BOTH, expectations=Expectations()) is None


def test_what_was_left_is_kept_and_damage_is_reported():
    schedule = learner()
    teach(schedule, 100, hls=300.0, share=0.3)
    kept = from_bytes(to_bytes(schedule.learned()))
    assert isinstance(kept, LearnedState)
    assert isinstance(forecast(learner(kept)), Forecast)
    bad = LearnedState(after_asset=[type(kept.after_asset[0])(kept.after_asset[0].name, (), [((), -1.0)])])
    assert isinstance(from_bytes(to_bytes(bad)), UnreadableState)
