"""Where the follower puts its floor and its checkpoint after a walk."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from asset_worker.domain.assets import asset_from
from asset_worker.domain.listings import Page
from asset_worker.intake.account.filters import Filters
from asset_worker.intake.account.follower import MOST_PAGES, Follower, Found
from asset_worker.intake.account.position import Gap, Position
from asset_worker.intake.account.walk import Listed

START = 1_800_000_000.0
OVERLAP = 120.0


def page(times: Sequence[float], *, total: int) -> Page:
    """A page of assets created so many seconds after the start."""

    def document(at: float) -> dict[str, str]:
        created_at = datetime.fromtimestamp(START + at, UTC).isoformat(timespec="milliseconds")
        return {"_id": f"a{at:g}", "status": "ready", "created_at": created_at}

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
