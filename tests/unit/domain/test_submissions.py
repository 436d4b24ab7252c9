"""What is awaited of a submission with options of its own."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset_worker.domain.assets import Expectations, WaitFor
from asset_worker.domain.submissions import Batch, Options, Submission, expectations_for

DEFAULTS = Expectations(deadline=14_400.0, not_found_grace=60.0, rendition_deadline=3600.0)
SECONDS = st.floats(0.001, 1e6)


def test_without_options_the_settings_apply():
    assert expectations_for(None, DEFAULTS) == DEFAULTS
    assert expectations_for(Options(metadata={"a": 1}), DEFAULTS) == DEFAULTS


def test_options_outweigh_the_settings():
    options = Options(wait_for={"hls": WaitFor.REQUIRED}, deadline=30.0, not_found_grace=10.0)
    found = expectations_for(options, DEFAULTS)
    assert (found.deadline, found.not_found_grace, found.rendition_deadline) == (30.0, 10.0, 3600.0)
    assert found.wait_for == {"hls": "required", "thumbnail": "if_requested"}


@given(SECONDS)
def test_the_deadline_of_the_settings_is_for_the_time_after_a_grace_of_the_submission(grace: float):
    found = expectations_for(Options(not_found_grace=grace), DEFAULTS)
    assert (found.not_found_grace, found.deadline) == (grace, 14_400.0 + grace)


@given(SECONDS, SECONDS)
def test_a_deadline_of_the_submission_is_kept_to_the_second(grace: float, deadline: float):
    assert expectations_for(Options(not_found_grace=grace, deadline=deadline), DEFAULTS).deadline == deadline


@pytest.mark.parametrize(("origin", "is_found"), [("account", True), ("stdin", False), ("http", False)])
def test_only_what_the_account_shows_was_asked_for_by_nobody(origin: str, is_found: bool):
    assert Submission("a", origin, 0).is_found is is_found


def test_the_source_names_the_line_if_there_is_one():
    assert Submission("a", "file:/var/spool/assets", 12).source == "file:/var/spool/assets:12"
    assert Submission("a", "account", 0).source == "account"


def test_an_asset_that_was_settled_is_accepted_again_unless_the_intake_says_otherwise():
    """As a list of the account does, which goes on to show it."""
    assert Batch([], [], "file:q", None).accepts_settled
    assert not Batch([], [], "account", None, accepts_settled=False).accepts_settled


def test_options_of_an_earlier_version_are_read():
    stored = b'{"metadata":{"a":1},"wait_for":{"hls":"ignore"},"deadline":5.0}'
    read = msgspec.json.decode(stored, type=Options)
    assert read == Options(metadata={"a": 1}, wait_for={"hls": WaitFor.IGNORE}, deadline=5.0)
    assert msgspec.json.encode(read) == stored
