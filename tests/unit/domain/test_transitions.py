"""Which steps a document shows, and their events."""

from __future__ import annotations

import json

import pytest

from asset_worker.domain.assets import Done, Expectations, Outcome, WaitFor, asset_from
from asset_worker.domain.events import Stored, Times, completed, heading_of, reached
from asset_worker.domain.renditions import RENDITIONS
from asset_worker.domain.submissions import Options, Submission
from asset_worker.domain.transitions import TRANSITIONS, Transition, steps_shown
from asset_worker.runtime.redaction import Secrets

ID = "6298d673f1090f1100476d4c"
IGNORED = Expectations(wait_for=dict.fromkeys(RENDITIONS, WaitFor.IGNORE))
REQUIRED = Expectations(wait_for=dict.fromkeys(RENDITIONS, WaitFor.REQUIRED))
USUAL = Expectations()


def shown(asset, expectations=USUAL):
    """The steps of an asset: its status, that of hls, that of the thumbnail."""
    status, *others = asset
    renditions = {name: {"status": value} for name, value in zip(("hls", "thumbnail"), others, strict=False) if value}
    return [each.value for each in steps_shown(asset_from({"_id": ID, "status": status, **renditions}), expectations)]


@pytest.mark.parametrize(
    ("asset", "steps"),
    [
        pytest.param(("processing",), [], id="nothing yet"),
        pytest.param(("processing", "pending", "processing"), [], id="renditions that have begun"),
        pytest.param(("processing", "ready"), ["playable"], id="playable before it is ready"),
        pytest.param(("ready",), [], id="nothing awaited"),
        pytest.param(("ready", "processing"), ["processed"], id="ready, and a rendition awaited"),
        pytest.param(("ready", "error"), ["processed"], id="a rendition that failed"),
        pytest.param(("ready", "novel"), ["processed"], id="a status that is not known"),
        pytest.param(("ready", None, "ready"), ["processed", "thumbnail_ready"], id="only a thumbnail"),
        pytest.param(("ready", "ready", "ready"), ["processed", "playable", "thumbnail_ready"], id="all of them"),
        pytest.param(("failed", "ready", "ready"), [], id="none of an asset that failed"),
        pytest.param(("novel", "ready"), ["playable"], id="a status of an asset that is not known"),
    ],
)
def test_the_steps_that_a_document_shows(asset, steps):
    assert shown(asset) == steps


@pytest.mark.parametrize(
    ("asset", "expectations", "steps"),
    [
        pytest.param(("ready", "processing"), IGNORED, [], id="processed needs a rendition that is awaited"),
        pytest.param(("ready", "ready"), IGNORED, ["playable"], id="playable needs none"),
        pytest.param(("ready", None, "ready"), IGNORED, ["thumbnail_ready"], id="nor does a thumbnail"),
        pytest.param(("ready",), REQUIRED, ["processed"], id="one that is required counts before it is shown"),
    ],
)
def test_what_is_awaited_decides_about_processed_alone(asset, expectations, steps):
    assert shown(asset, expectations) == steps


def details(**changes):
    document = {"_id": ID, "status": "ready", "hls": {"status": "processing"}}
    usual = {
        "asset": asset_from(document),
        "completion": 3,
        "times": Times(
            submitted=1795442300.0, seen=1795442400.123, ready=1795442400.123, last_seen_waiting=1795442390.5
        ),
        "polls": 7,
        "source": "https://x/assets",
        "redact": Secrets().redact,
    }
    return usual | changes


SUBMISSION = Submission(ID, "file:/q", 12, Options(metadata={"video": 1}, traceparent="00-1-2-01"))


def test_the_event_of_a_step_is_the_contract_to_the_letter():
    event = reached(SUBMISSION, Transition.PROCESSED, **details())
    assert (event.id, event.outcome) == (f"{ID}.3.processed", None)
    assert json.loads(event.body) == {
        "specversion": "1.0",
        "id": f"{ID}.3.processed",
        "source": "https://x/assets",
        "type": "dev.asset-worker.asset.processed",
        "subject": ID,
        "time": "2026-11-23T14:00:00.123Z",
        "traceparent": "00-1-2-01",
        "datacontenttype": "application/json",
        "data": {
            "asset_id": ID,
            "outcome": None,
            "reason": None,
            "renditions": {"hls": "processing", "thumbnail": None},
            "asset": {"_id": ID, "status": "ready", "hls": {"status": "processing"}},
            "submitted_at": "2026-11-23T13:58:20.000Z",
            "ready_at": "2026-11-23T14:00:00.123Z",
            "completed_at": None,
            "last_seen_waiting_at": "2026-11-23T13:59:50.500Z",
            "polls": 7,
            "submission": {"source": "file:/q:12", "metadata": {"video": 1}},
        },
    }


def test_it_has_the_fields_of_a_completion_in_the_same_order():
    step = json.loads(reached(SUBMISSION, Transition.PLAYABLE, **details()).body)
    end = json.loads(completed(SUBMISSION, Done(Outcome.READY), **details()).body)
    assert [*step] == [*end]
    assert [*step["data"]] == [*end["data"]]


def test_the_type_tells_a_step_from_a_completion():
    step, end = (
        reached(SUBMISSION, Transition.OVERDUE, **details()),
        completed(SUBMISSION, Done(Outcome.TIMED_OUT), **details()),
    )
    assert [heading_of(Stored(1, each.id, each.body)).is_transition for each in (step, end)] == [True, False]
    assert not TRANSITIONS & {each.value for each in Outcome}, "a word would mean two things"
