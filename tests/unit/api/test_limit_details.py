"""The limits, value by value: what the simulated servers of the other tests are too coarse to show."""

from __future__ import annotations

import math

import pytest

from asset_worker.api.limits.limiter import (
    BACKOFF_GROWTH,
    FIRST_BACKOFF_SECONDS,
    LARGEST_BURST,
    SLOW_ANSWER_SECONDS,
    Pause,
    RateLimiter,
    Shortage,
)
from asset_worker.api.limits.pauses import FIRST_STRIKES
from asset_worker.api.limits.rate_limit_headers import MAX_QUOTAS, NOTHING_REPORTED, RateLimitReport, ReportedQuota
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

    def test_above_a_hundred_requests_in_flight_there_is_no_limit_any_more(self):
        limiter = RateLimiter(requests_per_second=0, share=1.0)
        for _ in range(99):
            answer(limiter, 0.0)
        assert most_at_once(limiter, 1.0) == 100
        limiter.answered(2.0, sent_at=1.0, status=200, report=NOTHING_REPORTED)
        assert most_at_once(limiter, 2.0) == 1000

    def test_the_wait_for_our_own_rate_is_what_is_missing_from_a_whole_request(self):
        limiter = RateLimiter(requests_per_second=2, share=1.0)
        for now in (0.0, 10.0):
            assert limiter.delay(now) == 0
            answer(limiter, now)
        assert limiter.delay(10.0) == pytest.approx(0.5)
        assert limiter.delay(10.375) == pytest.approx(0.125)

    @pytest.mark.parametrize(
        ("per_second", "wait", "then"),
        [
            pytest.param(20, 5.0, 0.0, id="a long pause: at once"),
            pytest.param(0.1, 2.0, 3.0, id="a short one: ten seconds after the request before"),
        ],
    )
    def test_the_request_after_a_pause_goes_when_our_own_rate_allows_it(self, per_second, wait, then):
        limiter = RateLimiter(requests_per_second=per_second, share=1.0)
        assert limiter.delay(0.0) == 0
        limiter.sent(0.0)
        limiter.answered(5.0, sent_at=0.0, status=429, report=asked(wait))
        assert limiter.delay(5.0) == pytest.approx(wait)
        assert limiter.delay(5.0 + wait) == pytest.approx(then)

    @pytest.mark.parametrize(
        ("refusals", "per_second"),
        [
            pytest.param([()], 53 / 20, id="no quota is reported"),
            pytest.param([(9,)], 53 / 20, id="it is not spent"),
            pytest.param([(0, 9)], None, id="one of two is spent"),
            pytest.param([(0,), ()], None, id="the first in a row decides: it was spent"),
            pytest.param([(), (0,)], 53 / 20, id="the first in a row decides: none was reported"),
        ],
    )
    def test_a_refusal_that_no_spent_quota_explains_sets_the_rate_below_what_was_accepted(self, refusals, per_second):
        """Over the time with the pause in it, because the server's window had it, too: a tenth below, 4 % above."""
        limiter = RateLimiter(requests_per_second=0, share=1.0)
        for fifth in range(52):
            answer(limiter, fifth / 5)
        now, until = 10.4, 20.0
        for number, remaining in enumerate(refusals):
            quotas = [ReportedQuota(f"{index}", 10**6, left, until - now) for index, left in enumerate(remaining)]
            pause = answer(limiter, now, 429, asked(2.0 if number < len(refusals) - 1 else until - now, *quotas))
            assert pause is not None
            now += pause.seconds
        answer(limiter, now)
        expected = 0.0 if per_second is None else 1 / (per_second * 1.04 * 0.9)
        assert limiter.delay(now) == pytest.approx(expected, abs=1e-3)

    def test_which_endpoint_goes_first_after_a_pause(self):
        limiter, first = RateLimiter(requests_per_second=0, share=1.0), []
        for now, status, endpoint in ((0.0, 200, LIST), (1.0, 429, RETRIEVE), (10.0, 200, LIST)):
            answer(limiter, now, status, endpoint=endpoint)
            first.append(limiter.first)
        assert first == [None, LIST, None]

    def test_without_lists_none_goes_first_after_a_pause(self):
        limiter = RateLimiter(requests_per_second=0, share=1.0)
        answer(limiter, 1.0, 429)
        assert limiter.first is None

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
            answer(limiter, now + 6.0, 429, sent_at=now, endpoint=LIST)
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

    def test_a_gap_of_ten_seconds_is_a_shortage_until_its_end(self):
        limiter = RateLimiter(requests_per_second=0, share=1.0)
        answer(limiter, 1.0, 429, asked(10.0))
        why = "429: the API doesn't say who has used its limit"
        assert [limiter.shortage(now) for now in (1.0, 10.5)] == [Shortage(1.0, why)] * 2
        assert limiter.shortage(11.0) is None

    def test_a_gap_that_our_own_rate_makes_is_no_shortage_when_the_pause_has_ended(self):
        limiter = RateLimiter(requests_per_second=0.05, share=1.0)
        assert limiter.delay(0.0) == 0
        answer(limiter, 0.0, 429, asked(10.0))
        assert limiter.shortage(9.9) is not None
        assert limiter.delay(10.0) == pytest.approx(10.0)
        assert limiter.shortage(10.0) is None


