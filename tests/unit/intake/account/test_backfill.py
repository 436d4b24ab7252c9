"""How the backfill finds its place again."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from asset_worker.domain.assets import asset_from
from asset_worker.domain.listings import PAGE_LENGTH, Page
from asset_worker.intake.account.backfill import Backfill
from asset_worker.intake.account.filters import Filters
from asset_worker.intake.account.position import BEFORE_ALL, Backlog, Gap

START = 1_800_000_000.0


def page_before(seconds: int) -> Page:
    """A full page of assets, the newest of which was created so many seconds before the start."""
    documents = [
        {
            "_id": f"a{seconds + place}",
            "status": "ready",
            "created_at": datetime.fromtimestamp(START - seconds - place, UTC).isoformat(),
        }
        for place in range(PAGE_LENGTH)
    ]
    return Page(tuple(map(asset_from, documents)), 0, None, None)


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
