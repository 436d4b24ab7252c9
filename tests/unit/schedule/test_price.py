"""The price of a look: what it starts at, how it is calibrated, and what a backlog and shared requests make of it."""

from __future__ import annotations

from itertools import pairwise

import pytest

from asset_worker.schedule.adaptive import AdaptiveSchedule, WaitPlan
from asset_worker.schedule.classes import AssetClass
from asset_worker.schedule.learned import LearnedState
from asset_worker.schedule.life_table import EDGES, WIDTHS, survival_at, survival_from
from asset_worker.schedule.plan import keller_interval
from asset_worker.schedule.ports import WaitState
from asset_worker.schedule.ramps import Ramp

VIDEO = AssetClass("asset", "video/mp4", "direct")
IMAGE = AssetClass("asset", "image/png", "direct")
AUDIO = AssetClass("asset", "audio/mpeg", "url")
FLOOR = 0.5 / 0.95
"""In seconds: with the most jitter, half a second is left."""


def schedule(
    *starts: tuple[AssetClass, float],
    initial: float = 2.0,
    multiplier: float = 1.5,
    maximum: float = 30.0,
    price: float | None = None,
    looks: float | None = None,
    requests_per_look: float = 1.0,
) -> AdaptiveSchedule:
    """A schedule without jitter, with so many starts of some classes; nothing was seen of them."""
    return AdaptiveSchedule(
        LearnedState(price=price, starts=[([name], count) for name, count in starts]),
        initial=initial,
        multiplier=multiplier,
        maximum=maximum,
        looks=looks,
        requests_per_look=requests_per_look,
        uniform=lambda: 0.5,
    )


def see(learner: AdaptiveSchedule, name: AssetClass, *, about: float, count: int = 20) -> None:
    """Let it see so many assets of the class that take about so long, each to within a tenth."""
    for number in range(count):
        since = about * (0.8 + 0.4 * number / count)
        before = WaitState(2, age=since, file_type=name.file_type, method=name.method)
        after = WaitState(3, age=since + about / 10, waiting_on=(), file_type=name.file_type, method=name.method)
        learner.observe(before, since=0.0)
        learner.observe(after, since=since, ended=("asset",))


def first_plan(learner: AdaptiveSchedule, name: AssetClass) -> WaitPlan:
    look = WaitState(2, age=1.0, file_type=name.file_type, method=name.method)
    learner.chance_of_end(look, within=0.0)  # so that it has a table
    return learner.plan_for((name,))


@pytest.mark.parametrize(
    ("initial", "multiplier", "maximum", "price"),
    [(2.0, 1.5, 30.0, 1.0), (4.0, 3.0, 60.0, 8.0), (10.0, 1.0, 10.0, 0.5), (1.0, 1.02, 9.0, 0.05)],
)
def test_an_untaught_schedule_assumes_what_makes_exponential_delays_the_best(
    initial: float, multiplier: float, maximum: float, price: float
) -> None:
    """By Keller's rule, at a price of `initial` times the growth, which counts as 0.05 at least."""
    learner = schedule(initial=initial, multiplier=multiplier, maximum=maximum)
    assert learner.price == price
    ramp = Ramp(initial, multiplier - 1, longest=maximum)
    rates = first_plan(learner, VIDEO).rates
    intervals = [keller_interval(rate / width, price) for rate, width in zip(rates, WIDTHS, strict=True)]
    assert intervals == pytest.approx([ramp.delay((start + end) / 2) for start, end in pairwise(EDGES)])


@pytest.mark.parametrize(("multiplier", "growth"), [(1.5, 0.5), (1.05, 0.05), (1.02, 0.05), (1.0, 0.05), (3.0, 2.0)])
def test_delays_beyond_what_was_learned_grow_as_the_exponential_ones_and_by_a_twentieth_at_least(
    multiplier: float, growth: float
) -> None:
    assert first_plan(schedule(multiplier=multiplier), VIDEO).plan.tail_growth == pytest.approx(growth)


def test_the_price_that_was_learned_is_kept() -> None:
    assert schedule(price=0.25).price == 0.25


def test_a_look_is_a_request_of_its_own_unless_something_else_is_known() -> None:
    """That is what `__init__` takes for granted."""
    plain = AdaptiveSchedule(initial=2, multiplier=1.5, maximum=30, uniform=lambda: 0.5)
    assert plain.requests_per_look == 1
    assert schedule(requests_per_look=0.25).requests_per_look == 0.25


def test_a_request_for_many_looks_counts_as_one_of_the_last_hundred() -> None:
    """One look of a hundred is forgotten, and 51 are made: 150 looks in a hundred requests."""
    learner = schedule()
    learner.requested(51)
    assert learner.requests_per_look == pytest.approx(100 / 150)
    learner.requested(0)
    assert learner.requests_per_look == pytest.approx(100 / 148.5)


