"""The limits' rules, one by one; instants are told by hand."""

import math

import pytest

from asset_worker.api.limits.limiter import (
    FIRST_BACKOFF_SECONDS,
    LARGEST_BURST,
    LONGEST_BACKOFF_SECONDS,
    LONGEST_GAP_SECONDS,
    SHORTEST_GAP_SECONDS,
    SPENT_AT_ONCE,
    Limits,
    LimitsSnapshot,
    Pause,
    trickle_gap,
)
from asset_worker.api.limits.rate_limit_headers import MOST_QUOTAS, NOTHING, ReportedQuota, Told
from tests.doubles.limited_server import Server, run


def quota(limit: int, remaining: int, reset_in: float) -> Told:
    return Told((ReportedQuota("q", limit, remaining, reset_in),))


def limits_after(told: Told = NOTHING, *, requests_per_second: float = 0, share: float = 1.0) -> Limits:
    """Limits at second 0, released, the last of many answers having told this."""
    limits = Limits(requests_per_second=requests_per_second, share=share)
    for _ in range(100):
        limits.sent(-10.0)
        limits.answered(-9.9, sent_at=-10.0, status=200, told=NOTHING)
    limits.sent(-0.1)
    limits.answered(0.0, sent_at=-0.1, status=200, told=told)
    return limits


def send_all(limits: Limits, now: float) -> int:
    sent = 0
    while limits.delay(now) == 0 and sent < 1000:
        limits.sent(now)
        sent += 1
    return sent


def test_the_first_request_goes_alone_and_accepted_ones_bring_more() -> None:
    limits = Limits(requests_per_second=0, share=1.0)
    sent = []
    for second in range(4):
        sent.append(send_all(limits, second))
        for _ in range(sent[-1]):
            limits.answered(second + 0.1, sent_at=second, status=200, told=NOTHING)
    assert sent == [1, 2, 4, 8]


def test_no_rate_of_our_own_and_nothing_told_is_no_limit() -> None:
    assert send_all(limits_after(), 0.0) == 1000
    assert limits_after().snapshot(0.0) == LimitsSnapshot(rate=None, blocked_until=None, remaining=None)


def test_our_own_rate_lets_a_fifth_of_a_second_be_caught_up_on_and_then_paces() -> None:
    limits = limits_after(requests_per_second=10)
    assert send_all(limits, 20.0) == 2
    assert limits.delay(20.0) == pytest.approx(0.1)
    assert send_all(limits, 20.1) == 1
    assert send_all(limits_after(requests_per_second=100), 20.0) == LARGEST_BURST
    assert send_all(limits_after(requests_per_second=0.1), 20.0) == 1


def test_one_passing_refusal_does_not_slow_us_down_for_long() -> None:
    server, refused = Server(10**9, 1.0, "none"), 0

    def request(now: float, *, is_ours: bool) -> tuple[int, dict[str, str]]:
        nonlocal refused
        refused += 1
        return (429, {"Retry-After": "1"}) if refused == 5 else (200, {})

    server.request = request
    assert run(server, Limits(requests_per_second=10, share=0.8), backlog=100).seconds < 1.6 * (10 + 1)


def test_a_few_refusals_at_the_start_leave_no_gaps_of_seconds() -> None:
    server, asked = Server(10**9, 1.0, "none"), 0

    def request(now: float, *, is_ours: bool) -> tuple[int, dict[str, str]]:
        nonlocal asked
        asked += 1
        return (429, {"Retry-After": "2"}) if asked <= 2 else (200, {})

    server.request = request
    assert run(server, Limits(requests_per_second=10, share=0.8), backlog=5).seconds < 4 + 2


def test_what_remains_is_spread_over_the_time_to_the_reset() -> None:
    limits = limits_after(quota(600, 120, 60.0))
    assert limits.snapshot(0.0).rate == pytest.approx(2.0)
    assert limits.snapshot(30.0).rate == pytest.approx(4.0)


def test_a_part_of_what_remains_may_be_spent_at_once() -> None:
    limits = limits_after(quota(1000, 800, 3600.0))
    assert send_all(limits, 0.0) == SPENT_AT_ONCE * 800
    limits = limits_after(quota(1000, 800, 3600.0), share=0.4)
    assert send_all(limits, 0.0) == SPENT_AT_ONCE * 200


