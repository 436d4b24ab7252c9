"""Traces for the parts of a run, if the environment asks for them; `telemetry.tracing` does the work.

Off, nothing of OpenTelemetry is loaded, and no part is watched.
"""

from __future__ import annotations

import importlib.util
import os
import secrets as random_bytes
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import Final

import msgspec

from asset_worker.api.observing import WatchRequest
from asset_worker.api.observing import unwatched as unwatched_request
from asset_worker.domain.assets import Observation
from asset_worker.domain.run_plan import RunPlan
from asset_worker.domain.submissions import Options, Submission
from asset_worker.poller.decide import Defer, Settle
from asset_worker.poller.observing import Observe
from asset_worker.poller.policy import Traced, untraced
from asset_worker.queue.outbox_readers import TRACES
from asset_worker.queue.ports import Lease, QueueEngine
from asset_worker.runtime.clock import Clock
from asset_worker.runtime.log import get_logger
from asset_worker.runtime.redaction import Secrets
from asset_worker.runtime.threads import DaemonThread
from asset_worker.sinks.observing import ReportSend, WatchAttempt, unreported, unwatched
from asset_worker.sinks.ports import AnyOutbox
from asset_worker.telemetry.tracing.activation import activation_of
from asset_worker.telemetry.tracing.calls import CallSpans
from asset_worker.telemetry.tracing.context import AssetTraces
from asset_worker.telemetry.tracing.export import Sender, SpanExport
from asset_worker.telemetry.tracing.looks import SeenChanges
from asset_worker.telemetry.tracing.sampling import sampler_of
from asset_worker.telemetry.tracing.waiting_spans import WaitingSpans

_log = get_logger()

Queue = QueueEngine[AnyOutbox]

_NEEDED: Final = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")
"""What the extra `otel` installs. To find these, no code of OpenTelemetry is run: the packages above have none."""
_SALT_BYTES: Final = 16


def _as_it_is(observe: Observe) -> Observe:
    return observe


class Traces(msgspec.Struct, frozen=True):
    """What watches each part of a run for its traces; by default nothing does."""

    readers: tuple[str, ...] = ()
    """The readers that the outbox keeps events for."""
    watch_attempt: WatchAttempt = unwatched
    """Watches the requests of webhooks."""
    report_send: ReportSend = unreported
    """Watches the deliveries to all other sinks."""
    watch_requests: Callable[[Queue], WatchRequest] = lambda _: unwatched_request
    """Returns what watches the requests about the assets in a queue."""
    watch_looks: Callable[[Observe], Observe] = _as_it_is
    """Returns what watches looks, and calls another observer."""
    traced: Traced = untraced
    """Gives a submission the trace context that its events have."""
    export: Callable[[Queue], AbstractAsyncContextManager[None]] = lambda _: nullcontext()
    """Returns the context in which spans are sent. Its end costs a second at most."""


def make_traces(plan: RunPlan, *, source: str, clock: Clock, secrets: Secrets) -> Traces:
    """Return the traces of a run, as the standard environment variables of OpenTelemetry ask for.

    `source` is that of the events. If somebody asks for traces and can't have them, one warning says why.
    """
    if not plan.may_be_traced:
        return Traces()
    activation = activation_of(os.environ, is_installed=_is_installed)
    if activation.problem is not None:
        _log.warning("traces.off", reason=secrets.redact(activation.problem))
    if not activation.is_on:
        return Traces()
    # The same asset may be waited for again and again by runs that keep no state, and is completed once in each.
    salt = b"" if plan.keeps_state else random_bytes.token_bytes(_SALT_BYTES)
    placing = AssetTraces(source, sampler_of(os.environ), salt)
    changes, waiting = SeenChanges(), WaitingSpans()
    calls = CallSpans(placing, clock, add=waiting.add)

    def watch_looks(observe: Observe) -> Observe:
        def looked(lease: Lease, observation: Observation, step: Settle | Defer) -> None:
            event_id = f"{lease.submission.asset_id}.{lease.completion}"
            changes.looked(event_id, lease.progress.last_seen, step.progress.last_seen, at=clock.now())
            observe(lease, observation, step)

        return looked

    def traced(submission: Submission, completion: int) -> Submission:
        options = submission.options or Options()
        if options.traceparent is not None:
            return submission
        own = placing.place(submission.asset_id, completion, None).context.traceparent
        return msgspec.structs.replace(submission, options=msgspec.structs.replace(options, traceparent=own))

    def export(queue: Queue) -> AbstractAsyncContextManager[None]:
        exporting = SpanExport(
            queue.outbox,
            TRACES,
            traces=placing,
            changes=changes,
            waiting=waiting,
            open_sender=_open_sender,
            thread=DaemonThread("traces"),
            clock=clock,
            redact=secrets.redact,
        )
        return exporting.running()

    return Traces(
        readers=(TRACES,),
        watch_attempt=calls.attempt,
        report_send=calls.sent,
        watch_requests=lambda queue: partial(calls.request, queue),
        watch_looks=watch_looks,
        traced=traced,
        export=export,
    )


def _is_installed() -> bool:
    try:
        return all(importlib.util.find_spec(each) is not None for each in _NEEDED)
    except ImportError:
        return False


def _open_sender() -> Sender:
    from asset_worker.telemetry.tracing.otlp import OtlpSender  # noqa: PLC0415 - it takes half a second, in a thread

    return OtlpSender()
