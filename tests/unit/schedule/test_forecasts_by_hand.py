"""Forecasts put together from their parts: the step, what follows it, and the look that finds the end.

The delay between looks is 1 s at age 0 and grows by 0.1 s each second, so the next look after age 0 is at 1 s. A
request takes 0.3 s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from asset_worker.domain.assets import Expectations, WaitFor
from asset_worker.schedule.after_asset import AfterAsset, Shown
from asset_worker.schedule.classes import AssetClass
from asset_worker.schedule.forecast import NOTHING_FOLLOWS, Forecast, Outlook, Point, Step
from asset_worker.schedule.forecasts import Forecasts
from asset_worker.schedule.knowledge import Knowledge
from asset_worker.schedule.life_table import BINS, EDGES, WIDTHS, LifeTable, evidence_of, quantile
from asset_worker.schedule.plan import Plan
from asset_worker.schedule.ports import WaitState
from asset_worker.schedule.ramps import Ramp

PRIOR = tuple(width / 60 for width in WIDTHS)
VIDEO = AssetClass("asset", "video/mp4", "direct")
HLS = AssetClass("hls", "video/mp4", "direct")
THUMBNAIL = AssetClass("thumbnail", "video/mp4", "direct")
BOTH = ("hls", "thumbnail")
ENOUGH = 0.995 * evidence_of(20)
"""Ends of a class; and of assets that showed the same. Rounding may take a two-hundredth of what is stored."""

Left = Mapping[tuple[str, ...], float]


def delay(age: float) -> float:
    return 1 + age / 10


def planned(_: tuple[AssetClass, ...]) -> Plan:
    return Plan([0.0], [1.0], Ramp(1.0, 0.1, longest=1e6), 1e6, 0.0, looks=0.0, lag=0.0, price=1.0)


def filled(*bins: int, ends: float = 400.0) -> LifeTable:
    """Ends that are spread evenly over these bins, each in the first half of its bin or so."""
    counts = [ends / len(bins) if each in bins else 0.0 for each in range(BINS)]
    return LifeTable(counts, [sum(counts[each + 1 :]) + counts[each] / 4 for each in range(BINS)])


class Case:
    """What is known of the classes, and of which renditions were left of assets that had shown both."""

    def __init__(
        self,
        tables: Mapping[AssetClass, LifeTable],
        left: Left | None = None,
        *,
        shown: tuple[str, ...] = BOTH,
    ) -> None:
        after = AfterAsset({Shown(VIDEO, shown): {(): 400.0} if left is None else left})
        self.knowledge = Knowledge(PRIOR, dict(tables), after)
        self.forecasts = Forecasts(self.knowledge, planned)

    def of(
        self,
        steps: tuple[str, ...] = ("asset",),
        *,
        age: float = 0.0,
        head_start: float = 0.0,
        shown: tuple[str, ...] = BOTH,
        expectations: Expectations | None = None,
    ) -> Forecast | None:
        phase = "asset" if "asset" in steps else "renditions"
        look = WaitState(1, phase, age, steps, VIDEO.file_type, VIDEO.method, head_start)
        return self.forecasts.of(look, shown=shown, expectations=expectations or Expectations())

    def over(self, age: float, following: Sequence[Point] = NOTHING_FOLLOWS, step: AssetClass = VIDEO) -> list[float]:
        """The ages by which half, and nine tenths, of the waits are over."""
        table = self.knowledge.tables[step]
        parts = Step(self.knowledge.estimate_of(step).survival, table.ends, table.exposure)
        found = Outlook(parts, following, least_ends=1.0).after(age)
        assert found is not None
        return list(found)

    def ends(self, step: AssetClass) -> list[float]:
        """The ages at which looks find twenty equally likely ends."""
        survival = self.knowledge.estimate_of(step).survival
        return [found(quantile((2 * number + 1) / 40, survival)) for number in range(20)]


def found(end: float, age: float = 0.0) -> float:
    """The age at which a look finds an end: half a delay later on average, but not before the next look."""
    return (end + delay(end) / 2 if end > age + delay(age) else age + delay(age)) + 0.3


def near(seconds: list[float]) -> object:
    return pytest.approx(seconds, abs=1e-4)


def figures(forecast: Forecast | None) -> list[float] | None:
    return None if forecast is None else [forecast.p50, forecast.p90]


@pytest.mark.parametrize("head_start", [0.0, 7.0, -3.0, -99.0])
def test_a_wait_for_a_step_ends_with_the_look_that_finds_its_end(head_start: float) -> None:
    """An asset that is older than its wait is so much nearer to its end; none is younger than its wait is old."""
    case = Case({VIDEO: filled(60)})
    age = 40.0
    older = max(head_start, -40.0)
    expected = [
        end - older + delay(end - older) / 2 + 0.3 - age if end - older > age + delay(age) else delay(age) + 0.3
        for end in case.over(age + older)
    ]
    assert figures(case.of(age=age, head_start=head_start)) == near(expected)


def test_an_end_before_the_next_look_is_found_by_that_look() -> None:
    case = Case({VIDEO: filled(4)})
    assert figures(case.of()) == near([1.3, 1.3])
    assert figures(case.of(age=0.2)) == near([1.32, 1.32])


def test_a_wait_for_a_rendition_counts_from_when_the_asset_was_ready() -> None:
    case = Case({HLS: filled(50)})
    age = 20.0
    expected = [found(end, age) - age for end in case.over(age, step=HLS)]
    assert figures(case.of(("hls",), age=age, head_start=7.0)) == near(expected)


def points(case: Case, share: float, *steps: AssetClass) -> list[Point]:
    return [Point(seconds, share / 20) for step in steps for seconds in case.ends(step)]


@pytest.mark.parametrize("bins", [(5,), (20, 40), (30, 35, 40)])
def test_a_rendition_that_is_left_comes_on_top_until_a_look_finds_it(bins: tuple[int, ...]) -> None:
    """Looks at it begin when the asset is ready. Those at the asset follow the age of the step alone."""
    case = Case({VIDEO: filled(60), HLS: filled(*bins)}, {(): 100.0, ("hls",): 300.0})
    following = [Point(0.0, 0.25), *points(case, 0.75, HLS)]
    mean = 0.75 * sum(case.ends(HLS)) / 20
    expected = [end + delay(end - mean) / 2 + 0.3 for end in case.over(0.0, following)]
    assert figures(case.of()) == near(expected)


def test_a_step_that_ends_before_the_next_look_is_over_when_what_follows_is() -> None:
    """On average: the next look is at 1 s, and its request takes 0.3 s."""
    case = Case({VIDEO: filled(2), HLS: filled(5)}, {("hls",): 400.0})
    following = sum(case.ends(HLS)) / 20
    assert following == pytest.approx(1.3)
    assert figures(case.of()) == near([1 + following + 0.3] * 2)


@pytest.mark.parametrize(
    ("left", "shares"),
    [
        pytest.param({(): 95.0, ("hls",): 5.0}, (0.95, 0.05), id="one-in-twenty-counts"),
        pytest.param({(): 93.0, ("hls",): 7.0}, (0.93, 0.07), id="more-count"),
        pytest.param({(): 96.0, ("hls",): 4.0}, (1.0, 0.0), id="fewer-do-not"),
        pytest.param({(): 48.0, ("hls",): 48.0, ("thumbnail",): 4.0}, (0.5, 0.5), id="the-others-count-for-them"),
        pytest.param({(): 400.0}, (1.0, 0.0), id="none"),
    ],
)
def test_what_follows_fewer_than_one_asset_in_twenty_is_left_out(left: Left, shares: tuple[float, float]) -> None:
    """Nothing is known of thumbnails here."""
    case = Case({VIDEO: filled(60), HLS: filled(50)}, left)
    nothing, hls = shares
    following = [Point(0.0, nothing), *(points(case, hls, HLS) if hls else [])]
    mean = hls * sum(case.ends(HLS)) / 20
    expected = [end + delay(end - mean) / 2 + 0.3 for end in case.over(0.0, following)]
    assert figures(case.of()) == near(expected)


@pytest.mark.parametrize(
    ("wait_for", "left", "is_awaited"),
    [
        pytest.param({}, {(): 400.0}, False, id="done-with-the-asset"),
        pytest.param({"hls": WaitFor.REQUIRED}, {(): 400.0}, False, id="required-and-done-with-it"),
        pytest.param({"hls": WaitFor.IF_REQUESTED}, {("hls",): 400.0}, True, id="left"),
        pytest.param({"hls": WaitFor.IGNORE}, {("hls",): 400.0}, False, id="ignored"),
    ],
)
def test_a_rendition_that_was_shown_is_awaited_if_it_is_left_and_not_ignored(
    wait_for: dict[str, WaitFor], left: Left, *, is_awaited: bool
) -> None:
    case = Case({VIDEO: filled(60), HLS: filled(50)}, left)
    following = points(case, 1.0, HLS) if is_awaited else NOTHING_FOLLOWS
    mean = sum(case.ends(HLS)) / 20 if is_awaited else 0.0
    expected = [end + delay(end - mean) / 2 + 0.3 for end in case.over(0.0, following)]
    assert figures(case.of(expectations=Expectations(wait_for=wait_for))) == near(expected)


@pytest.mark.parametrize(("when", "is_awaited"), [(WaitFor.REQUIRED, True), (WaitFor.IF_REQUESTED, False)])
def test_a_rendition_that_was_not_shown_is_awaited_if_it_is_required(when: WaitFor, *, is_awaited: bool) -> None:
    case = Case({VIDEO: filled(60), HLS: filled(50)}, shown=())
    following = points(case, 1.0, HLS) if is_awaited else NOTHING_FOLLOWS
    mean = sum(case.ends(HLS)) / 20 if is_awaited else 0.0
    expected = [end + delay(end - mean) / 2 + 0.3 for end in case.over(0.0, following)]
    assert figures(case.of(shown=(), expectations=Expectations(wait_for={"hls": when}))) == near(expected)


def test_nothing_follows_a_wait_for_the_asset_and_more() -> None:
    """What such waits leave is not known, and not asked for."""
    case = Case({VIDEO: filled(60), HLS: filled(50)}, {})
    assert case.of() is None
    assert case.of(("asset", "hls")) is not None


@pytest.mark.parametrize(("share", "is_known"), [(1.0, True), (0.999, False)])
def test_it_takes_twenty_ends_of_each_class_and_twenty_assets_that_showed_the_same(
    share: float, *, is_known: bool
) -> None:
    """Less what rounding took."""
    for asset, hls, left in ((share, 9.0, 9.0), (9.0, share, 9.0), (9.0, 9.0, share)):
        tables = {VIDEO: filled(60, ends=ENOUGH * asset), HLS: filled(50, ends=ENOUGH * hls)}
        case = Case(tables, {("hls",): ENOUGH * left})
        assert (case.of() is not None) is is_known


@pytest.mark.parametrize("few", [HLS, THUMBNAIL])
def test_it_takes_as_many_of_each_of_several_renditions(few: AssetClass) -> None:
    tables = {HLS: filled(50), THUMBNAIL: filled(40)}
    assert Case(tables).of(BOTH) is not None
    tables[few] = filled(50, ends=ENOUGH * 0.9)
    assert Case(tables).of(BOTH) is None


@pytest.mark.parametrize(("share", "is_known"), [(1.001, True), (0.999, False)])
def test_of_these_ends_ten_must_have_come_later_than_the_wait_is_old(share: float, *, is_known: bool) -> None:
    late = 0.995 * evidence_of(10) * share
    table = LifeTable(
        [400.0 if each == 10 else late if each == 40 else 0.0 for each in range(BINS)],
        [400.0 if each <= 10 else late if each < 40 else late / 4 if each == 40 else 0.0 for each in range(BINS)],
    )
    assert (Case({VIDEO: table}).of(age=EDGES[30]) is not None) is is_known


def test_the_twentieth_end_makes_a_forecast_at_once() -> None:
    """Although nothing was known when it was asked for before."""
    case = Case({VIDEO: filled(60, ends=ENOUGH - 0.5)})
    assert case.of() is None
    ended = WaitState(2, age=250.0, waiting_on=(), file_type=VIDEO.file_type, method=VIDEO.method)
    case.knowledge.observe(ended, since=240.0, ended=("asset",), renditions=None)
    assert case.knowledge.updates == 1
    assert case.of() is not None


@pytest.mark.parametrize("slower", [HLS, VIDEO])
def test_a_forecast_follows_what_is_learned_of_the_step_and_of_what_follows_it(slower: AssetClass) -> None:
    case = Case({VIDEO: filled(60), HLS: filled(50)}, {("hls",): 400.0})
    before = case.of()
    assert before is not None
    again = case.of()
    assert again == before
    for _ in range(200):
        on = WaitState(2, "asset", 2900.0, (slower.step,), VIDEO.file_type, VIDEO.method)
        case.knowledge.observe(on, since=0.0, ended=(), renditions=None)
        over = WaitState(3, "asset", 3000.0, (), VIDEO.file_type, VIDEO.method)
        case.knowledge.observe(over, since=2900.0, ended=(slower.step,), renditions=None)
    after = case.of()
    assert after is not None
    assert after.p90 > before.p90 + 1000
