"""Completion events: the JSON is a contract, pinned here as golden values."""

import json

import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from asset_worker.domain.assets import Done, Outcome, asset_from
from asset_worker.domain.events import Stored, Times, completed, made_at, rejected, timestamp
from asset_worker.domain.instants import seconds_of
from asset_worker.domain.submissions import Options, Rejection, Submission
from asset_worker.runtime.redaction import REDACTED, Secrets

SOURCE = "https://api.twelvelabs.io/v1.3/assets"
ID = "6298d673f1090f1100476d4c"
KEY = 'tlk_0123456789\\"SECRET'
SECRETS = Secrets()
SECRETS.add(KEY)
DOCUMENT = {
    "_id": ID,
    "status": "ready",
    "hls": {"status": "ready"},
    "thumbnail": {"status": "ready"},
    "novelty": "ü\n",
}


def make(options=None, document=DOCUMENT, outcome=Outcome.READY, reason=None):
    return completed(
        Submission(ID, "file:/var/spool/assets", 1234, options),
        Done(outcome, reason),
        asset=document and asset_from(document),
        completion=1,
        times=Times(submitted=1795442300.0, seen=1795442400.123, ready=1795442350.0, last_seen_waiting=1795442390.5),
        polls=7,
        source=SOURCE,
        redact=SECRETS.redact,
    )


@pytest.mark.parametrize(
    "character", ["\x1b", "\x7f", "\x9b", "\u061c", "\u200f", "\u2028", "\u202e", "\u2069"], ids=ascii
)
def test_an_event_means_the_same_without_characters_that_a_terminal_obeys(character):
    evil = f"a\\{character}é"
    made = make(
        Options(metadata={evil: evil}), {"_id": ID, "status": "failed", evil: evil}, Outcome.FAILED, evil
    ).body.decode()
    refused = rejected(Rejection(evil, 7, evil, evil.encode(), "k"), at=1.0, source=SOURCE).body.decode()
    assert made.isprintable()
    assert refused.isprintable()
    data = json.loads(made)["data"]
    assert (data["reason"], data["asset"][evil], data["submission"]["metadata"]) == (evil, evil, {evil: evil})
    assert json.loads(refused)["data"]["line"] == evil


def test_a_completion_event_is_the_contract_to_the_letter():
    event = make(Options(metadata={"video": 12}))
    assert json.loads(event.body) == {
        "specversion": "1.0",
        "id": f"{ID}.1",
        "source": SOURCE,
        "type": "dev.asset-worker.asset.ready",
        "subject": ID,
        "time": "2026-11-23T14:00:00.123Z",
        "datacontenttype": "application/json",
        "data": {
            "asset_id": ID,
            "outcome": "ready",
            "reason": None,
            "renditions": {"hls": "ready", "thumbnail": "ready"},
            "asset": DOCUMENT,
            "submitted_at": "2026-11-23T13:58:20.000Z",
            "ready_at": "2026-11-23T13:59:10.000Z",
            "completed_at": "2026-11-23T14:00:00.123Z",
            "last_seen_waiting_at": "2026-11-23T13:59:50.500Z",
            "polls": 7,
            "submission": {"source": "file:/var/spool/assets:1234", "metadata": {"video": 12}},
        },
    }


def test_an_event_is_one_line():
    assert b"\n" not in make().body


def test_a_key_that_the_api_sends_back_is_in_no_event():
    """However it is written in JSON, and wherever in it."""
    document = DOCUMENT | {KEY: [{"k": f"<{KEY}>"}], "hls": {"status": KEY}}
    event = make(document=document, outcome=Outcome.FAILED, reason=f"no {KEY}")
    data = json.loads(event.body)["data"]
    assert (data["reason"], data["renditions"]["hls"]) == (f"no {REDACTED}", REDACTED)
    assert data["asset"] == DOCUMENT | {REDACTED: [{"k": f"<{REDACTED}>"}], "hls": {"status": REDACTED}}


def test_what_was_never_seen_is_null():
    event = completed(
        Submission(ID, "stdin", 1),
        Done(Outcome.NOT_FOUND, "why"),
        asset=None,
        completion=2,
        times=Times(submitted=0.0, seen=1.0),
        polls=3,
        source=SOURCE,
        redact=SECRETS.redact,
    )
    data = json.loads(event.body)["data"]
    assert event.id == f"{ID}.2"
    assert (data["asset"], data["ready_at"], data["last_seen_waiting_at"]) == (None, None, None)
    assert data["renditions"] == {"hls": None, "thumbnail": None}
    assert data["submission"]["metadata"] == {}