def test_a_days_quota_is_there_when_it_is_needed_and_lasts_until_the_evening() -> None:
    limits = limits_after(quota(10_000, 10_000, 86_400.0))
    assert limits.snapshot(0.0).rate == pytest.approx(10_000 / 4_320)
    assert limits.snapshot(14_400.0).rate == pytest.approx(10_000 / 43_200)
    assert limits.snapshot(43_200.0).rate == pytest.approx(10_000 / 43_200)


def test_the_share_of_the_others_is_kept() -> None:
    limits = limits_after(quota(600, 240, 60.0), share=0.8)
    assert limits.snapshot(0.0).rate == pytest.approx(2.0)


def test_what_others_spend_slows_us_down() -> None:
    limits = limits_after(quota(600, 600, 60.0))
    limits.sent(1.0)
    limits.answered(2.0, sent_at=1.0, status=200, told=quota(600, 58, 58.0))
    assert limits.snapshot(2.0).rate == pytest.approx(1.0)


def test_requests_in_flight_count_as_not_yet_subtracted() -> None:
    limits = limits_after(quota(600, 3, 0.01))
    assert send_all(limits, 0.0) <= 3
    limits = limits_after(quota(4, 3, 0.5))
    sent = sum(send_all(limits, tick / 100) for tick in range(45))
    assert sent == 3
    assert limits.delay(0.45) == pytest.approx(0.05)


def test_a_spent_quota_blocks_until_its_reset_and_is_whole_then() -> None:
    limits = limits_after(quota(600, 0, 60.0))
    assert limits.delay(0.0) == pytest.approx(60.0)
    assert limits.snapshot(0.0) == LimitsSnapshot(rate=0.0, blocked_until=60.0, remaining=0)
    assert limits.delay(60.0) <= 0.1
    assert limits.snapshot(60.0) == LimitsSnapshot(rate=pytest.approx(10.0), blocked_until=None, remaining=600)


@pytest.mark.parametrize(
    ("remaining", "unspent", "known_for", "gap"),
    [
        (200, 800, 86_400.0, 864.0),
        (199, 800, 86_400.0, 86_400.0 / 99.5),
        (200, 50, 86_400.0, 1728.0),
        (200, 0, 86_400.0, LONGEST_GAP_SECONDS),
        (200, -3, 86_400.0, LONGEST_GAP_SECONDS),
        (25, 800, 86_400.0, 6_912.0),
        (24, 800, 86_400.0, LONGEST_GAP_SECONDS),
        (0, 800, 86_400.0, LONGEST_GAP_SECONDS),
        (-2, 800, 86_400.0, LONGEST_GAP_SECONDS),
        (2000, 8000, 86_400.0, 86.4),
        (20_000, 80_000, 86_400.0, SHORTEST_GAP_SECONDS),
        (12, 48, 60.0, SHORTEST_GAP_SECONDS),
    ],
)
def test_the_trickle_is_the_slower_the_less_is_left_of_the_quota_or_of_our_share(
    remaining: int, unspent: int, known_for: float, gap: float
) -> None:
    """Half of what is left in a window, and no more than is ours of it, a minute to two hours apart."""
    assert trickle_gap(remaining=remaining, unspent=unspent, known_for=known_for) == pytest.approx(gap)


def test_where_others_left_us_only_the_reserve_a_trickle_goes_on() -> None:
    """It is counted from the last request, so that a worker that is started again and again takes no more."""
    limits = limits_after(quota(1000, 150, 43_200.0), share=0.8)
    assert limits.delay(0.0) == pytest.approx(43_200 / 75 - 0.1)
    assert limits.snapshot(0.0) == LimitsSnapshot(rate=pytest.approx(75 / 43_200), blocked_until=None, remaining=150)
    assert send_all(limits, 43_200 / 75) == 1


def test_a_pace_that_is_slower_than_the_trickle_does_not_hold_us_up() -> None:
    """With three more than the reserve the pace alone would send the next after twenty minutes."""
    limits = limits_after(quota(1000, 203, 43_200.0), share=0.8)
    assert send_all(limits, 0.0) == 1
    assert limits.delay(0.0) == pytest.approx(43_200 / 101)


