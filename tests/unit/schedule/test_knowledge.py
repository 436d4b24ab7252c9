"""What is learned from a look, of which class, and from which tables an estimate is made."""

from __future__ import annotations

import pytest

from asset_worker.schedule.after_asset import AfterAsset, Shown
from asset_worker.schedule.classes import AssetClass
from asset_worker.schedule.knowledge import Knowledge
from asset_worker.schedule.life_table import (
    BINS,
    EDGES,
    WIDTHS,
    LifeTable,
    estimate,
    evidence_of,
    pool,
    quantile,
    seen_until,
    survival_from,
)
from asset_worker.schedule.ports import Renditions, WaitState

PRIOR = tuple(width / 60 for width in WIDTHS)
VIDEO = AssetClass("asset", "video/mp4", "direct")
WEBM = AssetClass("asset", "video/webm", "direct")
IMAGE = AssetClass("asset", "image/png", "direct")
HLS = AssetClass("hls", "video/mp4", "direct")
THUMBNAIL = AssetClass("thumbnail", "video/mp4", "direct")


def knowledge(tables: dict[AssetClass, LifeTable] | None = None) -> Knowledge:
    return Knowledge(PRIOR, {} if tables is None else tables, AfterAsset({}))


def look(name: AssetClass = VIDEO, *, age: float, head_start: float = 0.0, is_over: bool = False) -> WaitState:
    steps = () if is_over else (name.step,)
    return WaitState(2, "asset", age, steps, name.file_type, name.method, head_start)


def see(known: Knowledge, name: AssetClass, *, ends: int = 0, waits: int = 0) -> None:
    """Let it see so many ends in the second bin, and so many waits through the first one."""
    for _ in range(waits):
        known.observe(look(name, age=EDGES[1]), since=0.0, ended=(), renditions=None)
    for _ in range(ends):
        known.observe(look(name, age=EDGES[2], is_over=True), since=EDGES[1], ended=(name.step,), renditions=None)


def filled(bin_: int, ends: float, waits: float) -> LifeTable:
    return LifeTable(
        [ends if each == bin_ else 0.0 for each in range(BINS)],
        [waits if each <= bin_ else 0.0 for each in range(BINS)],
    )


def test_a_look_teaches_of_the_steps_that_go_on_and_of_those_that_have_ended() -> None:
    known = knowledge()
    both = WaitState(2, "renditions", EDGES[2], ("hls",), "video/mp4", "direct")
    known.observe(both, since=EDGES[1], ended=("thumbnail",), renditions=None)
    assert set(known.tables) == {HLS, THUMBNAIL}
    assert known.tables[HLS].exposure[:3] == pytest.approx([0, 1, 0])
    assert known.tables[HLS].evidence == 0
    assert known.tables[THUMBNAIL].evidence == pytest.approx(evidence_of(1))
    assert known.updates == pytest.approx(1.05)


def test_updates_count_each_end_and_a_twentieth_of_each_wait_that_goes_on() -> None:
    known = knowledge()
    assert known.updates == 0
    for waits, ends, updates in ((1, 0, 0.05), (1, 0, 0.1), (0, 1, 1.1), (1, 1, 2.15)):
        see(known, VIDEO, waits=waits, ends=ends)
        assert known.updates == pytest.approx(updates)
    see(known, HLS, ends=2)
    assert known.updates == pytest.approx(4.15)


@pytest.mark.parametrize(("age", "since"), [(5.0, 5.0), (5.0, 5.1), (0.0, 0.0), (-1.0, 0.0)])
def test_a_look_that_is_no_later_than_the_one_before_teaches_nothing(age: float, since: float) -> None:
    known = knowledge()
    known.observe(look(age=age), since=since, ended=("thumbnail",), renditions=None)
    assert (known.tables, known.updates) == ({}, 0)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("name", [VIDEO, HLS])
def test_an_asset_teaches_if_it_was_new_within_five_seconds_or_the_usual_duration_of_its_class(
    name: AssetClass, sign: int
) -> None:
    """That within which nine in ten of the assets end, also where the wait is for a rendition."""
    for about, teaches in ((-1.0, True), (0.0, True), (0.01, False)):
        known = knowledge({VIDEO: filled(60, 400.0, 400.0)})
        usual = known.estimate_of(VIDEO).p90
        assert usual > 100
        known.observe(look(name, age=9.0, head_start=sign * (usual + about)), since=0.0, ended=(), renditions=None)
        assert (known.updates > 0) is teaches
    for apart, teaches in ((5.0, True), (5.01, False)):
        known = knowledge({VIDEO: filled(3, 400.0, 100.0)})
        assert known.estimate_of(VIDEO).p90 < 5
        known.observe(look(name, age=9.0, head_start=sign * apart), since=0.0, ended=(), renditions=None)
        assert (known.updates > 0) is teaches


def test_what_was_left_is_counted_when_an_asset_has_ended() -> None:
    known = knowledge()
    seen = Renditions(("hls",), ())
    known.observe(look(age=3.0, is_over=True), since=1.0, ended=("asset",), renditions=seen)
    known.observe(look(age=3.0), since=1.0, ended=(), renditions=seen)
    assert known.after_asset.evidence(Shown(VIDEO, ("hls",))) == pytest.approx(evidence_of(1))


