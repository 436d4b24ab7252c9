"""How the backfill finds its place again."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest

from asset_worker.domain.assets import asset_from
from asset_worker.domain.listings import PAGE_LENGTH, Page
from asset_worker.intake.account.backfill import Backfill, initial
from asset_worker.intake.account.filters import Filters
from asset_worker.intake.account.position import BEFORE_ALL, Backlog, Gap, merged

START = 1_800_000_000.0


def page_of(times: dict[str, float]) -> Page:
    """A page of these assets, each created so many seconds before the start."""
    documents = [
        {"_id": name, "status": "ready", "created_at": datetime.fromtimestamp(START - seconds, UTC).isoformat()}
        for name, seconds in times.items()
    ]
    return Page(tuple(map(asset_from, documents)), 0, None, None)


def page_before(seconds: int) -> Page:
    """A full page of assets, the newest of which was created so many seconds before the start."""
    return page_of({f"a{seconds + place}": seconds + place for place in range(PAGE_LENGTH)})


def read(gap: Gap, page: Page) -> list[str] | None:
    """Return the assets that are handed over from the first page that is read; None: the reader goes back instead."""
    backfill = Backfill(Backlog((gap,)), filters=Filters())
    number = backfill.page_from(BEFORE_ALL, total=None)
    found = backfill.read(page, since=BEFORE_ALL, server_now=math.inf)
    went_back = backfill.page_from(BEFORE_ALL, total=None) < number
    assert not (went_back and found.new)
    return None if went_back else [each.asset.id for each in found.new]


def test_a_reader_far_past_its_place_goes_back_in_growing_steps():
    """Where a million assets were deleted, it finds its place with few requests."""
    backfill = Backfill(Backlog((Gap(BEFORE_ALL, START, index=20_000 * PAGE_LENGTH),)), filters=Filters())
    requested: list[int] = []
    while not requested or requested[-1] > 1:
        number = backfill.page_from(BEFORE_ALL, total=None)
        requested.append(number)
        found = backfill.read(page_before(number * PAGE_LENGTH), since=BEFORE_ALL, server_now=math.inf)
        assert bool(found.new) is (number == 1)
    assert requested[:5] == [20_001, 20_000, 19_998, 19_994, 19_986]
    assert len(requested) == 16
    assert backfill.page_from(BEFORE_ALL, total=None) == 2


def test_a_page_that_begins_above_its_place_is_read_from_there():
    gap = Gap(BEFORE_ALL, START - 100, index=200)
    assert read(gap, page_of({"a": 98, "b": 99, "c": 100, "d": 101})) == ["c", "d"]


def test_a_page_that_begins_below_its_place_is_not():
    assert read(Gap(BEFORE_ALL, START - 100, index=200), page_of({"a": 100, "b": 101, "c": 102})) is None


def test_one_asset_with_a_false_time_does_not_show_that_its_place_is_reached():
    assert read(Gap(BEFORE_ALL, START - 100, index=200), page_of({"a": -1e9, "b": 101, "c": 102})) is None


def test_an_asset_of_the_page_before_shows_it_and_is_not_handed_over_again():
    """Many assets may have equal times, so that no page begins above."""
    gap = Gap(BEFORE_ALL, START - 100, index=200, ids=("a", "x"))
    assert read(gap, page_of({"a": 100, "b": 100, "c": 101})) == ["b", "c"]


def test_the_place_moves_down_with_what_was_uploaded():
    backfill = Backfill(Backlog((Gap(BEFORE_ALL, START, index=200, total=1000),)), filters=Filters())
    assert backfill.page_from(BEFORE_ALL, total=1100) == 7


@pytest.mark.parametrize(
    ("gaps", "new", "expected"),
    [
        pytest.param([Gap(0, 10)], Gap(5, 20, 7), (Gap(0, 20, 7),), id="it overlaps"),
        pytest.param([Gap(5, 20, 7)], Gap(0, 10), (Gap(0, 20, 7),), id="it is overlapped"),
        pytest.param([Gap(0, 10)], Gap(10, 20, 7), (Gap(10, 20, 7), Gap(0, 10)), id="they touch"),
        pytest.param([Gap(12, 20), Gap(0, 4)], Gap(3, 15), (Gap(0, 20),), id="it joins two"),
        pytest.param([Gap(0, 4)], Gap(30, 40), (Gap(30, 40), Gap(0, 4)), id="apart"),
    ],
)
def test_gaps_that_overlap_become_one(gaps: list[Gap], new: Gap, expected: tuple[Gap, ...]):
    assert merged(gaps, new) == expected


def test_only_a_gap_of_assets_created_since_the_start_is_one_to_catch_up_with():
    """While old assets are read, a long walk of the follower may leave a gap; while such a gap is read, it may not."""
    older = initial(START)
    assert not Backfill(older, filters=Filters()).is_catching_up(START, BEFORE_ALL)
    left = Backfill(Backlog((Gap(START, START + 10), *older.gaps)), filters=Filters())
    assert left.is_catching_up(START, BEFORE_ALL)
    assert not left.is_catching_up(START, since=START + 10)
