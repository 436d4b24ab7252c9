"""Requests, checked by the CloudEvents SDK."""

from __future__ import annotations

import json

import msgspec
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_binary, from_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from asset_worker.domain.assets import AssetId, Done, Outcome
from asset_worker.domain.events import Stored, Times, completed, rejected
from asset_worker.domain.submissions import Options, Rejection, Submission
from asset_worker.sinks.webhook.requests import request_of

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
EVIL = 'x\r\nX-Evil: 1\r\n\r\n{"a":"ä\u2028"}'


def stored(
    metadata: object = None, *, source: str = "https://api.twelvelabs.io/v1.3/assets", trace: str | None = TRACE
):
    options = Options(metadata=metadata, traceparent=trace)
    event = completed(
        Submission(AssetId("6298d673f1090f1100476d4c"), "file:/q", 1, options=options),
        Done(Outcome.READY, None),
        asset=None,
        completion=1,
        times=Times(1.0, 2.0),
        polls=3,
        source=source,
        redact=lambda data: data,
    )
    return Stored(1, event.id, event.body)


def sent(request):
    return HTTPMessage({name.lower(): value for name, value in request.headers.items()}, request.body)


def test_a_structured_request_is_the_event_byte_for_byte():
    event = stored({"title": EVIL})
    request = request_of(event, "structured")
    assert request.body == event.body
    assert request.headers == {"Content-Type": "application/cloudevents+json"}
    found = from_structured(sent(request), JSONFormat())
    assert (found.get_id(), found.get_type()) == (event.id, "dev.asset-worker.asset.ready")


def test_a_binary_request_is_the_same_event():
    event = stored({"title": "t"})
    found = from_binary(sent(request_of(event, "binary")), JSONFormat(), CloudEvent)
    whole = from_structured(sent(request_of(event, "structured")), JSONFormat(), CloudEvent)
    assert found.get_attributes() == whole.get_attributes()
    assert found.get_data() == whole.get_data()
    assert found.get_attributes()["traceparent"] == TRACE


def test_the_headers_of_a_binary_request_are_a_contract():
    event = stored()
    request = request_of(event, "binary")
    assert request.headers == {
        "Content-Type": "application/json",
        "ce-specversion": "1.0",
        "ce-id": "6298d673f1090f1100476d4c.1",
        "ce-source": "https://api.twelvelabs.io/v1.3/assets",
        "ce-type": "dev.asset-worker.asset.ready",
        "ce-subject": "6298d673f1090f1100476d4c",
        "ce-time": "1970-01-01T00:00:02.000Z",
        "ce-traceparent": TRACE,
    }
    assert json.loads(request.body) == json.loads(event.body)["data"]
    assert request.body in event.body


def test_a_rejected_line_has_no_subject():
    event = rejected(Rejection("file:/q", 7, "no ID", EVIL.encode(), "0123abcd"), at=1.0, source="https://x/assets")
    request = request_of(Stored(1, event.id, event.body), "binary")
    assert "ce-subject" not in request.headers
    assert request.headers["ce-id"] == "rejected.0123abcd"


@given(st.text(), st.text(max_size=30))
def test_no_text_of_an_event_makes_a_header(metadata: str, source: str):
    """Whoever submits an asset chooses its metadata; whoever runs the worker, the source."""
    for mode in ("structured", "binary"):
        request = request_of(stored({"t": metadata}, source=f"https://x/{source}"), mode)
        for name, value in request.headers.items():
            assert all("!" <= character <= "~" for character in name + value), (name, value)
    found = from_binary(sent(request), JSONFormat(), CloudEvent)
    assert found.get_source() == f"https://x/{source}"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"id":1}', b"\xff"])
def test_a_damaged_event_has_no_binary_request(body: bytes):
    with pytest.raises(msgspec.DecodeError):
        request_of(Stored(1, "a1.1", body), "binary")


def test_each_attribute_is_a_header_and_what_a_header_may_not_hold_is_percent_encoded():
    """Extensions as well, if they are texts; neither the data nor its type."""
    printable = "".join(map(chr, range(0x20, 0x80)))
    event = msgspec.json.encode(
        {"id": "a.1", "mine": printable, "count": 5, "nothing": None, "datacontenttype": "text/plain", "data": "t"}
    )
    kept = printable.replace("%", "%25").replace(" ", "%20").replace('"', "%22").replace("\x7f", "%7F")
    request = request_of(Stored(1, "a.1", event), "binary")
    assert request.headers == {"Content-Type": "text/plain", "ce-id": "a.1", "ce-mine": kept}
    assert request.body == b'"t"'
