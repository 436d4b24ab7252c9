"""The limits, value by value: what the simulated servers of the other tests are too coarse to show."""

from __future__ import annotations

import math

import pytest

from asset_worker.api.limits.adaptive_rate import (
    DECREASE,
    FIRST_GUESS,
    HEADROOM,
    IDLE_SECONDS,
    LOWEST_RATE,
    MIN_ACCEPTED,
    SHORTEST_CLIMB_SECONDS,
    AdaptiveRate,
)
from asset_worker.api.limits.limiter import (
    BACKOFF_GROWTH,
    FIRST_BACKOFF_SECONDS,
    LARGEST_BURST,
    SLOW_ANSWER_SECONDS,
    Pause,
    RateLimiter,
    Shortage,
)
from asset_worker.api.limits.pauses import FIRST_STRIKES, Pauses
from asset_worker.api.limits.rate_limit_headers import NOTHING_REPORTED, RateLimitReport, ReportedQuota
from asset_worker.api.subjects import Endpoint

LIST, RETRIEVE = Endpoint.LIST, Endpoint.RETRIEVE


def asked(wait: float | None = None, *quotas: ReportedQuota) -> RateLimitReport:
    return RateLimitReport(quotas, wait)


def answer(
    limiter: RateLimiter,
    now: float,
    status: int = 200,
    report: RateLimitReport = NOTHING_REPORTED,
    *,
    sent_at: float | None = None,
    endpoint: Endpoint = RETRIEVE,
) -> Pause | None:
    """Send a request, and answer it at once, or one that was sent before."""
    if sent_at is None:
        limiter.sent(now, endpoint)
    return limiter.answered(
        now, sent_at=now if sent_at is None else sent_at, status=status, report=report, endpoint=endpoint
    )


def limited_alone() -> RateLimiter:
    """A limiter at second 100, when lists alone have just been paused for the first time, and three are in flight."""
    limiter = RateLimiter(requests_per_second=0, share=1.0)
    for now in (0.0, 1.0):
        answer(limiter, now, endpoint=LIST)
        answer(limiter, now)
    for number in range(FIRST_STRIKES + 1):
        now = 10.0 * (number + 1)
        pause = answer(limiter, now, 429, endpoint=LIST)
        assert pause is not None
        assert (pause.endpoint is LIST) == (number == FIRST_STRIKES)
        answer(limiter, now + 5.0)
    assert limiter.is_limited_alone(LIST)
    return limiter


class TestLimiter:
    def test_nothing_else_goes_out_while_the_first_request_is_in_flight(self):
        limiter = RateLimiter(requests_per_second=0, share=1.0)
        assert limiter.delay(0.0) == 0
        limiter.sent(0.0)
        assert limiter.delay(0.0) == SLOW_ANSWER_SECONDS
        limiter.answered(0.5, sent_at=0.0, status=200, report=NOTHING_REPORTED)
        limiter.sent(0.5)
        assert limiter.delay(0.5) == 0, "the second accepted one brings another"

    def test_after_a_pause_the_rate_begins_with_one_request(self):
        limiter = RateLimiter(requests_per_second=20, share=1.0)
        answer(limiter, 0.0)
        pause = answer(limiter, 10.0, 429, asked(5.0))
        assert pause == Pause(5.0, requested_by_server=True)
        answer(limiter, 15.0)
        assert 1 / 20 <= limiter.delay(15.0) <= 1 / 10

    def test_a_wait_as_long_as_our_own_is_the_servers(self):
        limiter = RateLimiter(requests_per_second=0, share=1.0)
        assert answer(limiter, 0.0, 429, asked(FIRST_BACKOFF_SECONDS)) == Pause(FIRST_BACKOFF_SECONDS, True)
        assert limited_alone_pause(FIRST_BACKOFF_SECONDS).requested_by_server
        assert not limited_alone_pause(FIRST_BACKOFF_SECONDS / 2).requested_by_server

    def test_a_refusal_that_is_late_is_no_sign_that_its_endpoint_is_limited_alone(self):
        limiter = RateLimiter(requests_per_second=0, share=1.0)
        for now in (0.0, 1.0):
            answer(limiter, now, endpoint=LIST)
            answer(limiter, now)
        for now in (10.0, 20.0):
            limiter.sent(now, LIST)
            pause = answer(limiter, now, 429, endpoint=LIST)
            assert pause is not None
            assert pause.endpoint is None
            answer(limiter, now + 1.0, 429, sent_at=now, endpoint=LIST)
            answer(limiter, now + 5.0)
        assert not limiter.is_any_alone

    def test_a_shortage_is_none_while_all_depends_on_an_answer(self):
        spent = ReportedQuota("q", 10, 0, 1000.0)
        limiter = RateLimiter(requests_per_second=0, share=1.0)
        answer(limiter, 0.0)
        answer(limiter, 1.0, 429, asked(20.0, spent))
        assert limiter.shortage(5.0) == Shortage(1.0, "others have used 10 of 10 requests")
        limiter.sent(21.0)
        assert limiter.delay(100.0) == math.inf
        assert limiter.shortage(100.0) is None


