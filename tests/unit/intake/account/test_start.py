"""When following began, by the server's clock."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from asset_worker.domain.assets import asset_from
from asset_worker.domain.listings import Page
from asset_worker.intake.account.start import start_of

NOW = 1_800_000_000.0


def page(created: Sequence[float] = (), *, served_at: float | None = None) -> Page:
    documents = [
        {"_id": f"a{place}", "status": "ready", "created_at": datetime.fromtimestamp(at, UTC).isoformat()}
        for place, at in enumerate(created)
    ]
    return Page(tuple(map(asset_from, documents)), 0, None, served_at)


def test_the_start_is_the_servers_time_before_the_time_passed_rounded_down():
    """A `Date` has whole seconds: what was uploaded in the second of the start must not be missed."""
    assert start_of(page([NOW + 50], served_at=NOW), passed=600.0, own_start=0.0) == NOW - 601


def test_without_a_date_our_own_clock_counts_unless_the_newest_asset_shows_that_it_is_ahead():
    assert start_of(page(), passed=5.0, own_start=NOW) == NOW - 1
    assert start_of(page([NOW + 50]), passed=5.0, own_start=NOW) == NOW - 1
    assert start_of(page([NOW - 90, NOW - 100]), passed=5.0, own_start=NOW) == NOW - 90 + 0.001