def test_classes_are_known_under_their_own_name_or_under_the_shared_one() -> None:
    known = knowledge({VIDEO: LifeTable(), HLS.shared: LifeTable()})
    assert known.known((VIDEO,)) == (VIDEO,)
    assert known.known((VIDEO, HLS)) == (VIDEO, HLS.shared)
    assert known.known((VIDEO, THUMBNAIL)) == ()
    assert known.known((THUMBNAIL, VIDEO)) == ()
    assert set(known.tables) == {VIDEO, HLS.shared}, "asking teaches nothing"


@pytest.mark.parametrize(
    ("tables", "hls", "thumbnail"),
    [
        pytest.param(79, HLS, THUMBNAIL.shared, id="one-more-fits"),
        pytest.param(80, HLS.shared, THUMBNAIL.shared, id="full"),
        pytest.param(20, HLS, THUMBNAIL, id="few"),
    ],
)
def test_beyond_eighty_classes_new_ones_share_a_table(tables: int, hls: AssetClass, thumbnail: AssetClass) -> None:
    names = [AssetClass("asset", f"video/x-{number}", "url") for number in range(tables)]
    known = knowledge({name: LifeTable() for name in names})
    both = WaitState(1, "renditions", 0.0, ("hls", "thumbnail"), "video/mp4", "direct")
    assert known.classes_of(both) == (hls, thumbnail)
    assert set(known.tables) == {*names, hls, thumbnail}
    assert known.classes_of(look(names[0], age=0.0)) == (names[0],)


def test_a_class_that_has_a_table_keeps_it_beside_one_that_has_none() -> None:
    """Whichever comes first, and although there is no room for more."""
    for steps in (("hls", "thumbnail"), ("thumbnail", "hls")):
        known = knowledge({AssetClass("asset", f"video/x-{number}", "url"): LifeTable() for number in range(80)})
        known.tables[HLS] = LifeTable()
        found = known.classes_of(WaitState(1, "renditions", 0.0, steps, "video/mp4", "direct"))
        assert set(found) == {HLS, THUMBNAIL.shared}
        assert set(found) <= set(known.tables)


@pytest.mark.parametrize(
    ("others", "levels"),
    [
        pytest.param([], [], id="alone"),
        pytest.param([HLS], [], id="other-steps-say-nothing"),
        pytest.param([WEBM, HLS], [[VIDEO, WEBM]], id="its-kind"),
        pytest.param([IMAGE, HLS], [[VIDEO, IMAGE]], id="its-step"),
        pytest.param([WEBM, IMAGE, HLS], [[VIDEO, WEBM, IMAGE], [VIDEO, WEBM]], id="its-step-and-its-kind"),
    ],
)
def test_an_estimate_goes_from_all_of_the_step_to_its_kind_to_the_class(
    others: list[AssetClass], levels: list[list[AssetClass]]
) -> None:
    tables = {
        VIDEO: filled(40, 9.0, 11.0),
        WEBM: filled(50, 20.0, 30.0),
        IMAGE: filled(10, 40.0, 45.0),
        HLS: filled(70, 400.0, 500.0),
    }
    found = knowledge({name: tables[name] for name in (VIDEO, *others)}).estimate_of(VIDEO)
    chain = [*(pool([tables[name] for name in level]) for level in levels), tables[VIDEO]]
    assert found.rates == pytest.approx(estimate(chain, PRIOR))
    survival = survival_from(found.rates)
    assert found.survival == survival
    assert found.seen_until == seen_until(chain)
    assert (found.p90, found.p99) == (quantile(0.9, survival), quantile(0.99, survival))


@pytest.mark.parametrize(
    ("own", "other", "taught", "ends"),
    [
        # A fifth of ten ends, at least, of the class or of its step.
        pytest.param(0.0, 0.0, VIDEO, 2, id="few"),
        pytest.param(0.0, 0.0, WEBM, 2, id="few-of-the-step"),
        # A fifth of the ends of the class, or of the step.
        pytest.param(100.0, 900.0, VIDEO, 20, id="many"),
        pytest.param(100.0, 300.0, WEBM, 80, id="many-of-the-step"),
    ],
)
def test_an_estimate_is_made_anew_when_a_fifth_was_added_to_what_it_rests_on(
    own: float, other: float, taught: AssetClass, ends: int
) -> None:
    known = knowledge({VIDEO: filled(5, own, own), WEBM: filled(5, other, other)})
    before = known.estimate_of(VIDEO)
    see(known, taught, ends=ends - 1)
    assert known.estimate_of(VIDEO) is before
    see(known, taught, ends=1)
    after = known.estimate_of(VIDEO)
    assert after is not before
    see(known, taught, ends=1)
    assert known.estimate_of(VIDEO) is after


@pytest.mark.parametrize(("share", "is_known"), [(1.0, True), (0.999, False)])
def test_a_class_is_known_well_enough_from_a_hundred_ends_on_less_what_rounding_took(
    share: float, *, is_known: bool
) -> None:
    """When it is stored, it may lose a two-hundredth."""
    enough = 0.995 * evidence_of(100)
    known = knowledge({VIDEO: filled(5, enough * share, 200.0)})
    slow = known.slow_after(look(age=1.0))
    assert slow == (known.estimate_of(VIDEO).p99 if is_known else None)


def test_an_estimate_rests_on_the_waits_of_the_class_and_on_two_that_others_stand_for() -> None:
    known = knowledge({VIDEO: filled(1, 0.0, 3.0)})
    survival = known.estimate_of(VIDEO).survival
    waits = known.waits_of(VIDEO)
    assert waits[:2] == pytest.approx([5.0, 3 + 2 * survival[1]])
    assert waits[2:] == pytest.approx([2 * left for left in survival[2:-1]])
