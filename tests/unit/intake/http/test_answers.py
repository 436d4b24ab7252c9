"""What is answered, as documents."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset_worker.domain.assets import AssetId
from asset_worker.domain.progress import LastSeen, Progress
from asset_worker.domain.states import AssetState, PendingState, SettledState
from asset_worker.domain.submissions import Submission
from asset_worker.intake.http.answers import as_json, error, receipt, shown_state
from asset_worker.intake.http.bodies import Refused
from asset_worker.schedule.forecast import Forecast

SEEN = LastSeen("ready", {"hls": "processing"})
PENDING = PendingState(100.0, 2, Progress(3, last_seen=SEEN, waiting_on=("hls",)), 1.23456)
SETTLED = SettledState(1, "failed", 10.0, 20.0, b'{"id":"a1.1","big":1267650600228229401496703205376}')


def test_a_receipt_says_of_each_item_in_order_what_became_of_it():
    items = [
        Submission("a1", "http", 0),
        Refused(None, "why"),
        Submission("a2", "http", 0),
        Submission("a1", "http", 0),
    ]
    assert json.loads(receipt(items, {AssetId("a1")})) == {
        "accepted": 1,
        "repeated": 2,
        "refused": 1,
        "items": [
            {"asset_id": "a1", "state": "accepted", "reason": None},
            {"asset_id": None, "state": "refused", "reason": "why"},
            {"asset_id": "a2", "state": "repeated", "reason": None},
            {"asset_id": "a1", "state": "repeated", "reason": None},
        ],
    }


@given(st.lists(st.sampled_from(["a", "b", "c", None])), st.sets(st.sampled_from(["a", "b", "c"])))
def test_the_counts_are_those_of_the_items(ids, accepted):
    items = [Refused(None, "why") if each is None else Submission(each, "http", 0) for each in ids]
    found = json.loads(receipt(items, accepted & set(ids)))
    states = [each["state"] for each in found["items"]]
    assert {state: states.count(state) for state in ("accepted", "repeated", "refused")} == {
        name: count for name, count in found.items() if name != "items"
    }
    assert found["accepted"] == len(accepted & set(ids))
    assert found["refused"] == ids.count(None)


def test_an_asset_that_nobody_submitted_is_shown_as_nothing():
    assert shown_state("a1", AssetState(), ahead=0.0) is None


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        pytest.param(
            AssetState(PENDING),
            {
                "state": "pending",
                "accepted_at": "1970-01-01T01:01:40.000Z",
                "polls": 3,
                "waiting_on": ["hls"],
                "last_seen": {"status": "ready", "renditions": {"hls": "processing"}},
                "next_look_in": 1.235,
                "expected_left": None,
                "completions": 0,
                "outcome": None,
                "completed_at": None,
                "event": None,
            },
            id="pending",
        ),
        pytest.param(
            AssetState(PendingState(100.0, 1, Progress(), None)),
            {
                "state": "pending",
                "accepted_at": "1970-01-01T01:01:40.000Z",
                "polls": 0,
                "waiting_on": [],
                "last_seen": None,
                "next_look_in": None,
                "expected_left": None,
                "completions": 0,
                "outcome": None,
                "completed_at": None,
                "event": None,
            },
            id="looked at for the first time just now",
        ),
        pytest.param(
            AssetState(settled=SETTLED),
            {
                "state": "settled",
                "accepted_at": "1970-01-01T01:00:10.000Z",
                "polls": None,
                "waiting_on": None,
                "last_seen": None,
                "next_look_in": None,
                "expected_left": None,
                "completions": 1,
                "outcome": "failed",
                "completed_at": "1970-01-01T01:00:20.000Z",
                "event": {"id": "a1.1", "big": 2**100},
            },
            id="settled",
        ),
        pytest.param(
            AssetState(PENDING, SETTLED),
            {
                "state": "pending",
                "accepted_at": "1970-01-01T01:01:40.000Z",
                "polls": 3,
                "waiting_on": ["hls"],
                "last_seen": {"status": "ready", "renditions": {"hls": "processing"}},
                "next_look_in": 1.235,
                "expected_left": None,
                "completions": 1,
                "outcome": "failed",
                "completed_at": "1970-01-01T01:00:20.000Z",
                "event": {"id": "a1.1", "big": 2**100},
            },
            id="both",
        ),
    ],
)
def test_what_is_known_of_an_asset_is_shown_by_the_wall_clock(state, shown):
    found = shown_state("a1", state, ahead=3600.0)
    assert json.loads(as_json(found)) == {"asset_id": "a1"} | shown


def test_the_time_left_is_shown_in_tenths_of_a_second():
    found = shown_state("a1", AssetState(PENDING), ahead=0.0, left=Forecast(12.345, 67.89))
    assert json.loads(as_json(found))["expected_left"] == {"p50": 12.3, "p90": 67.9}


@pytest.mark.parametrize("event", [None, b"", b"{", b"\xff", b"[" * 100_000])
def test_an_event_that_is_damaged_is_not_shown(event):
    found = shown_state("a1", AssetState(settled=SettledState(1, "ready", 1.0, 2.0, event)), ahead=0.0)
    assert found is not None
    assert found["event"] is None


def test_an_error_controls_no_terminal():
    assert error("x\x1b[31m\u202e") == b'{"error":"x\\u001b[31m\\u202e"}\n'
