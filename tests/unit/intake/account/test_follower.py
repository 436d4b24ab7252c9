"""Where the follower puts its floor and its checkpoint after a walk."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from asset_worker.domain.assets import asset_from
from asset_worker.domain.listings import Page
from asset_worker.intake.account.filters import Filters
from asset_worker.intake.account.follower import MOST_PAGES, Follower, Found
from asset_worker.intake.account.position import BEFORE_ALL, Earlier, Gap, Position
from asset_worker.intake.account.walk import Listed

START = 1_800_000_000.0
OVERLAP = 120.0


def page(times: Sequence[float], *, total: int) -> Page:
    """A page of assets created so many seconds after the start."""

    def document(at: float) -> dict[str, str]:
        created_at = datetime.fromtimestamp(START + at, UTC).isoformat(timespec="milliseconds")
        return {"_id": f"a{at:g}".replace(".", "_"), "status": "ready", "created_at": created_at}

    return Page(tuple(asset_from(document(at)) for at in times), 0, total, None)


def follower() -> Follower:
    position = Position(began=0.0, start=START, checkpoint=START, floor=START)
    return Follower(position, overlap=OVERLAP, since=None, filters=Filters())


def read(reader: Follower, found: Page, *, at: float) -> Found:
    return reader.read(found, now=at, server_now=START + at)


def test_the_floor_follows_the_checkpoint_of_the_walk_before():
    """So each part of the list is read by two walks: what one of them missed, the next one finds."""
    reader = follower()
    read(reader, page([1000], total=1), at=1001)
    assert (reader.position.checkpoint, reader.position.floor) == (START + 1000, START)
    read(reader, page([2000, 1000], total=2), at=2001)
    assert (reader.position.checkpoint, reader.position.floor) == (START + 2000, START + 1000 - OVERLAP)


def test_after_a_walk_that_leaves_a_gap_the_floor_is_above_it():
    """Otherwise the next walk would read the same pages again."""
    reader = follower()
    for number in range(MOST_PAGES):
        newest = 5000 - 50 * number
        found = read(reader, page([newest - place for place in range(50)], total=5000), at=5001)
    assert found.next_page is None
    assert found.gap == Gap(START, START + 4002, 50 * MOST_PAGES, 5000)
    assert (reader.position.checkpoint, reader.position.floor) == (START + 5000, START + 5000 - OVERLAP)


def test_a_gap_below_nothing_but_unreadable_elements_begins_now():
    reader = follower()
    for _ in range(MOST_PAGES):
        found = read(reader, Page((), 50, 5000, None), at=5001)
    assert found.gap == Gap(START, START + 5001, 50 * MOST_PAGES, 5000)


def test_after_a_restart_what_is_handed_over_from_a_gap_is_still_remembered():
    """Otherwise it would be handed over again after a long stop, when its settlement is forgotten."""
    position = Position(began=0.0, start=START, floor=START + 1000, known={"a500": START + 500})
    reader = Follower(position, overlap=OVERLAP, since=None, filters=Filters())
    listed = [Listed(asset, START + 600) for asset in page([600], total=1).assets]
    assert [each.asset.id for each in reader.take_unknown(listed)] == ["a600"]
    assert dict(reader.updated().known) == {"a500": START + 500, "a600": START + 600}
    assert reader.take_unknown(listed) == ()


def begun(*, since: float | None = None, filters: Filters | None = None, **position: object) -> Follower:
    """A follower whose floor and checkpoint are at the start, if nothing else is said."""
    fields = {"start": START, "checkpoint": START, "floor": START} | position
    stored = Position(began=0.0, **fields)
    return Follower(stored, overlap=OVERLAP, since=since, filters=filters or Filters())


def ids(found: Found) -> list[str]:
    return [each.asset.id for each in found.new]


def newest(count: int = 50, *, top: float = 1000, total: int) -> Page:
    return page([top - place for place in range(count)], total=total)


def test_a_walk_ends_below_the_floor_and_not_at_it():
    """More assets of the floor's time may follow, and they are wanted."""
    reader = begun(floor=START + 953)
    assert (read(reader, newest(top=1001, total=200), at=1002).next_page, reader.position.floor) == (2, START + 953)
    reader = begun(floor=START + 953.5)
    found = read(reader, newest(top=1001, total=200), at=1002)
    assert (found.next_page, found.position) == (None, reader.position)


def test_an_asset_of_the_floors_time_is_handed_over_and_known():
    reader = begun()
    found = read(reader, page([5, 0, -1], total=3), at=10)
    assert ids(found) == ["a5", "a0"]
    assert dict(reader.position.known) == {"a5": START + 5, "a0": START}


def test_what_the_position_keeps_of_what_was_handed_over_begins_at_the_floor():
    """What is older will not be met again."""
    reader = begun(known={"a880": START + 880, "a879": START + 879})
    read(reader, page([1000], total=1), at=1001)
    read(reader, page([2000, 1000], total=2), at=2001)
    assert dict(reader.position.known) == {"a2000": START + 2000, "a1000": START + 1000, "a880": START + 880}
    listed = [Listed(asset, START + at) for at in (880, 500) for asset in page([at + 0.5], total=1).assets]
    assert len(reader.take_unknown(listed)) == 2
    assert "a880_5" in reader.updated().known
    assert "a500_5" not in reader.updated().known


def test_while_the_backfill_reads_below_the_floor_what_is_known_there_is_kept():
    reader = begun(known={"old": START - 400, "older": START - 600})
    found = reader.read(page([5], total=1), now=6, server_now=START + 6, unread_from=START - 500)
    assert found.position == reader.position
    assert set(reader.position.known) == {"a5", "old"}


