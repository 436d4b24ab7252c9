"""Whatever happens in whatever order: never over what is reported, never idle while allowed."""

import math
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from asset_worker.api.limits.limiter import LARGEST_BURST, RateLimiter
from asset_worker.api.limits.rate_limit_headers import LONGEST_RESET_SECONDS, RateLimitReport, ReportedQuota
from asset_worker.api.limits.trickle import LONGEST_GAP_SECONDS, SHORTEST_GAP_SECONDS
from tests.doubles.limited_server import Server, run

QUOTA_STYLES = ["vendor", "ietf counted", "ietf structured"]


@settings(max_examples=60)
@given(
    limit=st.integers(1, 200),
    window=st.integers(2, 3600),
    style=st.sampled_from(QUOTA_STYLES),
    share=st.floats(0.3, 1.0),
    own=st.sampled_from([0.0, 10.0]),
    concurrency=st.integers(1, 40),
    aligned=st.booleans(),
    clock_off=st.just(0.0) | st.floats(-1e6, 1e6),
    seed=st.integers(0, 1000),
)
def test_alone_with_a_reported_quota_nothing_is_refused_and_the_share_is_kept(
    limit: int,
    window: int,
    style: str,
    share: float,
    own: float,
    concurrency: int,
    aligned: bool,
    clock_off: float,
    seed: int,
) -> None:
    server = Server(limit, window, style, aligned=aligned, clock_off=clock_off)
    limiter = RateLimiter(requests_per_second=own, share=share)
    until = 4.0 * window
    outcome = run(server, limiter, backlog=10**9, seed=seed, concurrency=concurrency, until=until)
    assert outcome.refused == 0
    ours = limit - math.floor((1 - share) * limit + 1e-6)
    assert outcome.most_in_a_window <= ours


@settings(max_examples=60)
@given(
    limit=st.integers(20, 200),
    window=st.integers(10, 3600),
    style=st.sampled_from(QUOTA_STYLES),
    share=st.floats(0.5, 1.0),
    seed=st.integers(0, 1000),
)
def test_a_reported_quota_is_made_use_of(limit: int, window: int, style: str, share: float, seed: int) -> None:
    server = Server(limit, window, style)
    ours = limit - math.floor((1 - share) * limit + 1e-6)
    concurrency = math.ceil(limit / window) + 20
    outcome = run(
        server, RateLimiter(requests_per_second=0, share=share), backlog=ours * 3, seed=seed, concurrency=concurrency
    )
    assert outcome.seconds <= 1.3 * 3 * window


