"""The rate limiter's rules, one by one, at instants given by hand."""

import math
from copy import deepcopy

import pytest

from asset_worker.api.limits.limiter import (
    FIRST_BACKOFF_SECONDS,
    LARGEST_BURST,
    LONGEST_BACKOFF_SECONDS,
    MOST_NAMES,
    SHORTAGE_SECONDS,
    Pause,
    RateLimiter,
    Shortage,
)
from asset_worker.api.limits.quota import SPENT_AT_ONCE
from asset_worker.api.limits.rate_limit_headers import MAX_QUOTAS, NOTHING_REPORTED, RateLimitReport, ReportedQuota
from asset_worker.api.limits.trickle import LONGEST_GAP_SECONDS
from asset_worker.runtime.measures import OTHER
from tests.doubles.limited_server import Server, run


def quota(limit: int, remaining: int, reset_in: float) -> RateLimitReport:
    return RateLimitReport((ReportedQuota("q", limit, remaining, reset_in),))


def limiter_after(
    report: RateLimitReport = NOTHING_REPORTED, *, requests_per_second: float = 0, share: float = 1.0
) -> RateLimiter:
    """A limiter at second 0, past its slow start, after an answer with this report."""
    limiter = RateLimiter(requests_per_second=requests_per_second, share=share)
    for _ in range(100):
        limiter.sent(-10.0)
        limiter.answered(-9.9, sent_at=-10.0, status=200, report=NOTHING_REPORTED)
    limiter.sent(-0.1)
    limiter.answered(0.0, sent_at=-0.1, status=200, report=report)
    return limiter


def send_all(limiter: RateLimiter, now: float) -> int:
    sent = 0
    while limiter.delay(now) == 0 and sent < 1000:
        limiter.sent(now)
        sent += 1
    return sent


def rate(limiter: RateLimiter, now: float) -> float | None:
    """Requests per second that may go out once those that may go at once have gone; None: any number."""
    limiter = deepcopy(limiter)
    for _ in range(10_000):
        is_paced = limiter.delay(now) > 0
        limiter.sent(now)
        limiter.lost(sent_at=now)
        if is_paced:
            return 1 / limiter.delay(now)
    return None


def test_the_first_request_goes_alone_and_accepted_ones_bring_more() -> None:
    limiter = RateLimiter(requests_per_second=0, share=1.0)
    sent = []
    for second in range(4):
        sent.append(send_all(limiter, second))
        for _ in range(sent[-1]):
            limiter.answered(second + 0.1, sent_at=second, status=200, report=NOTHING_REPORTED)
    assert sent == [1, 2, 4, 8]


def test_requests_that_are_never_answered_hold_up_the_others_for_a_second_only() -> None:
    limiter = RateLimiter(requests_per_second=10, share=1.0)
    assert send_all(limiter, 0.0) == 1
    assert limiter.delay(0.0) == pytest.approx(1.0)
    assert [send_all(limiter, float(second)) for second in range(1, 5)] == [1, 1, 1, 1]


def test_no_rate_of_our_own_and_nothing_reported_is_no_limit() -> None:
    assert send_all(limiter_after(), 0.0) == 1000
    assert rate(limiter_after(), 0.0) is None


def test_our_own_rate_lets_a_fifth_of_a_second_be_caught_up_on_and_then_paces() -> None:
    limiter = limiter_after(requests_per_second=10)
    assert send_all(limiter, 20.0) == 2
    assert limiter.delay(20.0) == pytest.approx(0.1)
    assert send_all(limiter, 20.1) == 1
    assert send_all(limiter_after(requests_per_second=100), 20.0) == LARGEST_BURST
    assert send_all(limiter_after(requests_per_second=0.1), 20.0) == 1


def test_one_transient_refusal_does_not_slow_us_down_for_long() -> None:
    server, refused = Server(10**9, 1.0, "none"), 0

    def request(now: float, *, is_ours: bool) -> tuple[int, dict[str, str]]:
        nonlocal refused
        refused += 1
        return (429, {"Retry-After": "1"}) if refused == 5 else (200, {})

    server.request = request
    assert run(server, RateLimiter(requests_per_second=10, share=0.8), backlog=100).seconds < 1.6 * (10 + 1)


def test_a_few_refusals_at_the_start_leave_no_gaps_of_seconds() -> None:
    server, asked = Server(10**9, 1.0, "none"), 0

    def request(now: float, *, is_ours: bool) -> tuple[int, dict[str, str]]:
        nonlocal asked
        asked += 1
        return (429, {"Retry-After": "2"}) if asked <= 2 else (200, {})

    server.request = request
    assert run(server, RateLimiter(requests_per_second=10, share=0.8), backlog=5).seconds < 4 + 2


