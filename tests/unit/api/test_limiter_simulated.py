"""The rate limiter against servers with fixed windows, in virtual time: how many are refused, how long a backlog takes.

Run this file with `pytest -s` to see the figures.
"""

import math
from itertools import pairwise

import pytest

from asset_worker.api.limits.limiter import RateLimiter
from asset_worker.api.limits.trickle import LONGEST_GAP_SECONDS
from tests.doubles.limited_server import Server, SlidingServer, run

DAY = 86_400
WINDOWS = [(10, 1), (60, 10), (60, 60), (600, 60), (1200, 3600)]
QUOTA_STYLES = ["vendor", "ietf counted", "ietf structured"]
WAIT_STYLES = ["retry-after", "retry-after date"]


def windows_worked(limit: int, window: float) -> int:
    """Enough for a minute and for some windows; more where a rate must be learned first."""
    return math.ceil(max(60 / window, 3))


@pytest.mark.parametrize("share", [1.0, 0.8])
@pytest.mark.parametrize("style", QUOTA_STYLES)
@pytest.mark.parametrize(("limit", "window"), WINDOWS)
def test_reported_quotas_are_used_and_never_exceeded(limit: int, window: int, style: str, share: float) -> None:
    server, count, ours = Server(limit, window, style), windows_worked(limit, window), int(limit * share)
    outcome = run(server, RateLimiter(requests_per_second=0, share=share), backlog=ours * count)
    assert outcome.refused == 0
    assert outcome.most_in_a_window <= ours
    assert outcome.seconds <= 1.3 * count * window


@pytest.mark.parametrize("style", QUOTA_STYLES)
@pytest.mark.parametrize(("limit", "window"), WINDOWS[1:])
@pytest.mark.parametrize("rounds_down", [False, True])
def test_windows_that_begin_with_a_request_make_no_difference(
    limit: int, window: int, style: str, rounds_down: bool
) -> None:
    server = Server(limit, window, style, aligned=False, rounds_down=rounds_down)
    count = windows_worked(limit, window)
    outcome = run(server, RateLimiter(requests_per_second=0, share=1.0), backlog=limit * count)
    assert outcome.refused_share < 0.03 * rounds_down + 1e-9
    assert outcome.seconds <= 1.3 * count * window


@pytest.mark.parametrize("style", QUOTA_STYLES)
@pytest.mark.parametrize(("limit", "window"), WINDOWS)
@pytest.mark.parametrize("share", [1.0, 0.8])
def test_a_server_that_rounds_resets_down_is_soon_seen_through(
    limit: int, window: int, style: str, share: float
) -> None:
    server, count, ours = (
        Server(limit, window, style, rounds_down=True),
        windows_worked(limit, window),
        int(limit * share),
    )
    outcome = run(server, RateLimiter(requests_per_second=0, share=share), backlog=ours * count)
    assert outcome.refused_share < 0.03
    assert 0.95 * count * window <= outcome.seconds <= 1.3 * count * window


@pytest.mark.parametrize("style", QUOTA_STYLES)
@pytest.mark.parametrize(("limit", "window"), WINDOWS[1:])
def test_a_window_that_slides_is_kept_to(limit: int, window: int, style: str) -> None:
    server, count = SlidingServer(limit, window, style), windows_worked(limit, window)
    outcome = run(server, RateLimiter(requests_per_second=0, share=1.0), backlog=limit * count)
    assert outcome.refused_share < 0.01
    assert outcome.seconds <= 1.3 * count * window


@pytest.mark.parametrize("style", QUOTA_STYLES)
@pytest.mark.parametrize(("limit", "window"), WINDOWS[1:])
@pytest.mark.parametrize(("share", "others"), [(1.0, 0.2), (0.8, 0.2), (0.8, 0.5)])
def test_other_callers_are_made_room_for(limit: int, window: int, style: str, share: float, others: float) -> None:
    server, count = Server(limit, window, style), windows_worked(limit, window)
    limiter = RateLimiter(requests_per_second=0, share=share)
    outcome = run(
        server, limiter, backlog=10**9, until=0.4 + count * window, others_rate=others * limit / window, started=0.0
    )
    assert outcome.refused_share < 0.03
    assert len(outcome.accepted_at) / (limit * count) >= 0.85 * (share - others)
    if share + others <= 1:
        assert server.others_refused == 0
    elif share < 1:
        assert server.others_refused / (limit * count * others) < 0.1


@pytest.mark.parametrize("style", QUOTA_STYLES)
@pytest.mark.parametrize("backlog", [100, 200, 500])
def test_little_work_is_soon_done_with_a_days_quota(style: str, backlog: int) -> None:
    server = Server(1000, DAY, style)
    outcome = run(server, RateLimiter(requests_per_second=10, share=0.8), backlog=backlog)
    assert outcome.refused == 0
    assert outcome.seconds <= {100: 20, 200: 25, 500: 7200}[backlog]


@pytest.mark.parametrize("style", QUOTA_STYLES)
def test_much_work_never_uses_a_days_quota_up_before_its_evening(style: str) -> None:
    server = Server(1000, DAY, style)
    outcome = run(server, RateLimiter(requests_per_second=10, share=0.8), backlog=10**9, until=2 * DAY)
    assert outcome.refused == 0
    assert outcome.most_in_a_window <= 800 + DAY / LONGEST_GAP_SECONDS
    for hours in range(0, 48, 2):
        assert outcome.accepted_between(hours * 3600, (hours + 2) * 3600) >= 10


