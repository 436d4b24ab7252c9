"""Sends spans by OTLP over HTTP, with OpenTelemetry's exporter: the only module that imports it.

Everything here blocks, and is called in the exporter's own thread. The standard environment variables apply: endpoint,
headers, certificates, compression, timeout, resource.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final

import requests
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace import SpanContext as SdkContext

from asset_worker import __version__
from asset_worker.telemetry.tracing.context import SpanContext
from asset_worker.telemetry.tracing.results import Refused, Result, Sent, Unavailable
from asset_worker.telemetry.tracing.spans import Span

_SERVICE: Final = "asset-worker"
_FINAL: Final = frozenset({400, 413, 415, 422})
"""Answers that say that the spans themselves can't be taken. All others may pass, a refused token as well: what is kept
for them is limited, and the specification's reason not to repeat them, the load, is met by the waits between."""
_UNSENT: Final = Unavailable("no request can be made: check OTEL_EXPORTER_OTLP_ENDPOINT")
_BODY_BYTES: Final = 64 << 10
"""Bytes of an answer that are read, more or less: it says in a sentence which spans were rejected."""
_EXCERPT: Final = 200
"""Characters of a collector's message that are logged."""


class _NotAcceptedError(requests.exceptions.RequestException):
    """The collector has not accepted a request. For the exporter this is no failure that it repeats by itself."""


class _Session(requests.Session):
    """Records how the last request ended. The export repeats it later, and not at once, as OTLPSpanExporter would."""

    def __init__(self) -> None:
        super().__init__()
        self.result: Result = _UNSENT

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        options["stream"] = True
        try:
            response = super().send(request, **options)
            self.result = _result_of(response.status_code, _body_of(response))
        except requests.exceptions.RequestException as error:
            self.result = Unavailable(f"no answer ({_kind_of(error)})")
            raise _NotAcceptedError from error
        if not isinstance(self.result, Sent):
            raise _NotAcceptedError
        return response


class OtlpSender:
    """Sends spans to the collector that the environment names."""

    def __init__(self) -> None:
        """Nothing is sent yet.

        Raises:
            Exception: a variable has a value that can't be used.
        """
        # What the SDK would log is reported by results; and its lines are no JSON.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL + 1)
        self._session = _Session()
        self._exporter = OTLPSpanExporter(session=self._session)
        ours = Resource({SERVICE_NAME: _SERVICE, SERVICE_VERSION: __version__})
        self._resource = Resource.create().merge(ours).merge(OTELResourceDetector().detect())
        self._scope = InstrumentationScope(_SERVICE, __version__)

    def send(self, spans: Sequence[Span]) -> Result:
        """Send spans, once. It ends within the exporter's timeout, unless the answer comes byte by byte."""
        self._session.result = _UNSENT
        self._exporter.export([self._converted(each) for each in spans])
        return self._session.result

    def _converted(self, span: Span) -> ReadableSpan:
        return ReadableSpan(
            span.name,
            context=_context(span.context, is_remote=False),
            parent=None if span.parent is None else _context(span.parent, is_remote=span.parent_is_remote),
            resource=self._resource,
            attributes=span.attributes,
            events=[Event(each.name, each.attributes, each.at) for each in span.events],
            links=[Link(_context(each, is_remote=False)) for each in span.links],
            kind=SpanKind[span.kind.value],
            status=Status(StatusCode.UNSET) if span.error is None else Status(StatusCode.ERROR, span.error),
            start_time=span.start,
            end_time=span.end,
            instrumentation_scope=self._scope,
        )


def _context(context: SpanContext, *, is_remote: bool) -> SdkContext:
    flags = TraceFlags(TraceFlags.SAMPLED if context.is_sampled else TraceFlags.DEFAULT)
    return SdkContext(context.trace_id, context.span_id, is_remote, flags)


def _body_of(response: requests.Response) -> bytes:
    """Return the body of an answer, as far as it is read."""
    body = b""
    for chunk in response.iter_content(_BODY_BYTES):
        body += chunk
        if len(body) > _BODY_BYTES:
            response.close()
            break
    return body


def _result_of(status: int, body: bytes) -> Result:
    """Return what an answer means (OTLP specification 1.5, "OTLP/HTTP Response")."""
    if not 200 <= status < 300:
        reason = f"HTTP {status}"
        return Refused(reason) if status in _FINAL else Unavailable(reason)
    try:
        partial = ExportTraceServiceResponse.FromString(body).partial_success
    except Exception:  # noqa: BLE001 - protobuf's error; the status is what counts
        return Sent()
    return Sent(max(0, partial.rejected_spans), partial.error_message[:_EXCERPT])


def _kind_of(error: Exception) -> str:
    """Return the kind of an error. Its text may show the URL, and a password in it."""
    return type(error).__name__
