"""The rate that is learned from refusals, value by value."""

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

    def test_the_climb_is_slow_near_the_rate_that_was_refused_and_then_faster_and_faster(self):
        """The curve of RFC 9438: 5.2 a second, with a tenth of it as the cube of the time to the climb's end."""
        rate, sent_for, seen = self.refused(accepted=50), 0.0, []
        for second in (0.0, 5.0, 8.0, 12.0, 15.0, 20.0):
            while sent_for < second:
                sent_for += 1 / rate.rate
                rate.accepted()
            seen.append(rate.rate)
        assert seen == pytest.approx([4.68, 5.135, 5.196, 5.204, 5.265, 5.72], abs=0.01)

    def test_after_another_refusal_the_climb_begins_anew(self):
        rate = self.refused(accepted=50)
        for _ in range(60):
            rate.accepted()
        assert rate.rate == pytest.approx(5.2, abs=0.1)
        rate.refused(math.inf)
        rate.recovered(22.0, learn=True)
        rate.accepted()
        assert rate.rate == pytest.approx(5.2 * (1 - DECREASE), abs=0.1), "60 in 12 seconds, less a tenth"

    def test_before_any_refusal_every_rate_is_allowed_however_many_are_accepted(self):
        rate = AdaptiveRate()
        for _ in range(3):
            rate.accepted()
        assert rate.rate == math.inf

    @pytest.mark.parametrize(
        ("idle", "measured"),
        [
            pytest.param(IDLE_SECONDS, 130 / 60, id="a short while counts as time with requests"),
            pytest.param(IDLE_SECONDS + 0.01, 30 / 10, id="a longer one begins the measurement anew"),
        ],
    )
    def test_time_without_requests_to_send_does_not_count(self, idle, measured):
        rate = AdaptiveRate()
        rate.sent(0.0, idle_since=-math.inf)
        for _ in range(100):
            rate.accepted()
        rate.sent(50.0, idle_since=50.0 - idle)
        for _ in range(30):
            rate.accepted()
        rate.refused(math.inf)
        rate.recovered(60.0, learn=True)
        assert rate.rate == pytest.approx(measured * HEADROOM * (1 - DECREASE))

    @pytest.mark.parametrize(("more", "seconds"), [(-0.01, 50.0), (0.01, 10.0)])
    def test_the_gaps_of_a_slow_rate_are_no_time_without_requests(self, more, seconds):
        rate = self.refused(accepted=50)  # 4.68 a second since second 10
        rate.sent(50.0, idle_since=50.0 - (IDLE_SECONDS + 2 / 4.68 + more))
        for _ in range(20):
            rate.accepted()
        rate.refused(math.inf)
        rate.recovered(60.0, learn=True)
        assert rate.rate == pytest.approx(20 / seconds * HEADROOM * (1 - DECREASE))


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
