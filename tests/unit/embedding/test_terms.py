"""What callers ask for: their arguments, checked, and what several of them ask for together."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset_worker.domain.assets import Ages, Asset, Done, Expectations, Missing, WaitFor, assess
from asset_worker.domain.submissions import Options, Submission, expectations_for
from asset_worker.embedding.terms import (
    checked_id,
    checked_ids,
    request_of,
    seconds_in,
    shared_submission,
    terms_of,
)
from asset_worker.intake.lines import DEADLINE_LIMIT

ID = "6298d673f1090f1100476d4c"
DEFAULTS = Expectations(deadline=100, not_found_grace=60)


def terms(defaults=DEFAULTS, redact=lambda data: data, **arguments):
    usual = {"timeout": None, "wait_for": None, "not_found_grace": None, "metadata": None}
    return terms_of(defaults, **(usual | arguments), redact=redact)


def options_of(request):
    assert request.submission.options is not None
    return request.submission.options


@pytest.mark.parametrize(
    ("given_", "seconds"),
    [(5, 5.0), (0.5, 0.5), ("90s", 90.0), ("1h30m", 5400.0), ("7", 7.0), (timedelta(minutes=2), 120.0)],
)
def test_a_duration_is_seconds_a_text_or_a_timedelta(given_, seconds):
    assert terms(timeout=given_).timeout == seconds


@pytest.mark.parametrize("given_", [0, -1, math.nan, "soon", "", timedelta(0), "0s"])
def test_a_timeout_that_is_none_is_refused(given_):
    with pytest.raises(ValueError, match="timeout is"):
        terms(timeout=given_)


def test_a_wait_for_ever_is_one_of_ten_years_and_a_grace_may_be_zero():
    assert seconds_in(math.inf, "timeout") == DEADLINE_LIMIT
    assert terms(not_found_grace=0).not_found_grace == 0.0


@pytest.mark.parametrize(
    ("given_", "match"),
    [
        ({"wait_for": "video"}, "'video': it must be one of asset, hls, thumbnail, all"),
        ({"wait_for": {"sound": "required"}}, "'sound': there are hls, thumbnail"),
        ({"wait_for": {"hls": "yes"}}, "'yes': it must be one of if_requested, required, ignore"),
        ({"metadata": {"text": "x" * 70_000}}, "64 KiB"),
        ({"not_found_grace": -1}, "at least 0"),
    ],
)
def test_an_argument_that_cannot_be_used_is_refused(given_, match):
    with pytest.raises(ValueError, match=match):
        terms(**given_)


@pytest.mark.parametrize(
    ("given_", "match"),
    [
        ({"wait_for": ["hls"]}, "wait_for is .*: it must be one of asset, hls"),
        ({"metadata": "ada"}, "metadata is a str: it must be a mapping"),
        ({"timeout": [1]}, "timeout is .*: it must be seconds"),
        ({"not_found_grace": [1]}, "not_found_grace is .*: it must be seconds"),
    ],
)
def test_an_argument_of_another_type_is_named(given_, match):
    with pytest.raises(TypeError, match=match):
        terms(**given_)


@pytest.mark.parametrize(
    ("given_", "awaited"),
    [
        ("asset", {"hls": "ignore", "thumbnail": "ignore"}),
        ("hls", {"hls": "required", "thumbnail": "ignore"}),
        ({"hls": "required"}, {"hls": "required", "thumbnail": "if_requested"}),
        (None, {"hls": "if_requested", "thumbnail": "if_requested"}),
    ],
)
def test_what_must_be_ready_is_a_word_or_a_mapping(given_, awaited):
    assert options_of(request_of(ID, terms(wait_for=given_), now=5.0)).wait_for == awaited


def test_ids_are_checked_and_each_is_once():
    assert checked_ids(iter([ID, "b", ID]), redact=str) == [ID, "b"]
    with pytest.raises(ValueError, match="'a/b' is not an asset ID"):
        checked_ids([ID, "a/b"], redact=str)
    with pytest.raises(TypeError, match="several"):
        checked_ids(ID, redact=str)
    with pytest.raises(TypeError, match="7 is not an asset ID"):
        checked_ids([7], redact=str)  # type: ignore[list-item]
    with pytest.raises(ValueError, match="the API key") as error:
        checked_id("tlk_SECRET", redact=lambda text: text.replace("tlk_SECRET", "***"))
    assert "tlk" not in str(error.value)


def test_metadata_is_copied_and_redacted():
    mine = {"list": [1, "SECRET"]}
    kept = terms(metadata=mine, redact=lambda data: {"list": [1, "***"]} if data == mine else data).metadata
    assert (kept, mine) == ({"list": [1, "***"]}, {"list": [1, "SECRET"]})
    with pytest.raises(TypeError):
        terms(metadata={"object": object()})


def test_a_wait_that_is_continued_asks_for_what_it_asked_before_with_a_timeout_of_its_own():
    before = Options(metadata={"a": 1}, wait_for={"hls": WaitFor.REQUIRED}, deadline=7.0, not_found_grace=5.0)
    kept = (Submission(ID, "python", 0, before), 40.0)
    request = request_of(ID, terms(), now=1000.0, kept=kept)
    options = options_of(request)
    assert (options.metadata, options.wait_for["hls"], options.not_found_grace) == ({"a": 1}, "required", 5.0)
    assert (request.accepted_at, request.ends_at, options.deadline) == (40.0, 1100.0, 1060.0)
    options = options_of(request_of(ID, terms(wait_for="asset", metadata={}), now=1000.0, kept=kept))
    assert (options.metadata, options.wait_for["hls"]) == ({}, "ignore")


CALLERS = st.builds(
    lambda now, **given_: request_of(ID, terms(**given_), now=now),
    now=st.floats(0, 50),
    timeout=st.floats(0.1, 200),
    not_found_grace=st.none() | st.floats(0, 200),
    wait_for=st.dictionaries(
        st.sampled_from(["hls", "thumbnail"]), st.sampled_from(["ignore", "required", "if_requested"])
    ),
)
OBSERVATIONS = st.one_of(
    st.just(Missing()),
    st.builds(
        lambda status, renditions: Asset(ID, status, renditions, None, None, None, {}),
        st.sampled_from(["processing", "ready", "failed"]),
        st.dictionaries(st.sampled_from(["hls", "thumbnail"]), st.sampled_from(["processing", "ready", "error"])),
    ),
)


@given(requests=st.lists(CALLERS, min_size=1, max_size=4), observation=OBSERVATIONS, now=st.floats(50, 300))
def test_a_shared_wait_is_over_as_soon_as_one_of_the_callers_is_done(requests, observation, now):
    """So each end of one of them is a look that is judged for all."""

    def is_done(submission, accepted_at):
        ages = Ages(accepted=now - accepted_at, ready=0.0)
        return isinstance(assess(observation, expectations_for(submission.options, DEFAULTS), ages), Done)

    accepted_at = min(each.accepted_at for each in requests)
    shared = shared_submission(requests, accepted_at=accepted_at)
    nearly = 1e-6
    for each in requests:
        moments = [each.ends_at, each.gives_up_at]
        if is_done(each.submission, each.accepted_at) and all(abs(now - moment) > nearly for moment in moments):
            assert is_done(shared, accepted_at)