class TestAnswersToRequestsFromBeforeAPause:
    """Requests A and B are in flight when A is refused, and all pause. What follows is about B."""

    @pytest.fixture(params=[0.0, 1.0], ids=["sent before the pause", "sent in the instant in which it begins"])
    def sent_at(self, request):
        return request.param

    @pytest.fixture
    def limiter(self, sent_at):
        limiter = RateLimiter(requests_per_second=0, share=1.0)
        for _ in range(5):
            answer(limiter, 0.0)
        limiter.sent(0.0)
        limiter.sent(sent_at)
        pause = limiter.answered(1.0, sent_at=0.0, status=429, report=asked(3.0))
        assert pause == Pause(3.0, requested_by_server=True)
        return limiter

    def test_an_accepted_one_does_not_end_the_slow_start(self, limiter, sent_at):
        assert limiter.answered(2.0, sent_at=sent_at, status=200, report=NOTHING_REPORTED) is None
        assert limiter.delay(2.0) == 2.0
        assert most_at_once(limiter, 4.0) == 1
        assert answer(limiter, 5.0, 429) == Pause(FIRST_BACKOFF_SECONDS * BACKOFF_GROWTH, False), "the second running"

    def test_a_lost_one_lets_no_second_one_out_beside_the_first(self, limiter, sent_at):
        assert most_at_once(limiter, 4.0) == 1
        limiter.lost(sent_at=sent_at)
        assert limiter.delay(5.0) == math.inf
        limiter.lost(sent_at=4.0)
        assert most_at_once(limiter, 5.0) == 1

    def test_a_refused_one_begins_no_pause_of_its_own(self, limiter, sent_at):
        assert limiter.answered(2.0, sent_at=sent_at, status=429, report=asked(1.0)) is None
        assert limiter.delay(2.0) == 2.0
        assert answer(limiter, 4.0, 429) == Pause(FIRST_BACKOFF_SECONDS * BACKOFF_GROWTH, False), "the second running"


class TestWhichQuotasStillExist:
    def reported(self, *names: str, remaining: int = 0) -> RateLimitReport:
        return RateLimitReport(tuple(ReportedQuota(name, 10, remaining, 60.0) for name in names))

    def after(self, *answers: tuple[float, int, RateLimitReport]) -> list[str]:
        limiter = RateLimiter(requests_per_second=0, share=1.0)
        for now, status, report in answers:
            limiter.delay(now)
            answer(limiter, now, status, report)
        return [quota.name for quota in limiter.quotas(answers[-1][0])]

    @pytest.mark.parametrize(
        ("now", "status", "left"),
        [
            pytest.param(59.0, 200, ["a", "b"], id="its window has not ended"),
            pytest.param(60.0, 200, ["b"], id="its window has ended"),
            pytest.param(60.0, 502, ["a", "b"], id="a gateway that fails may leave it out"),
            pytest.param(60.0, 429, ["a", "b"], id="so may a refusal"),
        ],
    )
    def test_one_that_an_answer_leaves_out_counts_until_its_window_ends(self, now, status, left):
        assert self.after((0.0, 200, self.reported("a", "b")), (now, status, self.reported("b"))) == left

    @pytest.mark.parametrize("known", [MAX_QUOTAS, MAX_QUOTAS + 1])
    def test_if_there_are_more_than_an_answer_can_hold_only_those_of_the_latest_are_kept(self, known):
        names = [f"{number}" for number in range(known)]
        answers = [(number / 10, 200, self.reported(name)) for number, name in enumerate(names)]
        assert self.after(*answers) == (names if known == MAX_QUOTAS else names[-1:])


def most_at_once(limiter: RateLimiter, now: float) -> int:
    """Send all that may go out at `now`; return how many these were, 1000 at most."""
    sent = 0
    while limiter.delay(now) == 0 and sent < 1000:
        limiter.sent(now)
        sent += 1
    return sent


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

    def test_a_request_of_the_other_kind_does_not_end_the_wait_for_the_one_that_is_tried(self):
        limiter = limited_alone()
        assert limiter.is_any_alone
        limiter.sent(40.0, LIST)
        limiter.sent(40.1, RETRIEVE)
        assert limiter.paused_alone_for(40.1, LIST) == FIRST_BACKOFF_SECONDS

    def test_a_request_that_was_sent_in_the_instant_in_which_the_pause_began_says_nothing_about_its_end(self):
        limiter = limited_alone()
        for _ in range(3):
            limiter.sent(40.0, LIST)
        assert answer(limiter, 40.0, 429, asked(10.0), sent_at=39.9, endpoint=LIST) == Pause(10.0, True, LIST)
        assert answer(limiter, 41.0, 429, sent_at=40.0, endpoint=LIST) is None
        limiter.sent(60.0, LIST)
        limiter.lost(sent_at=40.0, endpoint=LIST)
        assert limiter.paused_alone_for(60.0, LIST) == FIRST_BACKOFF_SECONDS, "that of second 60 is still tried"

    def test_after_a_common_pause_one_may_be_tried_whatever_became_of_the_one_before(self):
        limiter = limited_alone()
        limiter.sent(40.0, LIST)
        pause = answer(limiter, 41.0, 429)
        assert pause is not None
        assert pause.endpoint is None, "the limit is common after all"
        now = 100.0
        while not limiter.is_limited_alone(LIST):
            now += 10.0
            answer(limiter, now)
            answer(limiter, now + 5.0, 429, endpoint=LIST)
        assert limiter.paused_alone_for(now + 5.0, LIST) == pytest.approx(FIRST_BACKOFF_SECONDS)
        assert limiter.paused_alone_for(now + 6.0, LIST) is None

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


def test_a_burst_is_never_larger_than_ten():
    limiter = RateLimiter(requests_per_second=1e6, share=1.0)
    for now in range(200):
        answer(limiter, float(now))
    assert most_at_once(limiter, 1000.0) == LARGEST_BURST