def test_what_remains_is_spread_over_the_time_to_the_reset() -> None:
    limiter = limiter_after(quota(600, 120, 60.0))
    assert rate(limiter, 0.0) == pytest.approx(2.0)
    assert rate(limiter, 30.0) == pytest.approx(4.0)


def test_a_part_of_what_remains_may_be_spent_at_once() -> None:
    limiter = limiter_after(quota(1000, 800, 3600.0))
    assert send_all(limiter, 0.0) == SPENT_AT_ONCE * 800
    limiter = limiter_after(quota(1000, 800, 3600.0), share=0.4)
    assert send_all(limiter, 0.0) == SPENT_AT_ONCE * 200


def test_a_days_quota_is_there_when_it_is_needed_and_lasts_until_the_evening() -> None:
    limiter = limiter_after(quota(10_000, 10_000, 86_400.0))
    assert rate(limiter, 0.0) == pytest.approx(10_000 / 4_320)
    assert rate(limiter, 14_400.0) == pytest.approx(10_000 / 43_200)
    assert rate(limiter, 43_200.0) == pytest.approx(10_000 / 43_200)


def test_the_share_of_the_others_is_kept() -> None:
    limiter = limiter_after(quota(600, 240, 60.0), share=0.8)
    assert rate(limiter, 0.0) == pytest.approx(2.0)


def test_what_others_spend_slows_us_down() -> None:
    limiter = limiter_after(quota(600, 600, 60.0))
    limiter.sent(1.0)
    limiter.answered(2.0, sent_at=1.0, status=200, report=quota(600, 58, 58.0))
    assert rate(limiter, 2.0) == pytest.approx(1.0)


def test_requests_in_flight_count_as_not_yet_subtracted() -> None:
    limiter = limiter_after(quota(600, 3, 0.01))
    assert send_all(limiter, 0.0) <= 3
    limiter = limiter_after(quota(4, 3, 0.5))
    sent = sum(send_all(limiter, tick / 100) for tick in range(45))
    assert sent == 3
    assert limiter.delay(0.45) == pytest.approx(0.05)


def test_a_spent_quota_blocks_until_its_reset_and_is_whole_then() -> None:
    limiter = limiter_after(quota(600, 0, 60.0))
    assert limiter.delay(0.0) == pytest.approx(60.0)
    assert limiter.delay(60.0) <= 0.1
    assert rate(limiter, 60.0) == pytest.approx(10.0)


def test_its_quotas_can_be_seen_and_are_whole_after_the_reset() -> None:
    limiter = RateLimiter(requests_per_second=0, share=0.8)
    assert limiter.quotas(0) == []
    limiter = limiter_after(quota(limit=60, remaining=12, reset_in=30))
    [now] = limiter.quotas(10)
    [later] = limiter.quotas(100)
    assert (now.limit, now.remaining) == (60, 12)
    assert now.resets_in <= 30
    assert (later.remaining, later.resets_in) == (60, 0)


def test_where_others_left_us_only_the_reserve_a_trickle_goes_on() -> None:
    """It is counted from the last request, so that a worker that is started again and again takes no more."""
    limiter = limiter_after(quota(1000, 150, 43_200.0), share=0.8)
    assert limiter.delay(0.0) == pytest.approx(43_200 / 75 - 0.1)
    assert send_all(limiter, 43_200 / 75) == 1


def test_a_pace_that_is_slower_than_the_trickle_does_not_hold_us_up() -> None:
    """With three more than the reserve the pace alone would send the next after twenty minutes."""
    limiter = limiter_after(quota(1000, 203, 43_200.0), share=0.8)
    assert send_all(limiter, 0.0) == 1
    assert limiter.delay(0.0) == pytest.approx(43_200 / 101)