def test_a_rejected_event_is_the_contract_to_the_letter():
    """It has the line, and no subject: there is no asset."""
    event = rejected(Rejection("stdin", 3, "no", b"\xff../..", "k1"), at=1795442400.0, source=SOURCE)
    assert event.id == "rejected.k1"
    assert json.loads(event.body) == {
        "specversion": "1.0",
        "id": "rejected.k1",
        "source": SOURCE,
        "type": "dev.asset-worker.asset.rejected",
        "time": "2026-11-23T14:00:00.000Z",
        "datacontenttype": "application/json",
        "data": {
            "asset_id": None,
            "outcome": "rejected",
            "reason": "no",
            "line": "\ufffd../..",
            "renditions": {"hls": None, "thumbnail": None},
            "asset": None,
            "submitted_at": "2026-11-23T14:00:00.000Z",
            "ready_at": None,
            "completed_at": "2026-11-23T14:00:00.000Z",
            "last_seen_waiting_at": None,
            "polls": 0,
            "submission": {"source": "stdin:3", "metadata": {}},
        },
    }
    assert json.loads(event.body)["data"].keys() - {"line"} == json.loads(make().body)["data"].keys()


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        pytest.param(b"x" * 1024, "x" * 1024, id="ascii"),
        pytest.param(b"x" * 768 + b"-" * 9000 + b"y" * 256, "x" * 768 + "y" * 256, id="both ends of a long one"),
        pytest.param(b"x" * 1022 + "€".encode()[:2], "x" * 1021 + "\ufffd", id="long because a character is cut"),
        pytest.param(b"\xff" * 1024, "\ufffd" * 341, id="no text, which takes more room when it is shown"),
        pytest.param(b"x\xe2\x82", "x\ufffd", id="a whole line that ends within a character"),
        pytest.param(b"0123456789" * 90, "0123456789" * 90, id="shorter than both ends"),
        pytest.param(b"x" * 767 + "€".encode() + b"y" * 254, "x" * 767 + "€" + "y" * 254, id="as long as both ends"),
        pytest.param(b"x" * 1020 + "€€".encode(), "x" * 768 + "x" * 250 + "€€", id="three bytes too many"),
        pytest.param(b"x" * 767 + "€".encode() + b"y" * 300, "x" * 767 + "y" * 256, id="cut within a character"),
    ],
)
def test_a_rejected_line_is_shown_up_to_1_kib(raw, shown):
    event = rejected(Rejection("stdin", 3, "no", raw, "k1"), at=0.0, source=SOURCE)
    assert json.loads(event.body)["data"]["line"] == shown


def test_of_a_line_that_was_never_held_as_a_whole_both_ends_are_shown():
    event = rejected(Rejection("stdin", 3, "no", b"head" * 200, "k1", tail=b"tail" * 5), at=0.0, source=SOURCE)
    data = json.loads(event.body)["data"]
    assert data["line"] == "head" * 192 + "tail" * 5
    assert (data["outcome"], data["polls"], event.outcome) == ("rejected", 0, Outcome.REJECTED)


def test_the_event_carries_its_outcome_for_those_who_count():
    assert make(outcome=Outcome.DEGRADED).outcome is Outcome.DEGRADED


def test_instants_by_another_clock_are_all_shifted_alike():
    assert Times(1.0, 4.0, 2.0, 3.0).shifted(100.0) == Times(101.0, 104.0, 102.0, 103.0)
    assert Times(1.0, 4.0).shifted(-1.0) == Times(0.0, 3.0)


def test_a_stored_event_says_when_it_was_made():
    assert made_at(Stored(1, f"{ID}.1", make().body)) == 1795442400.123
    assert made_at(Stored(1, "x", b"{}")) is None
    assert made_at(Stored(1, "x", b"damaged")) is None


@pytest.mark.parametrize("outcome", list(Outcome))
def test_the_cloudevents_sdk_reads_every_event(outcome):
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    event = make(Options(traceparent=trace), outcome=outcome)
    read = JSONFormat().read(CloudEvent, event.body)
    assert read.get_id() == event.id
    assert read.get_type() == f"dev.asset-worker.asset.{outcome}"
    assert read.get_extension("traceparent") == trace


@pytest.mark.timeout(3600)
@given(
    st.dictionaries(
        st.text(),
        st.recursive(st.none() | st.text() | st.floats(allow_nan=False, allow_infinity=False), st.lists, max_leaves=12),
    )
)
def test_any_metadata_goes_through_unchanged(metadata):
    body = make(Options(metadata=metadata)).body
    assert json.loads(body)["data"]["submission"]["metadata"] == metadata
    assert b"\n" not in body


def test_timestamps_are_utc_to_the_millisecond():
    assert timestamp(0.9996) == "1970-01-01T00:00:00.999Z"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00.000Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z"),
        ("9999-12-31T23:59:59.9999999Z", "9999-12-31T23:59:59.000Z"),
        ("9999-12-31T23:59:59-14:00", "9999-12-31T23:59:59.000Z"),
    ],
)
def test_an_instant_beyond_the_calendar_is_shown_as_its_end(text, shown):
    assert timestamp(seconds_of(text)) == shown
