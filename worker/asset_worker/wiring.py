"""Builds the parts of a run from the settings and the plan.

One function builds each part; how it behaves is derived from the settings in `policies`. Nothing is started here;
`service` runs what `build` returns.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

import msgspec

from asset_worker import policies
from asset_worker.api.client import AssetsApi
from asset_worker.api.gate import Gate
from asset_worker.api.key import ANY_SOURCE, ApiKey, KeySource, key_source
from asset_worker.api.limits.limiter import RateLimiter
from asset_worker.api.retry import Retries
from asset_worker.api.session import Session, open_session
from asset_worker.credentials import redact_database_password, redact_proxy_password
from asset_worker.domain.inbox import INBOX
from asset_worker.domain.run_plan import RunPlan
from asset_worker.domain.submissions import ACCOUNT_ORIGIN
from asset_worker.intake.account.ports import Account
from asset_worker.intake.http.intake import HttpIntake
from asset_worker.intake.in_turn import IntakeInTurn, Turns
from asset_worker.intake.ingest import Ingest
from asset_worker.intake.ports import Inbox, Intake, IntakeContext
from asset_worker.intake.registry import open_intake
from asset_worker.poller.feedback import Feedback
from asset_worker.poller.foresight import make_time_left
from asset_worker.poller.loop import Poller
from asset_worker.poller.observing import Observe, ignore
from asset_worker.poller.policy import Policy, Traced, untraced
from asset_worker.queue.local.schedule_store import FILE_NAME, load_or_start, save_periodically
from asset_worker.queue.ports import Queue, QueueEngine
from asset_worker.queue.postgres.learning import SharesLearned, share_periodically
from asset_worker.queues import SharesLimits, open_queue
from asset_worker.runtime.clock import Clock
from asset_worker.runtime.paths import is_same_open_file
from asset_worker.runtime.redaction import Secrets
from asset_worker.runtime.stop import Stop
from asset_worker.runtime.threads import DaemonThread
from asset_worker.schedule.adaptive import AdaptiveSchedule
from asset_worker.schedule.forecast import TimeLeft
from asset_worker.schedule.ports import Schedule, never_known
from asset_worker.settings import tree
from asset_worker.settings.tree import Settings
from asset_worker.sinks.delivery import Delivery
from asset_worker.sinks.independent import IndependentDelivery
from asset_worker.sinks.lines import ToLines, lines_of
from asset_worker.sinks.observing import ReportSend, unreported
from asset_worker.sinks.ports import (
    AnyOutbox,
    IndependentSink,
    OrderedSink,
    Outbox,
    Sink,
    SinkContext,
    UnusableTargetError,
)
from asset_worker.sinks.registry import Target, find_problem, open_sink
from asset_worker.telemetry.sources import LoopLag, Sources
from asset_worker.traces import make_traces


class Parts(msgspec.Struct, frozen=True):
    """The parts of one run, built but not started."""

    queue: QueueEngine[AnyOutbox]
    session: Session
    gate: Gate
    retries: Retries
    poller: Poller
    ingest: Ingest
    intakes: Sequence[Intake]
    deliveries: Sequence[Delivery | IndependentDelivery]
    http: HttpIntake | None
    """The one of the intakes that is served on the admin port; None: there is none."""
    time_left: TimeLeft
    """Forecasts how long the wait for a pending asset still lasts."""
    schedule: Schedule
    """When pending assets are looked at again."""
    keep_schedule: Callable[[], Coroutine[Any, Any, None]] | None
    """Saves what the schedule has learned, until cancelled; None: it doesn't learn, or the run keeps no state."""
    traces: AbstractAsyncContextManager[None] = msgspec.field(default_factory=nullcontext)
    """Sends spans within the context."""


