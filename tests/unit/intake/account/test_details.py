"""The account's list, value by value: what simulated lists are too kind to show."""

from __future__ import annotations

import math

import pytest

from asset_worker.domain.assets import Asset, AssetId
from asset_worker.domain.listings import PAGE_LENGTH, Page
from asset_worker.intake.account.filters import TYPES
from asset_worker.intake.account.position import Gap, merged
from asset_worker.intake.account.walk import MOST_AGAIN, Walk, flaw_in, read_on


def page(*ids: str, total: int | None, unreadable: int = 0) -> Page:
    assets = tuple(Asset(AssetId(each), "ready", {}, None, None, None, document={}) for each in ids)
    return Page(assets=assets, total=total, served_at=None, unreadable=unreadable)


def full(name: str, *, total: int | None) -> Page:
    return page(*(f"{name}{number}" for number in range(PAGE_LENGTH)), total=total)


def test_the_types_are_those_of_the_api():
    assert TYPES == ("image", "video", "audio", "document")


@pytest.mark.parametrize(
    ("fewer", "next_page"), [(1, 4), (PAGE_LENGTH, 4), (PAGE_LENGTH + 1, 3), (99 * PAGE_LENGTH, 1)]
)
def test_a_list_that_got_shorter_is_read_again_from_as_many_pages_back(fewer, next_page):
    walk = Walk(page=5, total=100 * PAGE_LENGTH, low=7.0)
    step = read_on(walk, full("a", total=walk.total - fewer), newest=9.0)
    assert step.has_shifted
    assert (step.walk.page, step.walk.low) == (next_page, 7.0)


@pytest.mark.parametrize(
    ("walk_page", "before", "total"), [(1, 500, 400), (5, None, 400), (5, 500, None), (5, 500, 500), (5, 500, 501)]
)
def test_a_list_is_not_known_to_be_shorter_otherwise(walk_page, before, total):
    step = read_on(Walk(page=walk_page, total=before), full("a", total=total), newest=9.0)
    assert not step.has_shifted
    assert step.walk.page == walk_page + 1


def test_a_page_that_repeats_assets_of_the_one_above_is_read_again_a_few_times():
    walk, repeated = Walk(page=2, total=500, ids=frozenset({"a0"})), full("a", total=500)
    for again in range(MOST_AGAIN):
        step = read_on(walk, repeated, newest=9.0)
        assert (step.has_shifted, step.walk.page, step.walk.again) == (True, 1, again + 1)
        above = read_on(step.walk, full("z", total=500), newest=9.0)
        assert (above.walk.page, above.walk.again) == (2, again + 1), "the page above starts no new count"
        walk = Walk(page=2, total=500, ids=frozenset({"a0"}), again=above.walk.again)
    assert not read_on(walk, repeated, newest=9.0).has_shifted


@pytest.mark.parametrize(
    ("count", "unreadable", "total", "is_end"),
    [
        (0, 0, None, True),
        (3, 0, PAGE_LENGTH + 3, True),
        (2, 1, PAGE_LENGTH + 3, True),
        (3, 0, PAGE_LENGTH + 4, True),
        (3, 0, 2 * PAGE_LENGTH + 1, False),
        (3, 0, PAGE_LENGTH + 2, False),
        (3, 0, None, False),
        (0, 3, PAGE_LENGTH, True),
    ],
)
def test_where_a_list_ends(count, unreadable, total, is_end):
    last = page(*(f"a{number}" for number in range(count)), total=total, unreadable=unreadable)
    assert read_on(Walk(page=2), last, newest=9.0).is_end == is_end


def test_assets_without_a_time_are_placed_at_the_newest_or_where_the_walk_has_come():
    assert read_on(Walk(), page("a", total=1), newest=9.0).listed[0].at == 9.0
    assert read_on(Walk(page=2, low=7.0), page("a", total=51), newest=9.0).listed[0].at == 7.0


def test_an_empty_page_is_a_flaw_if_the_list_goes_on():
    above = full("a", total=PAGE_LENGTH + 1)
    assert flaw_in(page(total=PAGE_LENGTH + 1), 2, above) is not None
    assert flaw_in(page(total=PAGE_LENGTH), 2, above) is None
    assert flaw_in(page(total=None), 2, above) is not None, "the page above knew the total"
    assert flaw_in(page(total=None), 1, None) is None
    assert flaw_in(page(total=1, unreadable=1), 1, None) is None
    assert flaw_in(page(total=PAGE_LENGTH + 1), 2, page("a", total=PAGE_LENGTH + 1)) is None, "a short page ends a list"


def test_gaps_that_only_touch_stay_apart():
    lower, upper = Gap(0.0, 5.0), Gap(5.0, 9.0)
    assert merged([lower], upper) == (upper, lower)
    assert merged([upper], lower) == (upper, lower)
    assert merged([lower], Gap(4.0, 9.0, index=3)) == (Gap(0.0, 9.0, index=3),)
    assert merged([Gap(-math.inf, 9.0)], Gap(4.0, 5.0)) == (Gap(-math.inf, 9.0),)