@pytest.mark.parametrize(
    ("looks", "requests_per_look", "backlog", "factor"),
    [
        pytest.param(None, 1.0, 1.0, 1.0, id="alone"),
        pytest.param(None, 0.25, 1.0, 0.25, id="four-in-a-request"),
        pytest.param(8.0, 0.25, 1.0, 1.0, id="a-budget-of-looks-and-not-of-requests"),
        pytest.param(None, 1.0, 3.0, 9.0, id="backlog"),
        pytest.param(None, 0.25, 4.0, 4.0, id="both"),
        pytest.param(None, 0.95, 1.0, 1.0, id="a-little-less-changes-nothing"),
        pytest.param(None, 1.0, 1.04, 1.0, id="a-little-backlog-changes-nothing"),
        pytest.param(None, 1.0, 1.08, 1.08**2, id="a-little-more-does"),
        pytest.param(None, 0.85, 1.0, 0.85, id="a-little-less-than-that-does"),
    ],
)
def test_a_look_costs_its_share_of_a_request_times_the_square_of_the_backlog(
    looks: float | None, requests_per_look: float, backlog: float, factor: float
) -> None:
    learner = schedule(looks=looks, requests_per_look=requests_per_look)
    learner.backlog_factor = backlog
    found = first_plan(learner, VIDEO)
    assert learner.price == 1, "as long as nothing was learned"
    assert found.plan.price == pytest.approx(factor)
    assert found.alone.price == 1


def test_the_cost_of_a_look_follows_in_steps_and_all_the_way_back() -> None:
    """Steps of a tenth save plans. But when nothing is late or shared any more, a look costs a request."""
    learner = schedule()
    prices = []
    for factor in (1.0, 1.08, 1.105, 1.02, 1.2, 1.3, 1.33, 1.0, 1.105, 1.0):
        learner.backlog_factor = factor**0.5
        prices.append(first_plan(learner, VIDEO).plan.price)
    assert prices == pytest.approx([1.0, 1.0, 1.105, 1.105, 1.105, 1.3, 1.3, 1.0, 1.105, 1.0])


@pytest.mark.parametrize(("price", "planned_for"), [(1.03, 1.0), (1.07, 1.07), (0.97, 1.0), (0.93, 0.93)])
def test_a_plan_is_kept_until_the_price_has_changed_by_a_twentieth(price: float, planned_for: float) -> None:
    learner = schedule()
    before = first_plan(learner, VIDEO)
    learner.price = price
    after = first_plan(learner, VIDEO)
    assert after.plan.price == planned_for
    assert after.alone is before.alone
    assert learner.present_plan((VIDEO,)) is after.plan


def test_the_usual_delays_change_with_the_root_of_the_cost_of_a_look() -> None:
    """By Keller's rule: at a quarter of the price, all delays are half as long."""
    found = first_plan(schedule(price=5.0, requests_per_look=0.25), VIDEO)
    assert found.plan.usual == Ramp(1.0, 0.25, longest=15.0, shortest=FLOOR)
    assert found.alone.usual == Ramp(2.0, 0.5, longest=30 / 1.05, shortest=FLOOR)


def test_plans_know_how_many_looks_exponential_delays_and_the_longest_ones_take() -> None:
    """Each look is one at all waits that last to it."""
    learner = schedule()
    see(learner, VIDEO, about=60.0)
    found = first_plan(learner, VIDEO)
    survival = survival_from(found.rates)
    exponential = [0.0, 2.0, 5.0, 9.5, 16.25, 26.375, 41.5625, 64.34375, *(94.34375 + 30 * n for n in range(800))]
    longest = [30 / 1.05 * number for number in range(800)]
    for looks, ages in ((found.exponential_looks, exponential), (found.fewest_looks, longest)):
        expected = sum(survival_at(age, survival) for age in ages if age < EDGES[-1])
        assert looks == pytest.approx(expected, rel=1e-3)


def taught(*, about: float = 60.0, **given: float | None) -> tuple[AdaptiveSchedule, WaitPlan]:
    """A schedule that has planned for a class that it has seen, and that plan."""
    learner = schedule((VIDEO, 100.0), **given)
    see(learner, VIDEO, about=about)
    return learner, learner.plan_for((VIDEO,))


@pytest.mark.parametrize("price", [0.5, 1.0])
def test_the_price_goes_half_of_the_way_to_where_the_looks_are_those_of_exponential(price: float) -> None:
    """Looks go with price ** -½: of twice the looks, the price would become four times as high; it becomes twice."""
    learner, found = taught(price=price)
    assert found.alone.price == price
    assert learner.price == pytest.approx(price * found.alone.looks / found.exponential_looks)
    assert learner.price != pytest.approx(price)


