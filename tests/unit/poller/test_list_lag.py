"""How far lists are behind retrieves."""

from __future__ import annotations

import pytest

from asset_worker.domain.assets import AssetId
from asset_worker.poller.list_lag import ListLag
from tests.doubles.looks import IDS, seen

PROCESSING = seen()
READY = seen("ready")
A = AssetId(IDS[0])


def measured(lag, *seconds):
    """Follow an asset after each retrieve, which lists show so many seconds later. What the last list brings."""
    found = None
    for each in seconds:
        lag.behind(A, READY, now=100.0)
        assert lag.listed({A: PROCESSING}, asked_at=100.0 + each) is None or each > 3
        found = lag.listed({A: READY}, asked_at=101.0 + each)
    return found


def test_an_asset_is_followed_until_a_list_shows_it_as_the_retrieve_did():
    lag = ListLag()
    lag.behind(A, READY, now=100.0)
    assert lag.followed == (A,)
    assert lag.listed({A: PROCESSING}, asked_at=101.0) is None
    assert lag.followed == (A,)
    assert lag.listed({A: READY}, asked_at=102.0) is None
    assert not lag.followed


def test_it_is_not_followed_further_when_lists_are_too_late_already():
    lag = ListLag()
    lag.behind(A, READY, now=100.0)
    lag.listed({A: PROCESSING}, asked_at=103.0)
    assert lag.followed == (A,)
    lag.listed({A: PROCESSING}, asked_at=103.1)
    assert not lag.followed


def test_an_asset_that_a_list_does_not_show_says_nothing_about_lag():
    lag = ListLag()
    for _ in range(9):
        lag.behind(A, READY, now=100.0)
        assert lag.listed({A: None}, asked_at=500.0) is None
        assert not lag.followed


def test_a_list_that_was_not_asked_for_an_asset_ends_nothing():
    """It was on its way when the retrieve was answered."""
    lag = ListLag()
    lag.behind(A, READY, now=100.0)
    assert lag.listed({AssetId(IDS[1]): PROCESSING}, asked_at=99.0) is None
    assert lag.followed == (A,)


def test_three_are_followed_at_once():
    lag = ListLag()
    for number in range(4):
        lag.behind(AssetId(f"{number:024x}"), READY, now=100.0)
    assert [int(each) for each in lag.followed] == [0, 1, 2]


def test_the_median_of_three_above_three_seconds_is_too_much():
    lag = ListLag()
    for asset_id, retrieved_at in zip(IDS, (100.0, 106.0, 103.0), strict=True):
        lag.behind(asset_id, READY, now=retrieved_at)
    assert lag.listed(dict.fromkeys(IDS, PROCESSING), asked_at=107.0) is None, "7 s, 1 s and 4 s, and one goes on"
    assert lag.listed({AssetId(IDS[1]): READY}, asked_at=108.0) == 4.0


@pytest.mark.parametrize(
    "seconds",
    [pytest.param((20.0, 20.0), id="two"), pytest.param((2.9, 20.0, 2.9), id="one of three"), (3.0, 3.0, 3.0)],
)
def test_lag_that_is_rare_or_short_is_not_too_much(seconds):
    assert measured(ListLag(), *seconds) is None


def test_measurements_are_forgotten_when_they_were_too_much():
    lag = ListLag()
    for asset_id in IDS:
        lag.behind(asset_id, READY, now=100.0)
    assert lag.listed(dict.fromkeys(IDS, PROCESSING), asked_at=109.0) == 9.0
    lag.behind(A, READY, now=200.0)
    assert lag.listed({A: PROCESSING}, asked_at=209.0) is None


def test_a_list_that_was_requested_before_the_retrieve_was_answered_is_not_late():
    lag = ListLag()
    lag.behind(A, READY, now=100.0)
    assert lag.listed({A: PROCESSING}, asked_at=99.0) is None
    assert lag.listed({A: READY}, asked_at=101.0) is None
    assert lag.audit_share == 0.05


def test_one_list_in_twenty_is_audited_and_every_second_one_after_a_late_one():
    lag = ListLag()
    assert lag.audit_share == 0.05
    measured(lag, 3.0)
    assert lag.audit_share == 0.05
    measured(lag, 9.0)
    assert lag.audit_share == 0.5
    measured(lag, 0.5)
    assert lag.audit_share == 0.05


def test_when_the_lag_was_too_much_nothing_is_followed_any_longer():
    lag, others = ListLag(), [AssetId(each) for each in IDS[1:3]]
    measured(lag, 9.0, 9.0)
    for each in (A, *others):
        lag.behind(each, READY, now=100.0)
    assert lag.listed({A: PROCESSING}, asked_at=109.0) == 9.0
    assert not lag.followed