def limited_alone_pause(wait: float) -> Pause:
    """The pause of lists alone that a refusal starts which asks for this wait."""
    limiter = limited_alone()
    answer(limiter, 99.0, endpoint=LIST)  # the pause is for all again
    for now in (100.0, 110.0, 120.0):
        pause = answer(limiter, now, 429, asked(wait), endpoint=LIST)
        answer(limiter, now + 5.0)
    assert pause is not None
    assert pause.endpoint is LIST
    return pause


class TestOneEndpointAlone:
    def test_one_request_is_tried_and_the_others_wait_for_its_answer(self):
        limiter = limited_alone()
        assert limiter.paused_alone_for(40.0, RETRIEVE) is None
        assert limiter.paused_alone_for(40.0, LIST) is None
        limiter.sent(40.0, LIST)
        assert limiter.paused_alone_for(40.0, LIST) == FIRST_BACKOFF_SECONDS

    def test_when_the_one_that_is_tried_is_lost_another_may_be(self):
        limiter = limited_alone()
        limiter.sent(40.0, LIST)
        limiter.lost(sent_at=40.0, endpoint=RETRIEVE)
        assert limiter.paused_alone_for(41.0, LIST) is not None, "it was a retrieve"
        limiter.lost(sent_at=5.0, endpoint=LIST)
        assert limiter.paused_alone_for(41.0, LIST) is not None, "it was one from before the pause"
        limiter.lost(sent_at=40.0, endpoint=LIST)
        assert limiter.paused_alone_for(41.0, LIST) is None

    def test_each_refusal_makes_its_pause_longer_and_its_end_is_exact(self):
        limiter = limited_alone()
        for number in (1, 2):
            now = 40.0 + number
            pause = answer(limiter, now, 429, endpoint=LIST)
            assert pause == Pause(FIRST_BACKOFF_SECONDS * BACKOFF_GROWTH**number, False, LIST)
            assert limiter.paused_alone_for(now, LIST) == pytest.approx(pause.seconds)
            assert limiter.paused_alone_for(now + pause.seconds, LIST) is None
            assert limiter.delay(now) == 0, "others go on"

    def test_late_refusals_belong_to_the_same_pause_and_can_only_make_it_longer(self):
        limiter = limited_alone()
        for _ in range(2):
            limiter.sent(40.0, LIST)
        first = answer(limiter, 41.0, 429, asked(10.0), endpoint=LIST)
        assert first == Pause(10.0, True, LIST)
        for wait, until in ((2.0, 51.0), (20.0, 62.0)):
            assert answer(limiter, 42.0, 429, asked(wait), sent_at=40.0, endpoint=LIST) is None
            assert limiter.paused_alone_for(42.0, LIST) == until - 42.0
        assert answer(limiter, 70.0, 429, endpoint=LIST) == Pause(
            FIRST_BACKOFF_SECONDS * BACKOFF_GROWTH**2, False, LIST
        )


class TestPauses:
    def alone(self) -> Pauses:
        pauses = Pauses()
        for endpoint in Endpoint:
            pauses.sent(endpoint)
            pauses.answered(endpoint)
        pauses.refused(LIST)
        for _ in range(FIRST_STRIKES):
            pauses.answered(RETRIEVE)
            pauses.refused(LIST)
        assert pauses.alone is LIST
        return pauses

    def test_once_an_endpoint_pauses_alone_none_goes_first(self):
        assert self.alone().first is None

    def test_an_endpoint_that_was_answered_has_to_be_found_limited_anew(self):
        pauses = self.alone()
        pauses.answered(LIST)
        assert pauses.refused(LIST)
        for _ in range(FIRST_STRIKES - 1):
            pauses.answered(RETRIEVE)
            assert pauses.refused(LIST)
        pauses.answered(RETRIEVE)
        assert not pauses.refused(LIST)

    def test_a_refusal_says_nothing_about_an_endpoint_while_the_other_is_not_answered(self):
        pauses = Pauses()
        for endpoint in Endpoint:
            pauses.sent(endpoint)
            pauses.answered(endpoint)
        pauses.refused(RETRIEVE)
        pauses.refused(LIST)  # neither was answered since
        for _ in range(FIRST_STRIKES - 1):
            pauses.answered(RETRIEVE)
            assert pauses.refused(LIST)
        assert pauses.alone is None