def test_no_trickle_goes_on_where_we_had_our_share_ourselves() -> None:
    """What is left then is the others'."""
    limits = limits_after(quota(20, 20, 86_400.0), share=0.5)
    for _ in range(10):
        limits.sent(1.0)
    for left in range(19, 9, -1):
        limits.answered(1.1, sent_at=1.0, status=200, told=quota(20, left, 86_398.9))
    assert limits.delay(1.1) == pytest.approx(LONGEST_GAP_SECONDS - 0.1)


def test_the_last_requests_of_a_quota_are_not_sent_while_others_are_in_flight() -> None:
    """Each in flight may be one that is not subtracted yet, also when the trickle would allow one more."""
    limits = limits_after(quota(1000, 1, 43_200.0), share=0.8)
    limits.sent(7_200.0)
    assert limits.delay(14_000.0) == pytest.approx(400.0)
    assert limits.snapshot(14_000.0).blocked_until == 14_400.0


def test_a_value_however_wrong_does_not_stop_us_for_good() -> None:
    limits = limits_after(quota(600, 0, 86_400.0))
    assert limits.delay(0.0) == pytest.approx(LONGEST_GAP_SECONDS, abs=1)
    limits.sent(7_200.0)
    limits.answered(7_200.1, sent_at=7_200.0, status=200, told=quota(600, 599, 60.0))
    assert limits.snapshot(7_200.1).rate == pytest.approx(599 / 60)


@pytest.mark.parametrize("limit", [1, 2, 4])
def test_a_share_of_a_small_quota_is_not_nothing(limit: int) -> None:
    assert send_all(limits_after(quota(limit, limit, 60.0), share=0.8), 0.0) == 1


def test_late_answers_only_lower_what_remains() -> None:
    limits = limits_after(quota(600, 300, 60.0))
    limits.sent(0.0)
    limits.sent(0.1)
    limits.answered(0.3, sent_at=0.1, status=200, told=quota(600, 290, 59.7))
    limits.answered(0.4, sent_at=0.0, status=200, told=quota(600, 291, 59.6))
    assert limits.snapshot(0.4).remaining == 290


def test_the_last_answer_of_a_window_does_not_spoil_the_next() -> None:
    limits = limits_after(quota(600, 5, 1.0))
    limits.sent(0.9)
    assert limits.snapshot(1.0).remaining == 600
    limits.answered(1.1, sent_at=0.9, status=200, told=quota(600, 4, 1.0))
    assert limits.snapshot(1.1).remaining == 600


def test_a_window_that_ends_early_or_grows_is_noticed() -> None:
    limits = limits_after(quota(600, 5, 3000.0))
    limits.sent(700.0)
    limits.answered(700.1, sent_at=700.0, status=200, told=quota(6000, 5999, 60.0))
    assert limits.snapshot(700.1).rate == pytest.approx(5999 / 60)


def test_a_reset_in_whole_seconds_is_taken_at_its_earliest() -> None:
    limits = limits_after(quota(600, 300, 60.0))
    limits.sent(0.9)
    limits.answered(0.95, sent_at=0.9, status=200, told=quota(600, 299, 60.0))
    limits.sent(1.0)
    assert limits.snapshot(1.0).rate == pytest.approx(298 / 59)


def test_a_quota_that_is_told_no_more_ends_with_its_window() -> None:
    limits = limits_after(quota(600, 0, 60.0))
    limits.delay(61.0)
    limits.sent(61.0)
    limits.answered(61.1, sent_at=61.0, status=502, told=NOTHING)
    assert limits.snapshot(61.1).remaining == 600
    limits.sent(62.0)
    limits.answered(62.1, sent_at=62.0, status=200, told=NOTHING)
    assert limits.snapshot(62.1) == LimitsSnapshot(rate=None, blocked_until=None, remaining=None)


