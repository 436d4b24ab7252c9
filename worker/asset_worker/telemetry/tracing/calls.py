"""The spans of requests and deliveries: measured while they are made, and handed to the export when they end."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

from yarl import URL

from asset_worker.domain.assets import AssetId
from asset_worker.domain.events import Stored
from asset_worker.domain.states import PendingState
from asset_worker.runtime.clock import Clock
from asset_worker.telemetry.tracing.context import AssetTraces, SpanContext
from asset_worker.telemetry.tracing.spans import Kind, Span, Value, identity_of, known

RETRIEVE: Final = "GET /assets/{asset_id}"
LIST: Final = "GET /assets"


class PendingLookup(Protocol):
    """The queue, as the spans of requests read it."""

    def pending_state(self, asset_id: AssetId, /) -> PendingState | None:
        """Return what is known of an asset that is pending; None: it is not."""
        ...


class CallSpan:
    """A span that is being measured: a `runtime.calls.Call`."""

    def __init__(self, context: SpanContext, attributes: dict[str, Value | None]) -> None:
        self.context = context
        self.attributes = attributes
        self.error: str | None = None

    @property
    def traceparent(self) -> str | None:
        """The span's context, by which the receiver's spans become its children."""
        return self.context.traceparent

    def answered(self, status: int) -> None:
        """Record the status. 4xx and 5xx are failures (semantic conventions for HTTP clients)."""
        self.attributes["http.response.status_code"] = status
        if status >= 400:
            self.attributes["error.type"] = str(status)
            self.failed(f"HTTP {status}")

    def failed(self, why: str) -> None:
        """Record why it failed. The last reason is the most exact one."""
        self.error = why
        self.attributes.setdefault("error.type", "_OTHER")


class CallSpans:
    """Makes the spans of requests and deliveries."""

    def __init__(self, traces: AssetTraces, clock: Clock, *, add: Callable[[Span], None]) -> None:
        """`add` takes each span that is to be sent."""
        self._traces = traces
        self._clock = clock
        self._add = add

    @contextmanager
    def request(self, queue: PendingLookup, url: URL, asset_ids: Sequence[AssetId]) -> Iterator[CallSpan]:
        """Measure a request. A retrieve belongs to its asset; a list begins a trace, and is linked to its assets."""
        is_retrieve = len(asset_ids) == 1 and not url.query
        contexts = [
            context for each in asset_ids if (context := self._context_of(queue.pending_state(each), each)) is not None
        ]
        attributes: dict[str, Value | None] = {
            **_http_attributes("GET", url),
            "url.template": (RETRIEVE if is_retrieve else LIST).removeprefix("GET "),
            "asset_worker.asset.id": asset_ids[0] if is_retrieve else None,
            "asset_worker.assets": len(asset_ids),
        }
        name, parent = (RETRIEVE, next(iter(contexts), None)) if is_retrieve else (LIST, None)
        with self._measured(name, attributes, parent, Kind.CLIENT, links=() if is_retrieve else contexts) as call:
            yield call

    @contextmanager
    def attempt(self, sink: str, url: URL, event: Stored) -> Iterator[CallSpan]:
        """Measure an attempt to deliver an event by HTTP. It belongs to the event's asset."""
        attributes: dict[str, Value | None] = {**_http_attributes("POST", url), **_event_attributes(sink, event)}
        with self._measured("POST", attributes, self._context_of_event(event), Kind.CLIENT) as call:
            yield call

    def sent(self, sink: str, events: Sequence[Stored], seconds: float, why: str | None) -> None:
        """Make the spans of a delivery to an ordered sink. A failure is shown at the first event, which it holds up."""
        end = round(self._clock.now() * 1e9)
        start = end - round(seconds * 1e9)
        for event in events if why is None else events[:1]:
            attributes = _event_attributes(sink, event) | ({} if why is None else {"error.type": "_OTHER"})
            parent = self._context_of_event(event)
            context = self._context_in(parent)
            self._end(Span("deliver", context, start, end, known(attributes), parent, kind=Kind.PRODUCER, error=why))

    @contextmanager
    def _measured(
        self,
        name: str,
        attributes: dict[str, Value | None],
        parent: SpanContext | None,
        kind: Kind,
        *,
        links: Sequence[SpanContext] = (),
    ) -> Iterator[CallSpan]:
        call = CallSpan(self._context_in(parent), attributes)
        began, clock = self._clock.monotonic(), self._clock
        start = round(clock.now() * 1e9)
        try:
            yield call
        except BaseException as error:
            if "http.response.status_code" not in attributes:
                attributes["error.type"] = type(error).__name__
            call.error = call.error or str(error) or type(error).__name__
            raise
        finally:
            end = start + round((clock.monotonic() - began) * 1e9)
            shown = known(attributes)
            self._end(Span(name, call.context, start, end, shown, parent, kind=kind, links=links, error=call.error))

    def _end(self, span: Span) -> None:
        if span.context.is_sampled:
            self._add(span)

    def _context_of(self, state: PendingState | None, asset_id: AssetId) -> SpanContext | None:
        if state is None:
            return None
        traceparent = None if state.options is None else state.options.traceparent
        return self._traces.place(asset_id, state.completion, traceparent).context

    def _context_of_event(self, event: Stored) -> SpanContext | None:
        identity = identity_of(event)
        return None if identity is None else identity.placed(self._traces).context

    def _context_in(self, parent: SpanContext | None) -> SpanContext:
        span_id = secrets.randbits(64) or 1
        if parent is not None:
            return self._traces.child_of(parent, span_id)
        return self._traces.root(secrets.randbits(128) or 1, span_id)


def _http_attributes(method: str, url: URL) -> dict[str, Value | None]:
    return {
        "http.request.method": method,
        "url.full": str(url.with_user(None).with_fragment(None)),
        "server.address": url.host,
        "server.port": url.port,
    }


def _event_attributes(sink: str, event: Stored) -> dict[str, Value | None]:
    identity = identity_of(event)
    return {
        "asset_worker.sink": sink,
        "asset_worker.asset.id": None if identity is None else identity.asset_id,
        "cloudevents.event_id": event.id,
        "cloudevents.event_source": None if identity is None else identity.source,
        "cloudevents.event_type": None if identity is None else identity.type,
    }