@asynccontextmanager
async def build(
    settings: Settings,
    plan: RunPlan,
    *,
    key: ApiKey,
    secrets: Secrets,
    clock: Clock,
    stop: Stop,
    observe: Observe = ignore,
    lines_on_stdout: ToLines = lines_of,
) -> AsyncIterator[Parts]:
    """Build the parts; on exit, close those that hold resources.

    `observe` is called after each look; `lines_on_stdout` is how the sink `-` shows events.

    Raises:
        NoStateDirectoryError: there is no state directory.
        StateDirectoryError: the state directory is in use, or can't be used.
        JournalError: the journal in it can't be used.
        BadProxyError: the environment names a proxy that can't be used.
    """
    async with AsyncExitStack() as stack:
        source = policies.event_source(settings.api)
        traces = make_traces(plan, source=source, clock=clock, secrets=secrets)
        context = SinkContext(clock, secrets, lines_on_stdout, traces.watch_attempt)
        sinks = [open_sink(target, context) for target in settings.events.targets]
        if policies.shares_queue(settings, plan):
            redact_database_password(settings.postgres, secrets)
        queue = await stack.enter_async_context(open_queue(settings, plan, clock, sinks, traces.readers))
        gate, retries = make_gate(settings.limits, clock, key_source(settings.api.key_file)), Retries(stop)
        if isinstance(queue, SharesLimits):
            queue.share_limits(gate)
        redact_proxy_password(settings.api, secrets)
        session = await stack.enter_async_context(
            open_session(settings.api.base_url, total_timeout=settings.api.timeout)
        )
        api = AssetsApi(
            session,
            settings.api.base_url,
            key,
            gate,
            retries,
            redact=secrets.redact,
            watch=traces.watch_requests(queue),
        )
        chosen = make_schedule(settings, plan)
        ingest = Ingest(queue, clock, source=source, secrets=secrets)
        poller = make_poller(
            settings,
            plan,
            queue=queue,
            api=api,
            gate=gate,
            chosen=chosen,
            clock=clock,
            secrets=secrets,
            observe=traces.watch_looks(observe),
            traced=traces.traced,
        )
        deliveries = [
            make_delivery(settings, plan, sink, queue.outbox, clock, report=traces.report_send) for sink in sinks
        ]
        for target, delivery in zip(settings.events.targets, deliveries, strict=True):
            await refuse_unusable(target, queue.outbox, delivery.sink)
            await delivery.check()  # a target that can't be used is known before `/readyz` is served
        intake_context = IntakeContext(
            ingest,
            clock,
            queue.intakes,
            rotated=settings.queue.rotated,
            once=plan.once,
            is_output=output_of(sinks),
            account=make_account(settings, plan, api, poller),
            inbox=queue if isinstance(queue, Inbox) else None,
            partial_wait=settings.queue.partial_wait,
        )
        sources = [*policies.inputs(settings), *([INBOX] if policies.shares_queue(settings, plan) else [])]
        intakes = [make_intake(source, intake_context, queue) for source in sources]
        http = HttpIntake(ingest, stop, endless=not plan.ends_by_itself) if settings.admin.accepts_submissions else None
        yield Parts(
            queue=queue,
            session=session,
            gate=gate,
            retries=retries,
            poller=poller,
            ingest=ingest,
            intakes=[*intakes, *filter(None, [http])],
            http=http,
            deliveries=deliveries,
            time_left=make_time_left(policies.expectations(settings, plan), chosen),
            schedule=chosen,
            keep_schedule=make_schedule_keeper(settings, plan, chosen, queue),
            traces=traces.export(queue),
        )


def make_intake(source: Path | str, context: IntakeContext, queue: object) -> Intake:
    """Return an intake that reads a source. Of a fleet, one worker follows the account at a time."""
    if source == ACCOUNT_ORIGIN and isinstance(queue, Turns):
        return IntakeInTurn(
            ACCOUNT_ORIGIN,
            queue,
            lambda positions: open_intake(source, msgspec.structs.replace(context, positions=positions)),
        )
    return open_intake(source, context)


def make_account(settings: Settings, plan: RunPlan, api: AssetsApi, poller: Poller) -> Account:
    """Return the account of the API key, as it is followed if it is."""
    account = settings.account
    return Account(
        pages=api,
        viewer=poller,
        address=settings.api.base_url,
        interval=account.interval,
        overlap=account.overlap,
        since=policies.account_since(account),
        filters=policies.account_filters(account),
        patience=policies.expectations(settings, plan).unanswered_deadline,
    )


def output_of(sinks: Sequence[Sink]) -> Callable[[int], bool]:
    """Return what says whether this process writes to the file of a descriptor: its events, or its log."""

    def is_output(descriptor: int) -> bool:
        streams = any(is_same_open_file(stream, descriptor) for stream in (1, 2))
        return streams or any(sink.writes_to(descriptor) for sink in sinks)

    return is_output