def test_a_walk_of_many_pages_while_the_backfill_is_behind_adds_no_gap_and_leaves_the_floor():
    """A gap added to its own would make it begin anew each time."""
    reader = begun(known={"old": START - 400})
    for number in range(MOST_PAGES):
        shown = newest(top=5000 - 50 * number, total=5000)
        found = reader.read(shown, now=5001, server_now=START + 5001, unread_from=START - 500, is_behind=True)
        assert found.next_page == (number + 2 if number + 1 < MOST_PAGES else None)
        assert found.gap is None
    assert found.position == reader.position
    assert (reader.position.checkpoint, reader.position.floor) == (START + 5000, START)
    assert reader.position.known["old"] == START - 400


@pytest.mark.parametrize(
    ("at", "checkpoint"), [(1000, 1000), (1000.5, 1000.5), (1001, 1001), (1001.25, 0), (1001.75, 0), (1002, 0)]
)
def test_an_asset_of_the_future_is_no_checkpoint(at: float, checkpoint: float):
    """The server's clock may be rounded down by a second."""
    reader = begun()
    assert len(read(reader, page([at], total=1), at=1000).new) == 1
    assert reader.position.checkpoint == START + checkpoint


def test_a_walk_that_changes_nothing_stores_nothing():
    reader = begun()
    first = read(reader, page([5], total=1), at=10)
    assert first == Found(first.new, position=reader.position)
    settled = read(reader, page([5, 4], total=2), at=300)
    assert settled.position == reader.position
    assert read(reader, page([5, 4], total=3), at=301) == Found((), position=None, next_page=None, gap=None)


def test_the_list_is_walked_again_once_an_overlap_after_the_walk_began():
    """Late assets have appeared by then. Until it, and after it, the newest page alone is read."""
    reader, first, second = begun(), newest(total=60), newest(10, top=950, total=60)

    def walk(at: float) -> list[int | None]:
        pages = [read(reader, first, at=at).next_page]
        if pages[0] is not None:
            pages.append(read(reader, second, at=at).next_page)
        return pages

    assert read(reader, first, at=1000).next_page == 2
    assert read(reader, second, at=1100).next_page is None
    assert walk(1119.5) == [None]
    assert walk(1120) == [2, None]
    assert walk(1121) == [None]
    assert walk(5000) == [None]


@pytest.mark.parametrize(("until", "is_kept"), [(880.0, False), (880.5, True)])
def test_the_filters_of_an_earlier_run_are_kept_as_long_as_assets_of_its_time_are_read(until: float, is_kept: bool):
    earlier = Earlier(Filters(metadata={"a": 1}), START + until)
    reader = begun(checkpoint=START + 1000, earlier=earlier)
    read(reader, page([2000], total=1), at=2001)
    assert reader.position.floor == START + 880
    assert reader.position.earlier == (earlier if is_kept else None)


def test_an_asset_of_the_instant_at_which_the_filters_changed_is_of_the_new_time():
    reader = begun(filters=Filters(filename="b"), seen_until=START + 100)
    assert reader.position.earlier == Earlier(Filters(), START + 100)
    reader = begun(earlier=Earlier(Filters(types=("audio",)), START + 100))
    assert ids(read(reader, page([101, 100, 99], total=3), at=200)) == ["a101", "a100"]


def test_at_the_end_it_is_recorded_until_when_the_filters_applied():
    reader = begun(seen_until=START + 7)
    assert reader.updated().seen_until == START + 7
    assert reader.updated(START + 9).seen_until == START + 9
    assert reader.updated(BEFORE_ALL).seen_until == START + 9
    assert begun(since=START + 5).since == START + 5
    assert (begun().since, begun(start=None).since) == (START, BEFORE_ALL)


def test_assets_from_before_since_are_not_handed_over():
    reader = begun(since=START + 500)
    assert ids(read(reader, page([600, 500, 400], total=3), at=700)) == ["a600", "a500"]


def test_what_is_handed_over_from_above_a_gap_is_known_as_long_as_the_gap_is_read():
    reader = begun(known={"old": START - 400, "older": START - 600})
    for number in range(MOST_PAGES):
        shown = newest(top=5000 - 50 * number, total=5000)
        found = reader.read(shown, now=5001, server_now=START + 5001, unread_from=START - 500)
    assert found.gap is not None
    assert len(reader.position.known) == 50 * MOST_PAGES + 1
    assert "old" in reader.position.known
    reader = begun(known={"old": START - 400})
    for number in range(MOST_PAGES):
        read(reader, newest(top=5000 - 50 * number, total=5000), at=5001)
    assert len(reader.position.known) == 50 * MOST_PAGES


@pytest.mark.parametrize(("since", "floor"), [(None, START), (START - 9000, START - OVERLAP)])
def test_what_came_just_before_the_start_may_still_appear_if_it_is_wanted(since: float | None, floor: float):
    reader = Follower(Position(began=7.0), overlap=OVERLAP, since=since, filters=Filters())
    expected = Position(began=7.0, start=START, checkpoint=START, floor=floor)
    assert reader.begin(START) == expected == reader.position


def test_a_walk_that_was_given_up_begins_again_with_the_newest_page():
    reader = begun()
    assert read(reader, newest(total=60), at=1001).next_page == 2
    reader.give_up()
    assert read(reader, newest(total=60), at=1002).next_page == 2