@settings(max_examples=60)
@given(
    limit=st.integers(8, 2000),
    window=st.integers(2, 86_400),
    style=st.sampled_from(QUOTA_STYLES),
    share=st.floats(0.5, 1.0),
    used=st.floats(0.0, 1.0),
)
def test_a_quarter_of_what_is_ours_is_had_at_once(
    limit: int, window: int, style: str, share: float, used: float
) -> None:
    ours = limit - math.floor((1 - share) * limit + 1e-6)
    server = Server(limit, window, style, begins=0.0, used=math.floor(ours * used))
    if (backlog := (ours - server.used) // 4) < 1:
        return
    limiter = RateLimiter(requests_per_second=10, share=share)
    outcome = run(server, limiter, backlog=backlog, concurrency=1000, latency=(0.02, 0.02))
    assert outcome.refused == 0
    assert outcome.seconds <= backlog / 10 + 1.0


@settings(max_examples=60)
@given(rate=st.floats(0.01, 500.0), seconds=st.floats(1.0, 100.0))
def test_our_own_rate_is_neither_exceeded_nor_left_unused(rate: float, seconds: float) -> None:
    seconds += 3 / rate
    limiter = RateLimiter(requests_per_second=rate, share=1.0)
    server = Server(10**9, 1.0, "none")
    outcome = run(server, limiter, backlog=2000, concurrency=1000, until=seconds, latency=(0.0, 0.0), started=0.0)
    spent = min(outcome.seconds, seconds)
    assert outcome.sent <= rate * outcome.seconds + max(1.0, min(rate, LARGEST_BURST)) + 1
    assert outcome.sent >= min(rate * spent - 1, 2000)


def sent_alone(limiter: RateLimiter, report: RateLimitReport, *, count: int) -> list[float]:
    """When requests go out that are answered at once, each with one fewer remaining until the same reset."""
    now, sent_at, (quota,) = 0.0, [], report.quotas
    for number in range(count):
        while (delay := limiter.delay(now)) > 0:
            now += delay
        if now >= quota.reset_in:
            break
        limiter.sent(now)
        sent_at.append(now)
        left, reset_in = quota.remaining - number, quota.reset_in - now
        limiter.answered(
            now, sent_at=now, status=200, report=RateLimitReport((ReportedQuota("q", quota.limit, left, reset_in),))
        )
    return sent_at + [quota.reset_in] * (count - len(sent_at))


@settings(max_examples=200)
@given(
    limit=st.integers(1, 5000),
    reset_in=st.floats(1.0, LONGEST_RESET_SECONDS),
    share=st.floats(0.05, 1.0),
    less=st.floats(0.0, 1.0),
    more=st.floats(0.0, 1.0),
    near_the_reserve=st.booleans(),
)
def test_the_more_is_left_the_sooner_the_next_requests_go_out(
    limit: int, reset_in: float, share: float, less: float, more: float, near_the_reserve: bool
) -> None:
    """No cliff: with more remaining, and all else alike, none of them goes out later."""
    if near_the_reserve:
        reserve = (1 - share) * limit
        lots = [min(max(round(reserve + 10 * part - 5), 0), limit) for part in sorted((less, more))]
    else:
        lots = [round(limit * part) for part in sorted((less, more))]
    of_less, of_more = (
        sent_alone(
            RateLimiter(requests_per_second=0, share=share),
            RateLimitReport((ReportedQuota("q", limit, remaining, reset_in),)),
            count=10,
        )
        for remaining in lots
    )
    assert all(sooner <= later + 1e-6 for sooner, later in zip(of_more, of_less, strict=True))


@settings(max_examples=200)
@given(
    limit=st.integers(2, 3000),
    window=st.integers(60, int(LONGEST_RESET_SECONDS)),
    style=st.sampled_from(QUOTA_STYLES),
    share=st.floats(0.3, 1.0),
    passed=st.floats(0.0, 0.99),
    used=st.floats(0.0, 1.0),
)
def test_half_of_the_reserve_is_left_at_the_reset_and_no_gap_is_longer_than_is_stated(
    limit: int, window: int, style: str, share: float, passed: float, used: float
) -> None:
    """Others have used any part of the quota at any time of its window, when we come and want all there is."""
    reserve = math.floor((1 - share) * limit + 1e-6)
    server = Server(limit, window, style, begins=0.0, used=round(limit * used))
    kept = min(reserve, limit - server.used)
    started = passed * window
    limiter = RateLimiter(requests_per_second=10, share=share)
    outcome = run(server, limiter, backlog=10**9, started=started, until=window - 0.5)
    left = limit - server.used
    # The first request goes before anything is reported; and however little is left, one asks again every two hours.
    assert left >= kept - max(kept / 2, window / LONGEST_GAP_SECONDS) - 1
    if left > 0:
        assert outcome.refused == 0
        ends = [0.0, *outcome.accepted_at, window - 0.5 - started]
        longest = max(after - before for before, after in pairwise(ends))
        assert longest <= LONGEST_GAP_SECONDS + 1
        if share >= 0.5 and used >= share:
            assert longest <= max(2 * (window - started + 1) / left, SHORTEST_GAP_SECONDS) + 1


LONGEST_REPORTED_SECONDS = 1000.0
QUOTAS = st.builds(
    ReportedQuota,
    name=st.sampled_from(["minute", "day"]),
    limit=st.integers(1, 100),
    remaining=st.integers(0, 100),
    reset_in=st.floats(0.1, LONGEST_REPORTED_SECONDS),
    window=st.sampled_from([0.0, 60.0]),
)
ANSWERS = st.builds(RateLimitReport, st.lists(QUOTAS, max_size=2).map(tuple), st.none() | st.floats(0.0, 100.0))


class AnyOrder(RuleBasedStateMachine):
    """Requests, answers of every kind and losses in any order, time passing between them."""

    def __init__(self) -> None:
        super().__init__()
        self.limiter = RateLimiter(requests_per_second=5.0, share=0.8)
        self.now = 0.0
        self.in_flight: list[float] = []
        self.sent_at: list[float] = []
        self.requested_pause_until = 0.0

    @rule(seconds=st.floats(0.0, 50.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def requests_go_out_while_they_may(self) -> None:
        for _ in range(30):
            if self.limiter.delay(self.now) > 0:
                break
            assert self.now >= self.requested_pause_until
            self.limiter.sent(self.now)
            self.in_flight.append(self.now)
            self.sent_at.append(self.now)

    @precondition(lambda self: self.in_flight)
    @rule(which=st.integers(0, 100), status=st.sampled_from([200, 200, 404, 429, 500]), report=ANSWERS)
    def an_answer_comes(self, which: int, status: int, report: RateLimitReport) -> None:
        sent_at = self.in_flight.pop(which % len(self.in_flight))
        self.limiter.answered(self.now, sent_at=sent_at, status=status, report=report)
        if status == 429:
            self.requested_pause_until = max(
                self.requested_pause_until, self.now + (report.requested_wait or 0.0) - 1e-6
            )

    @precondition(lambda self: self.in_flight)
    @rule(which=st.integers(0, 100))
    def a_request_is_lost(self, which: int) -> None:
        self.limiter.lost(sent_at=self.in_flight.pop(which % len(self.in_flight)))

    @invariant()
    def a_wait_has_an_end(self) -> None:
        delay = self.limiter.delay(self.now)
        assert delay >= 0
        assert delay < math.inf or self.in_flight
        assert delay <= LONGEST_RESET_SECONDS or self.in_flight

    @invariant()
    def our_own_rate_is_kept(self) -> None:
        lately = [instant for instant in self.sent_at if instant > self.now - 10.0]
        assert len(lately) <= 10.0 * 5.0 + 5.0 + 1

    def teardown(self) -> None:
        """With nothing in flight a request may go in the end: what is reported bounds how long that takes."""
        for sent_at in self.in_flight:
            self.limiter.lost(sent_at=sent_at)
        began = self.now
        while (delay := self.limiter.delay(self.now)) > 0:
            self.now += max(delay, 1e-4)
            assert self.now - began <= LONGEST_REPORTED_SECONDS + 100.0 + 60.0


AnyOrder.TestCase.settings = settings(max_examples=100, stateful_step_count=30)
TestAnyOrder = AnyOrder.TestCase
