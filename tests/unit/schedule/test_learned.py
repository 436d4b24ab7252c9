"""What is stored of what was learned, and which stored values are refused."""

from __future__ import annotations

from math import inf, nan

import pytest

from asset_worker.schedule.after_asset import Shown
from asset_worker.schedule.classes import AssetClass
from asset_worker.schedule.learned import (
    LearnedAfterAsset,
    LearnedClass,
    LearnedState,
    UnreadableState,
    from_bytes,
    to_bytes,
)
from asset_worker.schedule.life_table import BINS, LifeTable

VIDEO = AssetClass("asset", "video/mp4", "direct")
NONE = [0] * BINS


def of_class(step: str = "asset", *, ends: list[int] | None = None, exposure: list[int] | None = None) -> LearnedState:
    name = VIDEO._replace(step=step)
    return LearnedState(classes=[LearnedClass(name, NONE if ends is None else ends, exposure or NONE)])


def left(count: float) -> LearnedState:
    return LearnedState(after_asset=[LearnedAfterAsset(VIDEO, ("hls",), [((), 1.0), (("hls",), count)])])


@pytest.mark.parametrize(
    "learned",
    [
        pytest.param(LearnedState(), id="nothing"),
        pytest.param(LearnedState(price=1e-9), id="a-low-price"),
        pytest.param(LearnedState(requests_per_look=1.0), id="a-request-a-look"),
        pytest.param(LearnedState(requests_per_look=0.001), id="many-looks-a-request"),
        pytest.param(LearnedState(starts=[([VIDEO], 0.0), ([VIDEO, VIDEO], 0.5)]), id="starts"),
        pytest.param(of_class("hls"), id="a-rendition"),
        pytest.param(of_class(ends=[51_200, *NONE[1:]]), id="as-many-as-decay-leaves"),
        pytest.param(left(0.0), id="none-left"),
        pytest.param(left(0.5), id="some-left"),
    ],
)
def test_what_can_have_been_learned_is_read_as_it_was_stored(learned: LearnedState) -> None:
    assert from_bytes(to_bytes(learned)) == learned


@pytest.mark.parametrize(
    ("learned", "why"),
    [
        (LearnedState(version=1), "it is of version 1; this asset-worker reads version 2"),
        (LearnedState(version=3), "it is of version 3; this asset-worker reads version 2"),
        (LearnedState(price=0.0), "damaged: a price of 0.0"),
        (LearnedState(price=-1.0), "damaged: a price of -1.0"),
        (LearnedState(price=inf), "damaged: a price of inf"),
        (LearnedState(price=nan), "damaged: a price of nan"),
        (of_class("visibility"), "damaged: the class visibility video/mp4 direct"),
        (of_class(ends=NONE[1:]), "damaged: the class asset video/mp4 direct"),
        (of_class(ends=[*NONE, 0]), "damaged: the class asset video/mp4 direct"),
        (of_class(exposure=NONE[1:]), "damaged: the class asset video/mp4 direct"),
        (of_class(exposure=[*NONE, 0]), "damaged: the class asset video/mp4 direct"),
        # 800 assets in units of 1/64: twice the half-life, and more than decay ever leaves of any number.
        (
            of_class(ends=[51_200, 1, *NONE[2:]]),
            "damaged: the class asset video/mp4 direct holds more than decay leaves",
        ),
        (LearnedState(requests_per_look=0.0), "damaged: 0.0 requests a look"),
        (LearnedState(requests_per_look=1.001), "damaged: 1.001 requests a look"),
        (LearnedState(requests_per_look=2.0), "damaged: 2.0 requests a look"),
        (LearnedState(starts=[([], 1.0)]), "damaged: a count of starts"),
        (LearnedState(starts=[([VIDEO], -0.5)]), "damaged: a count of starts"),
        (LearnedState(starts=[([VIDEO], inf)]), "damaged: a count of starts"),
        (LearnedState(starts=[([VIDEO], 1.0), ([VIDEO], nan)]), "damaged: a count of starts"),
        (left(-0.5), "damaged: a count of what was left"),
        (left(inf), "damaged: a count of what was left"),
        (left(nan), "damaged: a count of what was left"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_what_cannot_have_been_learned_is_refused_and_said(learned: LearnedState, why: str) -> None:
    """Learning starts from nothing then, rather than from nonsense."""
    assert from_bytes(to_bytes(learned)) == UnreadableState(why)


def test_counts_are_stored_in_units_and_come_back_to_within_half_of_one() -> None:
    """Ends in 64ths and waits in 16ths of an asset; counts of what was left in thousandths."""
    table = LifeTable([1.0, 0.26, 0.007, *[0.0] * 98], [2.0, 0.3, 0.03, *[0.0] * 98])
    counts = {Shown(VIDEO, ("hls",)): {(): 0.12345, ("hls",): 2.0}}
    stored = LearnedState.of({VIDEO: table}, {(VIDEO,): 3.5}, 1.25, 0.75, after_asset=counts)
    assert stored == LearnedState(
        version=2,
        price=1.25,
        classes=[LearnedClass(VIDEO, [64, 17, 0, *[0] * 98], [32, 5, 0, *[0] * 98])],
        starts=[([VIDEO], 3.5)],
        requests_per_look=0.75,
        after_asset=[LearnedAfterAsset(VIDEO, ("hls",), [((), 0.123), (("hls",), 2.0)])],
    )
    [(name, again)] = stored.tables().items()
    assert name == VIDEO
    assert again.ends == [1.0, 17 / 64, *[0.0] * 99]
    assert again.exposure == [2.0, 5 / 16, *[0.0] * 99]
    assert stored.after_asset_counts() == {Shown(VIDEO, ("hls",)): {(): 0.123, ("hls",): 2.0}}
