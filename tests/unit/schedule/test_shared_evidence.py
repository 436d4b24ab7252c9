"""Evidence of several workers: planned with while they live, and added once when one is gone."""

from __future__ import annotations

import pytest

from asset_worker.schedule.after_asset import AfterAsset, Shown
from asset_worker.schedule.classes import AssetClass
from asset_worker.schedule.knowledge import MAX_CLASSES, Knowledge
from asset_worker.schedule.learned import LearnedState, from_bytes, sum_of, to_bytes
from asset_worker.schedule.life_table import BINS, HALF_LIFE, MOST_EVIDENCE, WIDTHS, LifeTable, evidence_of

PRIOR = tuple(width / 60 for width in WIDTHS)
VIDEO = AssetClass("asset", "video/mp4", "direct")
WEBM = AssetClass("asset", "video/webm", "direct")
LEFT = Shown(VIDEO, ("hls",))


def filled(bin_: int, ends: float, waits: float) -> LifeTable:
    return LifeTable(
        [ends if each == bin_ else 0.0 for each in range(BINS)],
        [waits if each <= bin_ else 0.0 for each in range(BINS)],
    )


def knowledge(own: float = 10.0) -> Knowledge:
    return Knowledge(PRIOR, {VIDEO: filled(40, own, own)}, AfterAsset({}))


def state(ends: float, *, price: float | None = None, name: AssetClass = VIDEO) -> LearnedState:
    made = LearnedState.of({name: filled(40, ends, ends)}, {(name,): 3.0}, 1.0, 0.5, after_asset={LEFT: {(): ends}})
    return LearnedState(2, price, made.classes, made.starts, made.requests_per_look, made.after_asset)


def test_the_most_evidence_is_what_decay_leaves_of_any_number_of_ends() -> None:
    assert evidence_of(100 * HALF_LIFE) == pytest.approx(MOST_EVIDENCE)


def test_an_added_table_counts_as_if_its_waits_were_this_ones() -> None:
    table = filled(40, 10.0, 20.0)
    table.add(filled(41, 5.0, 7.0))
    assert (table.ends[40], table.ends[41], table.exposure[40], table.updates) == (10.0, 5.0, 27.0, 5.0)


def test_of_added_tables_no_more_is_kept_than_decay_would_leave() -> None:
    table = filled(40, MOST_EVIDENCE, 2 * MOST_EVIDENCE)
    table.add(filled(41, MOST_EVIDENCE, MOST_EVIDENCE))
    assert table.evidence == pytest.approx(MOST_EVIDENCE)
    assert table.ends[40] == table.ends[41] == pytest.approx(MOST_EVIDENCE / 2)
    assert table.exposure[0] == pytest.approx(1.5 * MOST_EVIDENCE)


def test_an_estimate_rests_on_what_others_have_learned_and_nothing_of_it_is_kept_as_its_own() -> None:
    shared, alone = knowledge(), knowledge(30.0)
    before = shared.estimate_of(VIDEO)
    shared.use_others({VIDEO: filled(40, 20.0, 20.0)})
    assert shared.estimate_of(VIDEO).rates == pytest.approx(alone.estimate_of(VIDEO).rates)
    assert shared.tables[VIDEO].evidence == 10
    assert shared.table_of(VIDEO).evidence == 30
    shared.use_others({})
    assert shared.estimate_of(VIDEO).rates == pytest.approx(before.rates)


def test_an_estimate_stays_while_others_learn_little() -> None:
    shared = knowledge(100.0)
    shared.use_others({VIDEO: filled(40, 100.0, 100.0)})
    before = shared.estimate_of(VIDEO)
    shared.use_others({VIDEO: filled(40, 101.0, 101.0)})
    assert shared.estimate_of(VIDEO) is before


def test_a_class_that_only_others_have_seen_is_known() -> None:
    shared = knowledge()
    shared.use_others({WEBM: filled(40, 200.0, 200.0)})
    assert shared.known((WEBM,)) == (WEBM,)
    assert shared.table_of(WEBM).evidence == 200


def test_what_others_have_learned_beyond_eighty_classes_shares_a_table() -> None:
    names = [AssetClass("asset", f"video/x{number}", "direct") for number in range(MAX_CLASSES + 2)]
    shared = Knowledge(PRIOR, {}, AfterAsset({}))
    shared.use_others({name: filled(40, 1.0, 1.0) for name in names})
    assert shared.table_of(names[-1].shared).evidence == 2


def test_what_is_added_is_kept_as_its_own() -> None:
    kept = knowledge()
    kept.add({VIDEO: filled(40, 20.0, 20.0), WEBM: filled(40, 5.0, 5.0)})
    assert (kept.tables[VIDEO].evidence, kept.tables[WEBM].evidence, kept.updates) == (30, 5, 25)


def test_the_cases_of_others_count_in_the_shares_and_added_ones_are_kept() -> None:
    after = AfterAsset({LEFT: {("hls",): 3.0}})
    after.use_others({LEFT: {(): 1.0}})
    assert (after.evidence(LEFT), after.shares(LEFT)) == (4, {("hls",): 0.75, (): 0.25})
    assert after.counts == {LEFT: {("hls",): 3.0}}
    after.use_others({})
    after.add({LEFT: {(): MOST_EVIDENCE}})
    assert after.evidence(LEFT) == pytest.approx(MOST_EVIDENCE)
    assert after.counts[LEFT]["hls",] == pytest.approx(3 * MOST_EVIDENCE / (MOST_EVIDENCE + 3))


def test_a_sum_holds_all_counts_and_the_first_price() -> None:
    found = sum_of([state(10.0), state(20.0, price=3.0), state(5.0, price=9.0, name=WEBM)])
    assert {name: table.evidence for name, table in found.tables().items()} == {VIDEO: 30, WEBM: 5}
    assert {tuple(classes): count for classes, count in found.starts} == {(VIDEO,): 6.0, (WEBM,): 3.0}
    assert (found.after_asset_counts(), found.price, found.requests_per_look) == ({LEFT: {(): 35.0}}, 3.0, 0.5)
    assert sum_of([]) == LearnedState()


def test_the_sum_of_many_can_be_read_again_once_it_is_as_of_one() -> None:
    many = sum_of([state(MOST_EVIDENCE)] * 3)
    assert many.tables()[VIDEO].evidence > 2 * MOST_EVIDENCE
    one = many.as_of_one()
    assert from_bytes(to_bytes(one)) == one
    assert one.tables()[VIDEO].evidence == pytest.approx(MOST_EVIDENCE, rel=1e-4)
    assert (one.starts, one.requests_per_look) == (many.starts, 0.5)