class TestAdaptiveRate:
    def refused(self, own_rate: float = math.inf, *, accepted: int = 0, seconds: float = 10.0) -> AdaptiveRate:
        rate = AdaptiveRate()
        rate.sent(0.0, idle_since=-math.inf)
        for _ in range(accepted):
            rate.accepted()
        rate.refused(own_rate)
        rate.recovered(seconds, learn=True)
        return rate

    def test_after_a_refusal_the_rate_is_a_tenth_below_what_was_accepted(self):
        assert self.refused(accepted=50).rate == pytest.approx(5.0 * HEADROOM * (1 - DECREASE))

    def test_it_climbs_back_within_the_time_that_it_lasted(self):
        rate = self.refused(accepted=50)
        sent_for = 0.0
        while sent_for < 10.0:
            sent_for += 1 / rate.rate
            rate.accepted()
        assert rate.rate == pytest.approx(5.0 * HEADROOM, rel=1e-4)

    def test_with_few_accepted_requests_the_rate_is_a_guess_if_one_can_be_made(self):
        guessed = self.refused(20.0, accepted=MIN_ACCEPTED - 1)
        assert guessed.rate == pytest.approx(20.0 * FIRST_GUESS * (1 - DECREASE))
        assert self.refused(accepted=5).rate == pytest.approx(0.5 * HEADROOM * (1 - DECREASE)), "no rate was known"
        assert self.refused(20.0, accepted=MIN_ACCEPTED).rate == pytest.approx(1.0 * HEADROOM * (1 - DECREASE))

    def test_it_is_never_lower_than_one_request_a_minute_and_never_higher_than_what_was_refused(self):
        assert self.refused(accepted=0).rate == pytest.approx(LOWEST_RATE * (1 - DECREASE))
        assert self.refused(2.0, accepted=50).rate == pytest.approx(2.0 * (1 - DECREASE))

    def test_an_event_at_once_counts_as_a_millisecond(self):
        assert self.refused(accepted=20, seconds=0.0).rate == pytest.approx(20_000 * HEADROOM * (1 - DECREASE))

    def test_time_without_requests_to_send_does_not_count(self):
        for idle, counted in ((IDLE_SECONDS + 2 / 4.68 - 0.01, 100 + 50), (IDLE_SECONDS + 2 / 4.68 + 0.01, 50)):
            rate = self.refused(accepted=50)  # 4.68 a second
            assert rate.rate == pytest.approx(4.68)
            for _ in range(100):
                rate._accepted += 1
            rate.sent(50.0, idle_since=50.0 - idle)
            for _ in range(50):
                rate._accepted += 1
            rate.refused(math.inf)
            rate.recovered(60.0, learn=True)
            expected = counted / (50.0 if counted > 50 else 10.0) * HEADROOM
            assert rate.rate == pytest.approx(min(expected, 4.68) * (1 - DECREASE))


def test_a_burst_is_never_larger_than_ten():
    limiter = RateLimiter(requests_per_second=1e6, share=1.0)
    for now in range(200):
        answer(limiter, float(now))
    sent = 0
    while limiter.delay(1000.0) == 0:
        limiter.sent(1000.0)
        sent += 1
    assert sent == LARGEST_BURST


def test_the_climb_takes_three_seconds_at_least():
    rate = AdaptiveRate()
    rate.sent(0.0, idle_since=-math.inf)
    for _ in range(20):
        rate.accepted()
    rate.refused(math.inf)
    rate.recovered(0.1, learn=True)
    sent_for = 0.0
    while sent_for < SHORTEST_CLIMB_SECONDS:
        sent_for += 1 / rate.rate
        rate.accepted()
    assert rate.rate == pytest.approx(200 * HEADROOM, rel=1e-3)
