"""Makes the request for an event, as the CloudEvents HTTP protocol binding 1.0.2 says. Pure functions."""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import quote

import msgspec

from asset_worker.domain.events import Stored
from asset_worker.sinks.webhook.target import Mode

STRUCTURED_TYPE: Final = "application/cloudevents+json"
_PLAIN: Final = "".join(map(chr, range(0x21, 0x7F))).replace('"', "").replace("%", "")
"""What a header has as it is; all else is percent-encoded (section 3.1.3.2 of the binding)."""
_VISIBLE: Final = re.compile("[!-~]+")


class Request(msgspec.Struct, frozen=True):
    """What is sent for an event, before it is signed."""

    headers: dict[str, str]
    body: bytes
    traceparent: str | None = None
    """The event's, for a header of its own; None: it has none."""


class _Traced(msgspec.Struct, frozen=True):
    traceparent: str | None = None


class _Envelope(msgspec.Struct, frozen=True):
    """The parts of an event that don't become text in a header."""

    data: msgspec.Raw
    datacontenttype: str = "application/json"


_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_traced = msgspec.json.Decoder(_Traced).decode
_decode_attributes = msgspec.json.Decoder(dict[str, Any]).decode


def request_of(event: Stored, mode: Mode) -> Request:
    """Return the request for an event.

    Raises:
        msgspec.DecodeError: the body is not an event: the journal is damaged.
    """
    traceparent = _traceparent_in(event.body)
    if mode == "structured":
        return Request({"Content-Type": STRUCTURED_TYPE}, event.body, traceparent)
    envelope = _decode_envelope(event.body)
    attributes = _decode_attributes(event.body)
    headers = {"Content-Type": envelope.datacontenttype}
    for name, value in attributes.items():
        if name not in {"data", "datacontenttype"} and isinstance(value, str):
            headers[f"ce-{name}"] = quote(value, safe=_PLAIN)
    return Request(headers, bytes(envelope.data), traceparent)


def _traceparent_in(body: bytes) -> str | None:
    try:
        traceparent = _decode_traced(body).traceparent
    except msgspec.DecodeError:
        return None
    return traceparent if traceparent and _VISIBLE.fullmatch(traceparent) else None