def make_delivery(
    settings: Settings,
    plan: RunPlan,
    sink: OrderedSink | IndependentSink,
    outbox: AnyOutbox,
    clock: Clock,
    *,
    report: ReportSend = unreported,
) -> Delivery | IndependentDelivery:
    """Return the delivery to a sink. `report` is called after each attempt at an ordered one."""
    if sink.kind == "ordered":
        return Delivery(sink, outbox, clock, report=report)
    return IndependentDelivery(
        sink,
        outbox,
        clock,
        drain_patience=policies.drain_patience(settings, plan),
        last_start=policies.last_start(settings, plan),
    )


async def refuse_unusable(target: Target, outbox: Outbox, sink: str) -> None:
    """Refuse a target that can't be used as it is written, unless it could be in an earlier run.

    If it could, somebody has put a directory in its place: its events wait, and the other sinks go on.

    Raises:
        UnusableTargetError: it can't be used.
    """
    problem = find_problem(target)
    if problem is not None and problem.is_final and await outbox.checkpoint(sink) is None:
        raise UnusableTargetError(f"events can't be sent: {problem.text}")


def make_gate(
    limits: tree.Limits, clock: Clock, source: KeySource = ANY_SOURCE, *, limiter: RateLimiter | None = None
) -> Gate:
    """Return the gate that every request to the API passes. `limiter`: that of an earlier gate; None: a new one."""
    return Gate(
        clock=clock,
        requests_per_second=limits.requests_per_second,
        concurrency=limits.concurrency,
        share=limits.share,
        key_source=source,
        limiter=limiter,
    )


def make_schedule(settings: Settings, plan: RunPlan) -> Schedule:
    """Return the schedule, with what earlier runs have learned; that of a fleet is in its database."""
    is_kept = settings.poll.strategy == "adaptive" and plan.keeps_state and not policies.shares_queue(settings, plan)
    learned = load_or_start(settings.state.directory / FILE_NAME) if is_kept else None
    return policies.schedule(settings.poll, learned, random.random)


def make_schedule_keeper(
    settings: Settings, plan: RunPlan, chosen: Schedule, queue: object = None
) -> Callable[[], Coroutine[Any, Any, None]] | None:
    """Return a function that saves what the schedule learns; None: there is nothing to save.

    A queue of a fleet keeps it for all workers, else the state directory does.
    """
    if not isinstance(chosen, AdaptiveSchedule) or not plan.keeps_state:
        return None
    if isinstance(queue, SharesLearned):
        return lambda: share_periodically(chosen, queue)
    return lambda: save_periodically(chosen, settings.state.directory / FILE_NAME, DaemonThread("schedule"))


def make_poller(
    settings: Settings,
    plan: RunPlan,
    *,
    queue: Queue,
    api: AssetsApi,
    gate: Gate,
    chosen: Schedule,
    clock: Clock,
    secrets: Secrets,
    observe: Observe = ignore,
    traced: Traced = untraced,
) -> Poller:
    """Return the poller. `traced` gives a submission the trace context that its events have."""
    return Poller(
        queue,
        api,
        schedule=chosen,
        policy=Policy(
            expectations=policies.expectations(settings, plan),
            source=policies.event_source(settings.api),
            redact=secrets.redact,
            transitions=settings.events.transitions,
            looks_at_once=policies.looks_at_once(settings.limits),
            batching=policies.batching(settings.poll),
            last_look=policies.last_look(plan),
            traced=traced,
            refusal_is_final=plan.key_refused_limit is not None,
        ),
        clock=clock,
        feedback=make_feedback(chosen, gate, clock),
        slow_after=chosen.slow_after if isinstance(chosen, AdaptiveSchedule) else never_known,
        observe=observe,
    )


def make_feedback(chosen: Schedule, gate: Gate, clock: Clock) -> Feedback | None:
    """Return what reports looks to the schedule; None: it doesn't learn."""
    if not isinstance(chosen, AdaptiveSchedule):
        return None
    return Feedback(
        chosen,
        breaker_is_open=lambda: gate.reason is not None,
        wall_offset=lambda: clock.now() - clock.steady(),
    )


def sources_of(parts: Parts, loop_lag: LoopLag) -> Sources:
    """Return the parts that a snapshot of the worker is read from."""
    return Sources(
        queue=parts.queue,
        poller=parts.poller,
        gate=parts.gate,
        retries=parts.retries,
        lines=parts.ingest,
        inputs=parts.intakes,
        deliveries=parts.deliveries,
        loop_lag=loop_lag,
    )
