"""What applies of the poller's policy if nothing else is said."""

from __future__ import annotations

from asset_worker.domain.assets import Expectations
from asset_worker.domain.submissions import Options, Submission
from asset_worker.poller.policy import Batching, Policy
from tests.doubles.looks import ID


def redact(text):
    return text


def test_looks_share_lists_of_fifty_with_what_is_due_within_a_second_and_no_new_asset_waits():
    assert Batching() == Batching(limit=50, ahead=1.0, gather=0.0, confirm_all=False)


def test_each_look_is_a_retrieve_no_step_is_reported_and_nothing_past_its_limit_gets_another_chance():
    found = Policy(expectations=Expectations(), source="s", redact=redact, looks_at_once=4)
    assert (found.batching, found.transitions, found.last_look, found.refusal_is_final) == (None, False, 0.0, False)
    submission = Submission(ID, "stdin", 1, Options(traceparent="00-1-2-00"))
    assert found.traced(submission, 1) is submission