def test_the_price_goes_half_of_the_way_to_where_the_looks_are_those_that_were_asked_for() -> None:
    """The one at age 0 is one of the eight."""
    learner, found = taught(looks=8.0)
    assert learner.price == pytest.approx(found.alone.looks / 7)


def test_the_looks_that_the_longest_delay_makes_necessary_are_afforded_and_a_quarter_more() -> None:
    learner, found = taught(looks=2.0, about=200.0)
    assert found.fewest_looks > 5
    assert learner.price == pytest.approx(found.alone.looks / (1.25 * found.fewest_looks))


def test_a_little_more_than_the_looks_that_the_longest_delay_makes_necessary_are_always_afforded() -> None:
    """The exponential delays are all 10 s here; those with jitter are a little shorter, so that none is longer."""
    learner, found = taught(initial=10.0, multiplier=1.0, maximum=10.0)
    assert found.fewest_looks > found.exponential_looks
    assert learner.price == pytest.approx(0.5 * found.alone.looks / (1.01 * found.fewest_looks))


@pytest.mark.parametrize(
    ("about", "before", "looks", "after"),
    [
        pytest.param(60.0, 0.05, 3.0, 0.1, id="twice-at-most"),
        pytest.param(60.0, 12.0, 40.0, 6.0, id="half-at-least"),
        pytest.param(0.5, 0.0015, 40.0, 0.001, id="a-thousandth-of-the-first-price-at-least"),
        pytest.param(60.0, 28.0, 6.0, 15.0, id="half-of-the-longest-delay-at-most"),
    ],
)
def test_the_price_changes_by_half_or_twice_at_most_and_keeps_within_bounds(
    about: float, before: float, looks: float, after: float
) -> None:
    """No look can save more lag than half of the longest delay."""
    learner, _ = taught(price=before, looks=looks, about=about)
    assert learner.price == pytest.approx(after)


@pytest.mark.parametrize(
    ("seen", "unplanned", "is_calibrated"),
    [
        pytest.param(80.0, 20.0, True, id="four-in-five-are-planned"),
        pytest.param(79.0, 21.0, False, id="too-many-are-not"),
        pytest.param(10.0, 0.0, True, id="ten-starts"),
        pytest.param(9.5, 0.0, False, id="too-few-starts"),
    ],
)
def test_the_price_is_calibrated_from_enough_starts_and_most_of_the_mix(
    seen: float, unplanned: float, *, is_calibrated: bool
) -> None:
    learner = schedule((VIDEO, seen), (IMAGE, unplanned))
    see(learner, VIDEO, about=60.0)
    found = learner.plan_for((VIDEO,))
    ratio = found.alone.looks / found.exponential_looks
    assert abs(ratio - 1) > 0.05
    assert learner.price == pytest.approx(ratio if is_calibrated else 1.0)


def test_classes_of_which_nothing_was_seen_do_not_move_the_price() -> None:
    learner = schedule((VIDEO, 50.0), (IMAGE, 50.0))
    assert first_plan(learner, IMAGE).alone.tail_age == 0
    see(learner, VIDEO, about=60.0)
    found = learner.plan_for((VIDEO,))
    assert learner.price == pytest.approx(found.alone.looks / found.exponential_looks)
    assert learner.price != pytest.approx(1)


def test_each_class_counts_as_often_as_it_starts_and_its_plan_for_what_it_would_be_at_the_price_now() -> None:
    """The plan for videos is from before the price moved: at twice the price, it would have √½ times the looks."""
    learner = schedule((VIDEO, 90.0), (IMAGE, 22.0), price=0.05)
    see(learner, VIDEO, about=60.0)
    see(learner, IMAGE, about=4.0)
    videos = learner.plan_for((VIDEO,))
    between = learner.price
    assert between > 1.3 * videos.alone.price
    images = learner.plan_for((IMAGE,))
    wanted = 90 * videos.alone.looks * (0.05 / between) ** 0.5 + 22 * images.alone.looks
    affordable = 90 * videos.exponential_looks + 22 * images.exponential_looks
    assert learner.price == pytest.approx(between * wanted / affordable)


def test_when_a_class_has_started_a_thousand_times_older_starts_count_half_and_rare_ones_are_forgotten() -> None:
    learner = schedule((VIDEO, 999.0), (IMAGE, 1.0), (AUDIO, 1.5))
    start = WaitState(1, file_type="video/mp4", method="direct")
    learner(start)
    assert learner.learned().starts == [([VIDEO], 1000.0), ([IMAGE], 1.0), ([AUDIO], 1.5)]
    learner(start)
    assert learner.learned().starts == [([VIDEO], 500.5), ([AUDIO], 0.75)]
