"""One quota, value by value."""

from __future__ import annotations

import pytest

from asset_worker.api.limits.quota import ROUNDING_SECONDS, Quota
from asset_worker.api.limits.rate_limit_headers import ReportedQuota


class TestQuota:
    def known(self, *, limit: int = 100, remaining: int = 50, reset_in: float = 60.0) -> Quota:
        return Quota(0.0, ReportedQuota("q", limit, remaining, reset_in))

    @pytest.mark.parametrize(
        ("reset_in", "remaining"),
        [
            pytest.param(60.0, 40, id="of this window"),
            pytest.param(29.0 + 0.1, 40, id="more than half of it is left"),
            pytest.param(29.0, 100, id="of the window before"),
        ],
    )
    def test_an_answer_that_was_overtaken_lowers_what_remains_if_it_is_of_this_window(self, reset_in, remaining):
        quota = self.known()
        quota.fill(60.0, 1.0, 0)  # a new window, of which nothing is known
        quota.update(61.0, 55.0, ReportedQuota("q", 100, 40, reset_in))
        assert quota.report("q", 61.0).remaining == remaining

    def test_an_answer_that_was_overtaken_lowers_what_was_reported_in_any_case(self):
        quota = self.known()
        quota.update(10.0, 10.0, ReportedQuota("q", 100, 45, 50.0))
        for remaining, expected in ((40, 40), (48, 40)):
            quota.update(11.0, 5.0, ReportedQuota("q", 100, remaining, 1.0))
            assert quota.report("q", 11.0).remaining == expected

    def test_of_a_short_window_it_is_the_rounding_that_counts(self):
        for reset_in, remaining in ((ROUNDING_SECONDS + 0.1, 40), (ROUNDING_SECONDS - 0.1, 100)):
            quota = self.known(reset_in=2.0)
            quota.fill(2.0, 1.0, 0)
            quota.update(2.0, 1.0, ReportedQuota("q", 100, 40, reset_in))
            assert quota.report("q", 2.0).remaining == remaining

    def test_from_the_reset_on_all_of_it_remains(self):
        quota = self.known(reset_in=60.04)
        assert (quota.report("q", 0.0).remaining, quota.report("q", 0.0).resets_in) == (50, 60.0)
        assert quota.report("q", 60.04).remaining == 100

    def test_others_have_used_it_if_none_is_left_to_us_that_we_have_not_had(self):
        quota = self.known(limit=10, remaining=0)
        assert quota.used_by_others(1.0) == "others have used 10 of 10 requests"
        for _ in range(8):
            quota.sent()
        assert quota.used_by_others(1.0) == "others have used 2 of 10 requests"
        quota.sent()
        assert quota.used_by_others(1.0) is None, "nine of ten were ours"
        assert self.known(limit=10, remaining=1).used_by_others(1.0) is None, "one is left to us"
        half = self.known(limit=10, remaining=5)
        assert half.used_by_others(0.5) == "others have used 5 of 10 requests", "those left are the others'"
        for _ in range(5):
            half.sent()
        assert half.used_by_others(0.5) is None, "we have had our half"

    @pytest.mark.parametrize(
        ("remaining", "reset_in", "resets_in"),
        [
            pytest.param(49, 51.4, 50.0, id="resets are rounded up, so the earliest is the most exact"),
            pytest.param(49, 51.5, 51.5, id="later by more than rounding"),
            pytest.param(49, 49.0, 49.0, id="earlier"),
            pytest.param(50, 51.0, 51.0, id="nothing was spent, so the window moves"),
            pytest.param(51, 51.0, 51.0, id="more remains, so the window moves"),
        ],
    )
    def test_which_reset_counts_of_two(self, remaining, reset_in, resets_in):
        quota = self.known(reset_in=60.0)
        quota.update(10.0, 10.0, ReportedQuota("q", 100, remaining, reset_in))
        assert quota.report("q", 10.0).resets_in == resets_in

    @pytest.mark.parametrize(
        ("reset_in", "limit", "length"),
        [
            pytest.param(0.5, 100, 0.5, id="the reset was reported wrong, and so was the length"),
            pytest.param(3598.4, 100, 3598.4, id="nearer by more than rounding"),
            pytest.param(3598.5, 100, 3600.0, id="rounding explains it"),
            pytest.param(0.5, 99, 0.5, id="another limit: another window"),
        ],
    )
    def test_the_next_window_is_as_long_as_this_one_was_known_to_be(self, reset_in, limit, length):
        quota = self.known(reset_in=3600.0)
        quota.update(0.0, 0.0, ReportedQuota("q", limit, 50, reset_in))
        quota.fill(reset_in, 1.0, 0)
        assert quota.report("q", reset_in).resets_in == pytest.approx(length, abs=0.051)

    def test_a_window_may_be_shorter_than_a_second(self):
        for limit in (100, 99):
            quota = self.known(reset_in=0.5)
            quota.update(0.0, 0.0, ReportedQuota("q", limit, 50, 0.5))
            quota.fill(0.5, 1.0, 0)
            assert (quota.report("q", 0.5).limit, quota.report("q", 0.5).resets_in) == (limit, 0.5)

    def test_a_server_that_rounds_resets_down_is_given_another_second_from_then_on(self):
        quota = Quota(0.0, ReportedQuota("q", 100, 10, 1.0, is_rounded_down=True))
        quota.update(2.0, 2.0, ReportedQuota("q", 100, 90, 10.0))
        assert quota.report("q", 2.0).resets_in == 11.0
        quota.update(20.0, 20.0, ReportedQuota("q", 100, 10, 1.0, is_rounded_down=True))
        assert quota.report("q", 20.0).resets_in == 1.0, "it is already the latest"

    def sent_at_once(self, quota: Quota, now: float) -> int:
        for sent in range(1000):
            quota.fill(now, 1.0, 0)
            if quota.delay(now, 1.0, 0, now) > 0:
                return sent
            quota.sent()
        raise AssertionError("there is no pace")

    def test_a_quarter_may_be_sent_at_once_in_each_window_once_it_is_reported(self):
        quota = self.known(limit=100, remaining=100, reset_in=60.0)
        assert self.sent_at_once(quota, 0.0) == 25
        assert self.sent_at_once(quota, 60.0) == 1, "a new one, of which nothing is known"
        quota.update(60.0, 60.0, ReportedQuota("q", 100, 100, 60.0))
        assert self.sent_at_once(quota, 60.0) == 25
        assert self.sent_at_once(quota, 60.0) == 0, "no time has passed"

    def test_of_a_new_window_nobody_is_said_to_have_used_anything_until_a_request_within_it_is_answered(self):
        """What an overtaken answer shows as used may be our own requests that were in flight at the reset."""
        quota = self.known()
        quota.fill(60.0, 1.0, 0)
        quota.update(61.0, 59.0, ReportedQuota("q", 100, 0, 60.0))
        assert quota.report("q", 61.0).remaining == 0
        assert quota.used_by_others(1.0) is None
        quota.update(62.0, 61.0, ReportedQuota("q", 100, 0, 59.0))
        assert quota.used_by_others(1.0) == "others have used 100 of 100 requests"

    def test_the_wait_for_the_pace_is_what_is_missing_from_a_whole_request(self):
        quota = self.known(limit=100, remaining=4, reset_in=60.0)
        assert self.sent_at_once(quota, 0.0) == 1
        quota.update(0.0, 0.0, ReportedQuota("q", 100, 3, 60.0))
        for now, wait in ((0.0, 60 / 3), (10.0, 0.4 * 50 / 3), (20.0, 0.0)):
            quota.fill(now, 1.0, 0)
            assert quota.delay(now, 1.0, 0, 0.0) == pytest.approx(wait)

    def test_the_last_request_that_is_ours_goes_at_our_pace(self):
        quota = self.known(limit=100, remaining=21, reset_in=60.0)
        quota.fill(0.0, 0.8, 0)
        assert quota.delay(0.0, 0.8, 0, 0.0) == 0.0
        assert quota.delay(0.0, 0.8, 1, 0.0) == 60.0, "it may be in flight"

    def test_while_all_that_is_left_is_in_flight_no_credit_is_saved(self):
        quota = self.known(limit=100, remaining=4, reset_in=60.0)
        assert self.sent_at_once(quota, 0.0) == 1
        quota.fill(30.0, 1.0, 4)
        assert quota.delay(30.0, 1.0, 4, 0.0) == 30.0, "until the reset"
        quota.fill(30.0, 1.0, 0)
        assert quota.delay(30.0, 1.0, 0, 0.0) == pytest.approx(30 / 4)

    def test_the_trickle_counts_from_when_the_window_was_first_known_and_at_most_its_length(self):
        late = Quota(900.0, ReportedQuota("q", 1000, 10, 600.0, window=3600.0))
        assert late.delay(900.0, 0.5, 0, 900.0) == 120.0
        assert late.delay(900.0, 0.5, 2, 900.0) == 150.0, "two requests may not be subtracted yet"
        moving = self.known(limit=1000, remaining=10, reset_in=600.0)
        moving.update(300.0, 300.0, ReportedQuota("q", 1000, 10, 600.0))
        assert moving.delay(300.0, 0.5, 0, 300.0) == 120.0

    def test_the_trickle_takes_no_more_than_our_share_of_the_limit(self):
        quota = self.known(limit=1000, remaining=990, reset_in=600.0)
        for sent, gap in ((5, 120.0), (2, 200.0), (2, 600.0), (1, 600.0)):
            for _ in range(sent):
                quota.sent()
            assert quota.delay(0.0, 0.01, 0, 0.0) == pytest.approx(gap), "the reset comes at 600"

    def test_in_a_new_window_what_was_sent_before_does_not_count(self):
        quota = self.known(limit=10, remaining=0)
        quota.sent()
        quota.fill(60.0, 1.0, 0)
        quota.update(60.0, 60.0, ReportedQuota("q", 10, 0, 60.0))
        assert quota.used_by_others(1.0) == "others have used 10 of 10 requests"

    def test_in_a_new_long_window_the_rest_is_spread_over_an_hour_again(self):
        quota = self.known(limit=1000, remaining=1000, reset_in=40_000.0)
        quota.fill(40_000.0, 1.0, 0)
        quota.sent()
        quota.fill(40_000.0, 1.0, 0)
        assert quota.delay(40_000.0, 1.0, 0, 40_000.0) == pytest.approx(3.6)

    def test_it_is_gone_if_an_answer_from_after_its_window_does_not_report_it(self):
        quota = self.known(reset_in=60.0)
        assert not quota.is_gone(30.0), "its last report counts"
        quota.fill(60.0, 1.0, 0)
        assert not quota.is_gone(59.9), "that request was sent within the window"
        assert quota.is_gone(60.0)