@pytest.mark.parametrize("style", QUOTA_STYLES)
@pytest.mark.parametrize("remaining", [230, 210, 205, 203, 202, 201, 200, 199, 150, 50])
def test_a_days_quota_that_others_have_used_up_by_noon_still_serves_us_in_the_evening(
    remaining: int, style: str
) -> None:
    """On either side of the reserve of 200: we are never stopped, and three fifths of what is left are never used."""
    server, halfway = Server(1000, DAY, style, begins=0.0, used=1000 - remaining), DAY / 2
    limiter = RateLimiter(requests_per_second=10, share=0.8)
    outcome = run(server, limiter, backlog=10**9, started=halfway, until=DAY - 1.0)
    assert outcome.refused == 0
    assert server.limit - server.used >= 0.6 * min(remaining, 200) - 1
    for hours in range(12):
        assert outcome.accepted_between(hours * 3600, (hours + 1) * 3600) >= remaining // 60


@pytest.mark.parametrize("style", QUOTA_STYLES)
def test_others_who_spend_a_days_quota_beside_us_are_not_refused_and_we_look_all_day(style: str) -> None:
    """They want a fifth of it, all day, and we all there is, sooner."""
    server = Server(1000, DAY, style)
    limiter = RateLimiter(requests_per_second=10, share=0.8)
    outcome = run(server, limiter, backlog=10**9, started=0.0, until=DAY - 1.0, others_rate=200 / DAY)
    assert (outcome.refused, server.others_refused) == (0, 0)
    assert len(outcome.accepted_at) >= 0.6 * 1000
    assert max(after - before for before, after in pairwise(outcome.accepted_at)) <= 3600


@pytest.mark.parametrize("style", QUOTA_STYLES)
def test_others_who_use_a_days_quota_up_beside_us_leave_us_a_few_refusals(style: str) -> None:
    """While anything is left we look every two hours at least; once nothing is, one asks again as often."""
    server = Server(1000, DAY, style)
    limiter = RateLimiter(requests_per_second=10, share=0.8)
    outcome = run(server, limiter, backlog=10**9, started=0.0, until=DAY - 1.0, others_rate=900 / DAY)
    assert 0 < outcome.refused <= DAY / LONGEST_GAP_SECONDS
    assert max(after - before for before, after in pairwise(outcome.accepted_at)) <= LONGEST_GAP_SECONDS


@pytest.mark.parametrize("style", WAIT_STYLES)
@pytest.mark.parametrize(("limit", "window"), WINDOWS)
def test_requested_waits_teach_the_rate(limit: int, window: int, style: str) -> None:
    server, count = Server(limit, window, style), 5 * windows_worked(limit, window) if window < 3600 else 3
    outcome = run(server, RateLimiter(requests_per_second=0, share=1.0), backlog=limit * count)
    assert outcome.refused_share < 0.03
    assert outcome.seconds <= 1.3 * count * window


@pytest.mark.parametrize("own", [0, 10])
@pytest.mark.parametrize(("limit", "window"), WINDOWS)
def test_with_nothing_reported_the_rate_is_learned(limit: int, window: int, own: int) -> None:
    server, count = Server(limit, window, "none"), 5 * windows_worked(limit, window) if window < 3600 else 3
    outcome = run(server, RateLimiter(requests_per_second=own, share=1.0), backlog=limit * count)
    assert outcome.refused_share < 0.08
    assert outcome.seconds <= count * window / 0.75


@pytest.mark.parametrize("style", [*QUOTA_STYLES, *WAIT_STYLES, "none"])
def test_a_lifted_limit_is_noticed(style: str) -> None:
    server = Server(600, 60, style)

    def lift(server: Server) -> None:
        server.limit, server.style = 10**9, "none"

    limiter = RateLimiter(requests_per_second=20, share=1.0)
    outcome = run(server, limiter, backlog=10**9, until=1200, at={300.4: lift})
    assert outcome.accepted_between(1100, 1200) >= 0.95 * 100 * 20


@pytest.mark.parametrize("style", [*QUOTA_STYLES, *WAIT_STYLES, "none"])
def test_a_lowered_limit_is_kept_to(style: str) -> None:
    server = Server(600, 60, style)

    def lower(server: Server) -> None:
        server.limit = 100

    outcome = run(server, RateLimiter(requests_per_second=0, share=1.0), backlog=10**9, until=1500, at={300.4: lower})
    assert outcome.accepted_between(900, 1500) >= 0.75 * 1000
    assert outcome.refused_share < 0.03


@pytest.mark.parametrize("clock_off", [-300.37, -1.5, -0.7, 0.9, 1.5, 300.37])
@pytest.mark.parametrize(("limit", "window"), [(60, 10), (60, 60), (600, 60)])
@pytest.mark.parametrize("style", ["vendor", "retry-after date"])
def test_a_server_whose_clock_is_off(clock_off: float, limit: int, window: int, style: str) -> None:
    server, count = Server(limit, window, style, clock_off=clock_off), windows_worked(limit, window)
    if style == "retry-after date" and window < 3600:
        count *= 5
    outcome = run(server, RateLimiter(requests_per_second=10, share=1.0), backlog=limit * count)
    assert outcome.refused_share < (0.001 if style == "vendor" else 0.03)
    assert outcome.seconds <= 1.15 * count * max(window, limit / 10)


def test_after_an_hour_of_refusals_the_process_does_not_come_as_a_herd() -> None:
    server = Server(1, 3600, "none")
    server.begins, server.used = 0.0, 1
    limiter = RateLimiter(requests_per_second=0, share=1.0)
    refused = run(server, limiter, backlog=10**9, until=3600.0)
    assert refused.sent <= 90
    server.limit = 10**9
    released = run(server, limiter, backlog=1000, started=3700.0)
    assert released.accepted_between(0, 0.2) <= 4
    assert released.refused == refused.refused
