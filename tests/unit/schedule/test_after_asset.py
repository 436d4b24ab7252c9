"""How often which renditions go on when an asset has ended, counted with decay."""

from __future__ import annotations

import pytest

from asset_worker.schedule.after_asset import AfterAsset, Shown
from asset_worker.schedule.classes import AssetClass
from asset_worker.schedule.life_table import HALF_LIFE
from asset_worker.schedule.ports import Renditions

VIDEO = AssetClass("asset", "video/mp4", "direct")
HLS = Shown(VIDEO, ("hls",))
KEPT = 2 ** (-1 / HALF_LIFE)
"""What one more asset leaves of each count, its own included."""


def counted(*left: tuple[str, ...]) -> AfterAsset:
    after = AfterAsset({})
    for each in left:
        after.count(VIDEO, Renditions(shown=("hls",), left=each))
    return after


def test_each_asset_counts_a_little_less_with_each_newer_one() -> None:
    """Three assets in this order: the first has decayed three times, the second twice, the third once."""
    found = counted(("hls",), (), ("hls",)).counts
    assert found.keys() == {HLS}
    assert found[HLS] == pytest.approx({("hls",): KEPT**3 + KEPT, (): KEPT**2})


def test_after_a_half_life_an_asset_counts_half() -> None:
    found = counted(("hls",), *[()] * (HALF_LIFE - 1))
    assert found.counts[HLS]["hls",] == pytest.approx(0.5)


def test_shares_are_those_of_the_counts_for_what_was_shown() -> None:
    after = AfterAsset({HLS: {("hls",): 3.0, (): 5.0}, Shown(VIDEO, ()): {(): 99.0}})
    assert after.evidence(HLS) == 8
    assert after.shares(HLS) == {("hls",): 3 / 8, (): 5 / 8}


@pytest.mark.parametrize("counts", [{}, {HLS: {}}, {HLS: {(): 0.0}}])
def test_without_counts_there_are_no_shares(counts: dict[Shown, dict[tuple[str, ...], float]]) -> None:
    after = AfterAsset(counts)
    assert after.evidence(HLS) == 0
    assert after.shares(HLS) == {}


def test_counting_leaves_what_was_given_as_it_was() -> None:
    given = {HLS: {("hls",): 3.0}}
    AfterAsset(given).count(VIDEO, Renditions(shown=("hls",), left=()))
    assert given == {HLS: {("hls",): 3.0}}
