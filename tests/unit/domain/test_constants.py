"""The values that were chosen for constants and defaults: a test that imports one does not notice that it changes."""

from __future__ import annotations

from asset_worker.domain.assets import Unanswered
from asset_worker.domain.deliveries import LONGEST_RETRY_DELAY, Owed
from asset_worker.domain.events import Stored
from asset_worker.domain.listings import PAGE_LENGTH, NoPage


def test_a_page_is_as_long_as_the_api_allows() -> None:
    assert PAGE_LENGTH == 50


def test_a_retry_plan_may_wait_for_a_month_between_two_attempts() -> None:
    assert LONGEST_RETRY_DELAY == 31 * 24 * 60 * 60


def test_no_wait_was_asked_for_unless_an_answer_asks_for_one() -> None:
    assert (Unanswered("why").retry_after, NoPage("why").retry_after) == (0.0, 0.0)


def test_an_event_that_is_owed_reports_an_end_unless_it_is_said_to_report_a_step() -> None:
    assert not Owed(Stored(1, "e", b"{}"), "a", 0, None, 0.0).is_transition