@pytest.mark.parametrize("limit", [20, 2000])
def test_no_trickle_goes_on_where_we_had_our_share_ourselves(limit: int) -> None:
    """What is left then is the others', and where they had it, half of what is left is still ours."""
    ours, theirs = (limiter_after(quota(limit, limit, 86_400.0), share=0.5) for _ in range(2))
    for _ in range(limit // 2):
        ours.sent(1.0)
    for left in range(limit - 1, limit // 2 - 1, -1):
        ours.answered(1.1, sent_at=1.0, status=200, report=quota(limit, left, 86_398.9))
    assert ours.delay(1.1) == pytest.approx(LONGEST_GAP_SECONDS - 0.1)
    theirs.sent(1.0)
    theirs.answered(1.1, sent_at=1.0, status=200, report=quota(limit, limit // 2, 86_398.9))
    assert theirs.delay(1.1) == pytest.approx(min(86_400 / (limit / 4), LONGEST_GAP_SECONDS) - 0.1)


def test_a_quota_that_others_have_used_up_is_a_shortage_until_its_reset() -> None:
    limiter = limiter_after(quota(60, 60, 60.0), share=0.8)
    assert limiter.shortage(0.0) is None
    limiter.sent(1.0)
    limiter.answered(1.1, sent_at=1.0, status=200, report=quota(60, 3, 58.9))
    assert limiter.shortage(2.0) == Shortage(1.0, "others have used 56 of 60 requests")
    assert limiter.shortage(50.0) == Shortage(1.0, "others have used 56 of 60 requests")
    assert limiter.shortage(60.1) is None


def test_a_quota_that_we_have_used_up_is_no_shortage() -> None:
    limiter = limiter_after(quota(60, 60, 60.0), share=0.8)
    for number in range(48):
        limiter.sent(1.0 + number)
        limiter.answered(1.1 + number, sent_at=1.0 + number, status=200, report=quota(60, 59 - number, 58.9 - number))
    assert limiter.delay(49.0) > SHORTAGE_SECONDS
    assert limiter.shortage(49.0) is None


def test_a_long_pause_after_a_refusal_without_a_quota_is_a_shortage() -> None:
    limiter = limiter_after()
    limiter.sent(1.0)
    limiter.answered(1.1, sent_at=1.0, status=429, report=RateLimitReport((), retry_after=9.0))
    assert limiter.delay(2.0) == pytest.approx(8.1)
    assert limiter.shortage(2.0) is None, "it is too short"
    limiter.sent(10.2)
    limiter.answered(10.3, sent_at=10.2, status=429, report=RateLimitReport((), retry_after=30.0))
    why = "429: the API doesn't say who has used its limit"
    assert limiter.shortage(11.0) == Shortage(10.2, why)


def test_when_a_request_may_go_out_there_is_no_shortage_however_long_none_has() -> None:
    limiter = limiter_after(quota(1000, 150, 3_600.0), share=0.8)
    assert limiter.shortage(5.0) is not None
    assert limiter.delay(100.0) == 0.0
    assert limiter.shortage(100.0) is None


def test_an_answer_that_never_comes_is_no_shortage() -> None:
    limiter = RateLimiter(requests_per_second=0, share=0.8)
    limiter.sent(1.0)
    limiter.answered(1.1, sent_at=1.0, status=429, report=NOTHING_REPORTED)
    limiter.sent(2.0)
    assert limiter.delay(100.0) == math.inf
    assert limiter.shortage(100.0) is None


def test_a_new_window_brings_us_our_share_again() -> None:
    limiter = limiter_after(quota(2000, 2000, 86_400.0), share=0.5)
    for _ in range(1000):
        limiter.sent(1.0)
    for _ in range(1000):
        limiter.answered(1.1, sent_at=1.0, status=200, report=quota(2000, 1000, 86_398.9))
    limiter.delay(86_400.0)
    limiter.sent(86_400.0)
    limiter.answered(86_400.1, sent_at=86_400.0, status=200, report=quota(2000, 1000, 86_399.9))
    assert limiter.delay(86_400.1) == pytest.approx(86_400 / 500 - 0.1)


def test_a_limit_that_the_server_changes_is_followed() -> None:
    """Its reserve at once, and the size of the next windows."""
    limiter = limiter_after(quota(600, 100, 60.0), share=0.8)
    assert limiter.delay(0.0) > 10, "less is left than the reserve of 600"
    limiter.sent(0.0)
    limiter.answered(0.1, sent_at=0.0, status=200, report=quota(100, 80, 60.0))
    assert rate(limiter, 0.1) == pytest.approx(60 / 59.9)
    assert rate(limiter, 60.1) == pytest.approx(80 / 60)


def test_the_last_requests_of_a_quota_are_not_sent_while_others_are_in_flight() -> None:
    """Each in flight may be one that is not subtracted yet, also when the trickle would allow one more."""
    limiter = limiter_after(quota(1000, 1, 43_200.0), share=0.8)
    limiter.sent(7_200.0)
    assert limiter.delay(14_000.0) == pytest.approx(400.0)


def test_a_value_however_wrong_does_not_stop_us_for_good() -> None:
    limiter = limiter_after(quota(600, 0, 86_400.0))
    assert limiter.delay(0.0) == pytest.approx(LONGEST_GAP_SECONDS, abs=1)
    limiter.sent(7_200.0)
    limiter.answered(7_200.1, sent_at=7_200.0, status=200, report=quota(600, 599, 60.0))
    assert rate(limiter, 7_200.1) == pytest.approx(599 / 60)


@pytest.mark.parametrize("limit", [1, 2, 4])
def test_a_share_of_a_small_quota_is_not_nothing(limit: int) -> None:
    assert send_all(limiter_after(quota(limit, limit, 60.0), share=0.8), 0.0) == 1


def test_late_answers_only_lower_what_remains() -> None:
    limiter = limiter_after(quota(600, 300, 60.0))
    limiter.sent(0.0)
    limiter.sent(0.1)
    limiter.answered(0.3, sent_at=0.1, status=200, report=quota(600, 290, 59.7))
    limiter.answered(0.4, sent_at=0.0, status=200, report=quota(600, 291, 59.6))
    assert rate(limiter, 0.4) == pytest.approx(290 / 59.6)


def test_the_last_answer_of_a_window_does_not_change_the_next() -> None:
    limiter = limiter_after(quota(600, 5, 1.0))
    limiter.sent(0.9)
    assert rate(limiter, 1.0) == pytest.approx(599 / 1.0)
    limiter.delay(1.0)
    limiter.answered(1.1, sent_at=0.9, status=200, report=quota(600, 4, 1.0))
    assert rate(limiter, 1.1) == pytest.approx(600 / 0.9)


def test_a_window_that_ends_early_or_grows_is_noticed() -> None:
    limiter = limiter_after(quota(600, 5, 3000.0))
    limiter.sent(700.0)
    limiter.answered(700.1, sent_at=700.0, status=200, report=quota(6000, 5999, 60.0))
    assert rate(limiter, 700.1) == pytest.approx(5999 / 60)


def test_a_reset_in_whole_seconds_is_taken_at_its_earliest() -> None:
    limiter = limiter_after(quota(600, 300, 60.0))
    limiter.sent(0.9)
    limiter.answered(0.95, sent_at=0.9, status=200, report=quota(600, 299, 60.0))
    limiter.sent(1.0)
    assert rate(limiter, 1.0) == pytest.approx(298 / 59)


def test_a_quota_that_is_no_longer_reported_ends_with_its_window() -> None:
    limiter = limiter_after(quota(600, 0, 60.0))
    limiter.delay(61.0)
    limiter.sent(61.0)
    limiter.answered(61.1, sent_at=61.0, status=502, report=NOTHING_REPORTED)
    assert rate(limiter, 61.1) == pytest.approx(600 / 59.9)
    limiter.sent(62.0)
    limiter.answered(62.1, sent_at=62.0, status=200, report=NOTHING_REPORTED)
    assert rate(limiter, 62.1) is None


def test_a_quota_that_is_no_longer_reported_beside_others_ends_with_its_window_too() -> None:
    limiter = limiter_after(RateLimitReport((ReportedQuota("a", 300, 0, 60.0), ReportedQuota("b", 600, 600, 60.0))))
    limiter.delay(61.0)
    limiter.sent(61.0)
    limiter.answered(61.1, sent_at=61.0, status=200, report=RateLimitReport((ReportedQuota("b", 600, 599, 60.0),)))
    assert rate(limiter, 61.1) == pytest.approx(599 / 60)


def test_quotas_of_ever_new_names_are_not_all_kept_nor_shown_by_name() -> None:
    limiter, shown = limiter_after(), set()
    for number in range(100):
        limiter.sent(1.0)
        report = RateLimitReport((ReportedQuota(f"{number}", 600, 600 - number, 3_600.0),))
        limiter.answered(1.0, sent_at=1.0, status=200, report=report)
        shown |= {each.name for each in limiter.quotas(1.0)}
    assert len(limiter._quotas) <= MAX_QUOTAS
    assert shown == {*map(str, range(MOST_NAMES)), OTHER}
    assert rate(limiter, 1.0) == pytest.approx(501 / 3_600)


def test_a_reset_that_was_reported_absurdly_far_once_has_no_lasting_effect() -> None:
    limiter = limiter_after(quota(600, 300, 86_400.0))
    assert limiter.delay(0.0) == 0
    limiter.sent(0.1)
    limiter.answered(0.2, sent_at=0.1, status=200, report=quota(600, 299, 30.0))
    assert rate(limiter, 0.2) == pytest.approx(299 / 30)
    assert rate(limiter, 29.2) == pytest.approx(299 / 1.5)


def test_every_reported_quota_is_obeyed() -> None:
    minute, hour = ReportedQuota("minute", 600, 600, 60.0), ReportedQuota("hour", 10000, 360, 3600.0)
    assert rate(limiter_after(RateLimitReport((minute, hour))), 0.0) == pytest.approx(0.1)
    assert rate(limiter_after(RateLimitReport((hour, minute))), 0.0) == pytest.approx(0.1)


def test_a_refusal_pauses_for_as_long_as_the_server_requests_and_then_one_request_goes() -> None:
    limiter = limiter_after()
    assert send_all(limiter, 0.0)
    assert limiter.answered(0.1, sent_at=0.0, status=429, report=RateLimitReport((), 30.0)) == Pause(
        30.0, requested_by_server=True
    )
    assert limiter.delay(0.1) == pytest.approx(30.0)
    assert send_all(limiter, 30.1) == 1
    assert limiter.delay(30.1) == math.inf
    limiter.lost(sent_at=30.1)
    assert send_all(limiter, 35.0) == 1


def test_the_request_after_a_short_pause_keeps_to_our_own_rate() -> None:
    """The pause alone would let it go a quarter of a second after the one that was refused."""
    limiter = RateLimiter(requests_per_second=2, share=1.0)
    assert send_all(limiter, 0.0) == 1
    pause = limiter.answered(0.0, sent_at=0.0, status=429, report=NOTHING_REPORTED)
    assert pause == Pause(FIRST_BACKOFF_SECONDS, requested_by_server=False)
    assert limiter.delay(FIRST_BACKOFF_SECONDS) > 0
    assert limiter.delay(0.499) > 0
    assert limiter.delay(2.0) == 0  # the pace has been halved by the refusal


def test_refusals_of_what_was_in_flight_are_the_same_event() -> None:
    limiter = limiter_after()
    for _ in range(3):
        limiter.sent(0.0)
    assert limiter.answered(0.1, sent_at=0.0, status=429, report=RateLimitReport((), 1.0)) == Pause(
        1.0, requested_by_server=True
    )
    assert limiter.answered(0.2, sent_at=0.0, status=429, report=RateLimitReport((), 9.0)) is None
    assert limiter.answered(0.3, sent_at=0.0, status=429, report=NOTHING_REPORTED) is None
    assert limiter.delay(0.3) == pytest.approx(8.9)
    limiter.delay(9.2)
    limiter.sent(9.2)
    assert limiter.answered(9.3, sent_at=9.2, status=429, report=NOTHING_REPORTED) == Pause(
        FIRST_BACKOFF_SECONDS * 1.5, requested_by_server=False
    ), "the second event in a row"


def test_where_no_wait_is_requested_pauses_grow_until_one_is_accepted() -> None:
    limiter, now, pauses = limiter_after(), 0.0, []
    for _ in range(30):
        now += limiter.delay(now)
        limiter.sent(now)
        pause = limiter.answered(now, sent_at=now, status=429, report=NOTHING_REPORTED)
        assert pause is not None
        pauses.append(pause.seconds)
    assert pauses[:3] == [FIRST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 1.5, FIRST_BACKOFF_SECONDS * 2.25]
    assert pauses[-1] == LONGEST_BACKOFF_SECONDS
    now += limiter.delay(now)
    limiter.sent(now)
    limiter.answered(now, sent_at=now, status=200, report=NOTHING_REPORTED)
    now += limiter.delay(now)
    limiter.sent(now)
    assert limiter.answered(now, sent_at=now, status=429, report=NOTHING_REPORTED) == Pause(
        FIRST_BACKOFF_SECONDS, requested_by_server=False
    )


def test_a_refusal_that_a_reported_quota_explains_does_not_slow_us_down() -> None:
    limiter = limiter_after()
    limiter.sent(1.0)
    limiter.answered(1.0, sent_at=1.0, status=429, report=quota(600, 0, 30.0))
    assert limiter.delay(31.0) == 0
    limiter.sent(31.0)
    limiter.answered(31.1, sent_at=31.0, status=200, report=NOTHING_REPORTED)
    assert rate(limiter, 31.1) is None