def test_a_quota_that_is_told_no_more_beside_others_ends_with_its_window_too() -> None:
    limits = limits_after(Told((ReportedQuota("a", 600, 0, 60.0), ReportedQuota("b", 600, 600, 60.0))))
    limits.delay(61.0)
    limits.sent(61.0)
    limits.answered(61.1, sent_at=61.0, status=200, told=Told((ReportedQuota("b", 600, 599, 60.0),)))
    assert limits.snapshot(61.1).remaining == 599


def test_quotas_of_ever_new_names_are_not_all_kept() -> None:
    limits = limits_after()
    for number in range(100):
        limits.sent(1.0)
        told = Told((ReportedQuota(f"{number}", 600, 600 - number, 86_400.0),))
        limits.answered(1.0, sent_at=1.0, status=200, told=told)
    assert len(limits._quotas) <= MOST_QUOTAS
    assert limits.snapshot(1.0).remaining == 501


def test_a_reset_that_was_told_absurdly_far_once_has_no_lasting_effect() -> None:
    limits = limits_after(quota(600, 300, 86_400.0))
    assert limits.delay(0.0) == 0
    limits.sent(0.1)
    limits.answered(0.2, sent_at=0.1, status=200, told=quota(600, 299, 30.0))
    assert limits.snapshot(0.2).rate == pytest.approx(299 / 30)
    assert limits.snapshot(29.2).rate == pytest.approx(299 / 1.5)


def test_every_told_quota_is_obeyed() -> None:
    minute, hour = ReportedQuota("minute", 600, 600, 60.0), ReportedQuota("hour", 10000, 36, 3600.0)
    assert limits_after(Told((minute, hour))).snapshot(0.0).rate == pytest.approx(0.01)
    assert limits_after(Told((hour, minute))).snapshot(0.0).rate == pytest.approx(0.01)


def test_a_refusal_pauses_for_as_long_as_is_told_and_then_one_request_goes() -> None:
    limits = limits_after()
    assert send_all(limits, 0.0)
    assert limits.answered(0.1, sent_at=0.0, status=429, told=Told((), 30.0)) == Pause(30.0, told=True)
    assert limits.delay(0.1) == pytest.approx(30.0)
    assert send_all(limits, 30.1) == 1
    assert limits.delay(30.1) == math.inf
    limits.lost(sent_at=30.1)
    assert send_all(limits, 35.0) == 1


def test_refusals_of_what_was_in_flight_are_the_same_event() -> None:
    limits = limits_after()
    for _ in range(3):
        limits.sent(0.0)
    assert limits.answered(0.1, sent_at=0.0, status=429, told=Told((), 1.0)) == Pause(1.0, told=True)
    rate = limits.snapshot(0.1).rate
    assert limits.answered(0.2, sent_at=0.0, status=429, told=Told((), 9.0)) is None
    assert limits.answered(0.3, sent_at=0.0, status=429, told=NOTHING) is None
    assert limits.snapshot(0.3) == LimitsSnapshot(rate=rate, blocked_until=pytest.approx(9.2), remaining=None)


def test_where_no_wait_is_told_pauses_grow_until_one_is_accepted() -> None:
    limits, now, pauses = limits_after(), 0.0, []
    for _ in range(30):
        now += limits.delay(now)
        limits.sent(now)
        pause = limits.answered(now, sent_at=now, status=429, told=NOTHING)
        assert pause is not None
        pauses.append(pause.seconds)
    assert pauses[:3] == [FIRST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 1.5, FIRST_BACKOFF_SECONDS * 2.25]
    assert pauses[-1] == LONGEST_BACKOFF_SECONDS
    now += limits.delay(now)
    limits.sent(now)
    limits.answered(now, sent_at=now, status=200, told=NOTHING)
    now += limits.delay(now)
    limits.sent(now)
    assert limits.answered(now, sent_at=now, status=429, told=NOTHING) == Pause(FIRST_BACKOFF_SECONDS, told=False)


def test_a_refusal_that_a_told_quota_explains_teaches_nothing() -> None:
    limits = limits_after()
    limits.sent(1.0)
    limits.answered(1.0, sent_at=1.0, status=429, told=quota(600, 0, 30.0))
    assert limits.delay(31.0) == 0
    limits.sent(31.0)
    limits.answered(31.1, sent_at=31.0, status=200, told=NOTHING)
    assert limits.snapshot(31.1).rate is None
