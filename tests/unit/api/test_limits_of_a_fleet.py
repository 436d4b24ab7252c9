"""Four workers with one key, each with a portion of its limits: together they use what one would, in virtual time."""

from __future__ import annotations

import pytest

from asset_worker.api.limits.limiter import RateLimiter
from tests.doubles.limited_fleet import adopt_the_latest, limiters, run_fleet
from tests.doubles.limited_server import Server

STYLES = ["vendor", "ietf counted", "ietf structured"]
PORTIONS = [pytest.param([0.25] * 4, id="even"), pytest.param([0.7, 0.1, 0.1, 0.1], id="uneven")]
HALF_AN_HOUR = 1_800.0


@pytest.mark.parametrize("portions", PORTIONS)
@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(("limit", "window"), [(60, 60), (600, 60), (1200, 3600)])
def test_they_use_the_share_of_a_quota_that_is_told(limit: int, window: int, style: str, portions: list[float]) -> None:
    seconds = max(600, 3 * window)
    outcome = run_fleet(Server(limit, window, style), limiters(portions), seconds=seconds)
    assert 0.95 <= outcome.accepted / (seconds / window * limit * 0.8) <= 1.01
    assert outcome.refused_share < 0.01


@pytest.mark.parametrize(("limit", "window"), [(60, 10), (600, 60), (60, 60)])
def test_they_find_a_limit_that_is_not_told_as_one_worker_does(limit: int, window: int) -> None:
    alone, together = (
        run_fleet(
            Server(limit, window, "none"),
            limiters(portions, share=1.0),
            seconds=HALF_AN_HOUR,
            since=300.0,
            at_renewals=adopt_the_latest,
        )
        for portions in ([1.0], [0.25] * 4)
    )
    assert 0.95 <= together.accepted / alone.accepted <= 1.10
    assert together.refused_share < 0.03


@pytest.mark.parametrize("portions", PORTIONS)
def test_they_send_no_more_than_the_own_rate_of_one(portions: list[float]) -> None:
    outcome = run_fleet(Server(10**9, 1, "none"), limiters(portions, own=10.0), seconds=600)
    assert 0.98 <= outcome.accepted / 6000 <= 1.01


def test_a_portion_that_changes_changes_what_was_learned_with_it() -> None:
    limiter = RateLimiter(requests_per_second=0, share=1.0)
    limiter.adopt(8.0, at=5.0)
    limiter.use_portion(0.25)
    assert limiter.learned == (8.0, 5.0), "of all workers together"
    limiter.adopt(4.0, at=4.0)
    assert limiter.learned == (8.0, 5.0), "what was learned earlier says less"
    limiter.adopt(4.0, at=6.0)
    assert limiter.learned == (4.0, 6.0)
