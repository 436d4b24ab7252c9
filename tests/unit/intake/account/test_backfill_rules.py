"""What the backfill hands over from a page, and what is left to be read after it: value by value."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest

from asset_worker.domain.assets import asset_from
from asset_worker.domain.listings import Page
from asset_worker.intake.account.backfill import Backfill, FoundOlder
from asset_worker.intake.account.filters import Filters
from asset_worker.intake.account.position import BEFORE_ALL, Backlog, Gap

ALL = Filters()


def page(*times, total=None, **document):
    """A page of assets that are named after when they were created, in seconds since the epoch."""
    documents = [
        {"_id": f"a{at}", "status": "ready", "created_at": datetime.fromtimestamp(at, UTC).isoformat()} | document
        for at in times
    ]
    return Page(tuple(map(asset_from, documents)), 0, total, None)


def full(newest, *, total=None):
    return page(*range(newest, newest - 50, -1), total=total)


def ids_of(shown):
    return tuple(asset.id for asset in shown.assets)


class Reader:
    """A backfill, and what it made of the last page."""

    def __init__(self, *gaps, filters=ALL, since=BEFORE_ALL):
        self.backfill = Backfill(Backlog(gaps), filters=filters)
        self.since = since

    def next_page(self, total=None):
        return self.backfill.page_from(self.since, total=total)

    def read(self, shown):
        self.next_page(shown.total)
        self.found = self.backfill.read(shown, since=self.since, server_now=math.inf)
        return [each.asset.id for each in self.found.new]

    @property
    def gaps(self):
        assert self.found.backlog in (None, self.backfill.backlog)
        return self.backfill.backlog.gaps


OLDER = Gap(BEFORE_ALL, 500.0, index=200)


def test_after_a_page_the_gap_ends_at_its_last_asset_but_one_and_the_next_page_is_below():
    reader, shown = Reader(Gap(100.0, 900.0), OLDER), full(899, total=300)
    assert reader.read(shown) == list(ids_of(shown))
    assert reader.found.backlog == Backlog((Gap(100.0, 851.0, 50, 300, ids_of(shown)), OLDER))
    assert reader.found.must_wait is False
    assert reader.next_page() == 2


def test_the_ends_of_a_gap_belong_to_it():
    reader = Reader(Gap(800.0, 900.0))
    assert reader.read(page(902, 901, 900, 850, 800, 799, 798, total=7)) == ["a900", "a850", "a800"]
    assert reader.found.backlog == Backlog(())


def test_after_a_gap_the_next_one_is_read_from_its_own_page_on():
    reader = Reader(Gap(800.0, 900.0), OLDER)
    reader.read(full(845, total=1_000))
    assert reader.gaps == (OLDER,)
    assert reader.next_page() == 5


def test_a_page_that_ends_at_the_end_of_the_gap_is_not_the_last_one():
    """More assets of that time may follow."""
    reader, shown = Reader(Gap(851.0, 900.0)), full(899, total=300)
    reader.read(shown)
    assert reader.gaps == (Gap(851.0, 851.0, 50, 300, ids_of(shown)),)
    assert reader.next_page() == 2
    assert reader.read(page(849, 848, total=300)) == []
    assert reader.found.backlog == Backlog(()), "the next page is read as such, and no place is looked for"


@pytest.mark.parametrize(
    ("high", "is_changed"),
    [pytest.param(850.0, False, id="all of it is above the gap"), pytest.param(851.0, True, id="it reaches the gap")],
)
def test_a_page_above_the_gap_leaves_it_as_it_is(high, is_changed):
    shown = full(899, total=300)
    reader = Reader(Gap(100.0, high, 3, 290))
    reader.read(shown)
    assert reader.gaps == (Gap(100.0, high, 50, 300, ids_of(shown)) if is_changed else Gap(100.0, high, 3, 290),)
    assert (reader.found.backlog is not None) == is_changed


def test_the_end_of_the_list_ends_all_gaps_but_what_is_not_wanted():
    """That stays for a run with an earlier `since`."""
    reader = Reader(Gap(800.0, 900.0), Gap(100.0, 500.0, 7, 9, ("x",)), since=300.0)
    assert reader.read(page(899, 850, 400, 300, 299, total=5)) == ["a899", "a850"]
    assert reader.found.backlog == Backlog((Gap(100.0, 300.0, 50, 5),))
    assert reader.backfill.gap_from(300.0) is None


def test_what_begins_with_what_is_wanted_is_read_whole():
    reader = Reader(Gap(300.0, 500.0), since=300.0)
    assert reader.read(page(400, 300, 299, total=3)) == ["a400", "a300"]
    assert reader.gaps == ()


def test_a_page_below_what_is_wanted_ends_the_gap_there():
    reader = Reader(Gap(100.0, 900.0), OLDER, since=880.0)
    assert reader.read(full(899, total=300)) == [f"a{at}" for at in range(899, 879, -1)]
    assert reader.gaps == (Gap(100.0, 880.0, 50, 300), OLDER)


def test_only_what_is_admitted_and_was_not_on_the_page_before_is_handed_over():
    reader = Reader(Gap(100.0, 900.0, ids=("a890",)), filters=Filters(metadata={"a": 1}))
    assert reader.read(page(895, 890, 885, total=300, user_metadata={"a": 1})) == ["a895", "a885"]
    reader = Reader(Gap(100.0, 900.0), filters=Filters(metadata={"a": 1}))
    assert reader.read(page(895, 890, 885, total=300)) == []


def test_a_list_that_gets_shorter_again_before_the_reader_comes_further_is_waited_for():
    """One deletion costs a page, and the first after a wait, too."""
    reader = Reader(Gap(100.0, 900.0))
    waits = []
    for total in (300, 299, 298, 297):
        reader.read(full(899, total=total))
        assert reader.next_page() == 2
        reader.read(full(850, total=total - 1))
        waits.append(reader.found.must_wait)
        assert reader.found.backlog is None
        assert reader.next_page() == 1
    assert waits == [False, True, False, True]


def test_pages_that_repeat_assets_are_read_again_without_a_wait_and_then_recorded():
    reader = Reader(Gap(100.0, 900.0))
    reader.read(full(899, total=300))
    reader.read(full(850, total=300))
    assert (reader.found.backlog, reader.found.must_wait, reader.next_page()) == (None, False, 1)
    above = full(900, total=301)
    reader.read(above)
    assert reader.found.backlog == Backlog((Gap(100.0, 851.0, 50, 301, ids_of(above)),))
    assert reader.next_page() == 2


def test_a_page_that_was_asked_for_before_a_gap_was_added_is_read_again_later():
    """Another page is next."""
    reader = Reader(OLDER)
    assert reader.next_page() == 5
    added = reader.backfill.add(Gap(800.0, 900.0, index=60))
    assert added == reader.backfill.backlog == Backlog((Gap(800.0, 900.0, index=60), OLDER))
    assert reader.backfill.read(full(450, total=900), since=BEFORE_ALL, server_now=math.inf) == FoundOlder()
    assert reader.next_page() == 2


def test_a_page_is_not_looked_at_if_nothing_is_wanted_any_more():
    reader = Reader(Gap(100.0, 900.0))
    reader.next_page()
    assert reader.backfill.read(full(899, total=300), since=1_000.0, server_now=math.inf) == FoundOlder()


@pytest.mark.parametrize(
    ("start", "since", "low"),
    [
        (300.0, BEFORE_ALL, 300.0),
        (301.0, BEFORE_ALL, 800.0),
        (300.0, 499.0, 300.0),
        (300.0, 500.0, 800.0),
        (300.0, 900.0, math.inf),
        (801.0, BEFORE_ALL, math.inf),
        (BEFORE_ALL, BEFORE_ALL, BEFORE_ALL),
    ],
)
def test_the_lowest_asset_that_is_still_to_be_read_is_that_of_the_lowest_gap_since_the_start(start, since, low):
    gaps = (Gap(800.0, 900.0), Gap(300.0, 500.0), Gap(BEFORE_ALL, 200.0))
    assert Backfill(Backlog(gaps), filters=Filters()).low_after(start, since) == low


@pytest.mark.parametrize(
    ("gap", "total", "number"),
    [
        pytest.param(Gap(0.0, 1.0, index=49), None, 1, id="nothing is known"),
        pytest.param(Gap(0.0, 1.0, index=49), 100, 1, id="it was not known"),
        pytest.param(Gap(0.0, 1.0, index=49, total=99), None, 1, id="it is not known now"),
        pytest.param(Gap(0.0, 1.0, index=49, total=99), 100, 2, id="one more"),
        pytest.param(Gap(0.0, 1.0, index=50, total=99), 98, 1, id="one less"),
        pytest.param(Gap(0.0, 1.0, index=50, total=99), 0, 1, id="none is left"),
    ],
)
def test_the_page_to_begin_with_is_where_the_end_of_the_gap_should_be_by_now(gap, total, number):
    assert Backfill(Backlog((gap,)), filters=Filters()).page_from(BEFORE_ALL, total=total) == number


def test_two_assets_of_the_time_where_a_gap_ends_do_not_show_that_its_place_is_reached():
    """A third one may be above."""
    reader = Reader(Gap(100.0, 900.0, index=200))
    assert reader.read(page(900, 900, 899, total=None)) == []
    assert reader.next_page() == 4
