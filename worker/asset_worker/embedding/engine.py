"""The engine of the Python API: a worker whose submissions come from callers, and whose events go back to them.

One engine serves all clients with the same key, API and state directory. It is built of the same parts as the command's
worker, and run by the same `Worker`, on the event loop of `background`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from itertools import filterfalse
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from asset_worker import policies, wiring
from asset_worker.api.breaker import Reason
from asset_worker.api.client import AssetsApi
from asset_worker.api.gate import Gate
from asset_worker.api.key import ApiKey
from asset_worker.api.retry import Retries
from asset_worker.api.session import open_session
from asset_worker.domain.assets import AssetId, Observation
from asset_worker.domain.events import Stored
from asset_worker.domain.run_plan import RunPlan
from asset_worker.embedding.errors import AssetWorkerError, KeyRefused, StateUnusable
from asset_worker.embedding.terms import ORIGIN
from asset_worker.embedding.waits import Wait, Waits
from asset_worker.intake.ingest import Ingest
from asset_worker.poller.decide import Defer, Settle
from asset_worker.poller.foresight import make_time_left
from asset_worker.queue.local.engine import LocalQueue, open_local_queue
from asset_worker.queue.local.journal import JournalError
from asset_worker.queue.local.lock import StateDirectoryError, hold
from asset_worker.queue.local.reading import check_journal_exists, read_sink_names
from asset_worker.queue.memory import MemoryQueue, open_memory_queue
from asset_worker.queue.outbox_readers import is_reader
from asset_worker.queue.ports import Lease
from asset_worker.runtime.clock import Clock, SystemClock
from asset_worker.runtime.log import get_logger
from asset_worker.runtime.redaction import Secrets
from asset_worker.runtime.stop import Stop
from asset_worker.runtime.threads import DaemonThread
from asset_worker.schedule.ports import Schedule
from asset_worker.settings.tree import Settings
from asset_worker.sinks.delivery import Delivery
from asset_worker.sinks.ports import Sent
from asset_worker.worker import Worker

_log = get_logger()

WAIT_ANEW: Final = -1.0
"""The dedupe window: none, so that a wait for an asset that was settled a moment ago looks at it again."""
OVERTIME_SECONDS: Final = 5.0
"""A wait that the poller has not ended so long after its time is ended without it: the disk may hang."""
STATE_ARGUMENT: Final = ("--state-dir", "state_dir")
"""What errors about the state directory name, a flag of the command, and what it is called here."""
CLOSE_SECONDS: Final = 3.0
"""How long what was acknowledged may take to be settled when an engine is closed."""


class Account(msgspec.Struct, frozen=True):
    """What the engines of one key share."""

    key: ApiKey
    gate: Gate
    schedule: Schedule
    """What was learned by engines without a state directory. One with a state directory has its own."""


class Engine:
    """One worker in the process of a host."""

    def __init__(self, account: Account, settings: Settings, state_dir: Path | None, secrets: Secrets) -> None:
        """Start to open it. `state_dir` None: everything is kept in memory."""
        self.account = account
        self._settings = settings
        self._state_dir = state_dir
        self._secrets = secrets
        self._stop = Stop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._waits: Waits
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._running = asyncio.create_task(self._run(), name="engine")
        self.failure: AssetWorkerError | None = None
        """Why it can't be used any more; None: it can."""
        self.users = 0
        """The clients that have it open."""

    async def opened(self) -> None:
        """Wait until it is open.

        Raises:
            StateUnusable: the state directory can't be used.
        """
        await asyncio.shield(self._opened)

    @property
    def kept(self) -> tuple[AssetId, ...]:
        """The assets that are kept in the state directory, and that nobody waits for."""
        return self._waits.kept

    def begin(self, waits: Sequence[Wait]) -> None:
        """Begin waits."""
        if self.failure is not None:
            for wait in waits:
                wait.end(type(self.failure)(*self.failure.args))
            return
        if self.account.gate.reason is Reason.KEY_REFUSED:
            self.account.gate.key_changed()  # it may have been granted again: the next request tries it
        for wait in waits:
            wait.call_after(wait.terms.timeout + OVERTIME_SECONDS, self._overtime)
        self._spawn(self._waits.begin(waits))

    def cancel(self, wait: Wait) -> None:
        """End a wait whose caller has left."""
        self._waits.cancel(wait)

    def acknowledge(self, wait: Wait) -> None:
        """Record that the caller has the event of a wait."""
        if self._state_dir is not None:
            self._spawn(self._waits.acknowledge(wait))

    async def close(self) -> None:
        """Stop, once what was acknowledged is settled. Waits that have not ended stay as they are kept, if they are."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_SECONDS)
        for task in self._tasks:
            task.cancel()
        self._stop.set("the last client was closed")
        await asyncio.wait([self._running])

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def _overtime(self, wait: Wait) -> None:
        self._waits.expire(wait, "it could not be looked at in time")

    def _fail(self, error: BaseException) -> None:
        """End all waits with the error that ended the engine."""
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        is_state = isinstance(error, JournalError | StateDirectoryError)
        text = str(error).replace(*STATE_ARGUMENT) if is_state else f"unexpected {type(error).__name__}: {error}"
        text = self._secrets.redact_text(text)
        self.failure = failure = StateUnusable(text) if is_state else AssetWorkerError(text)
        failure.__cause__ = error
        self._stop.set("it failed")
        if not self._opened.done():
            self._opened.set_exception(failure)
            self._opened.exception()  # it may be that nobody waits for it any more
            return
        self._waits.fail(lambda: type(failure)(*failure.args))

    async def _run(self) -> None:
        try:
            async with AsyncExitStack() as stack:
                worker, background = await self._build(stack)
                self._opened.set_result(None)
                await worker.run(background)
        except Exception as error:  # noqa: BLE001 - whatever it is, no caller may wait for ever
            self._fail(error)

    async def _build(self, stack: AsyncExitStack) -> tuple[Worker, dict[str, Coroutine[Any, Any, None]]]:
        account, clock = self.account, SystemClock()
        settings, key, gate, secrets = self._settings, account.key, account.gate, self._secrets
        in_memory = RunPlan(keeps_state=False, key_refused_limit=0.0)
        durable = RunPlan(keeps_state=True)
        queue = await stack.enter_async_context(_open_queue(settings, self._state_dir, clock))
        session = await stack.enter_async_context(
            open_session(settings.api.base_url, total_timeout=settings.api.timeout)
        )
        retries = Retries(self._stop)
        api = AssetsApi(session, settings.api.base_url, key, gate, retries, redact=secrets.redact)
        ingest = Ingest(queue, clock, source=policies.event_source(settings.api), secrets=secrets)
        # Somebody waits for each end, so deadlines are those of a run that keeps no state.
        is_durable = self._state_dir is not None
        chosen = wiring.make_schedule(settings, durable) if is_durable else account.schedule

        def decide(lease: Lease, observation: Observation) -> Settle | Defer:
            return poller.decide(lease, observation)

        def refusal() -> KeyRefused | None:
            # Perhaps only this asset is refused, and the key works for others.
            if gate.key_refused_for is None or not poller.key_is_refused or gate.problem is None:
                return None
            return KeyRefused(f"the API refuses the key: {gate.problem.last_error}")

        self._waits = Waits(
            queue,
            clock=clock,
            accept=ingest.accept,
            decide=decide,
            refusal=refusal,
            drop=queue.drop if isinstance(queue, MemoryQueue) else None,
        )
        poller = wiring.make_poller(
            settings,
            in_memory,
            queue=self._waits,
            api=api,
            gate=gate,
            chosen=chosen,
            clock=clock,
            secrets=secrets,
            observe=self._waits.observe,
        )
        keep_schedule = wiring.make_schedule_keeper(settings, durable, chosen) if is_durable else None
        parts = wiring.Parts(
            queue=queue,
            session=session,
            gate=gate,
            retries=retries,
            poller=poller,
            ingest=ingest,
            intakes=(),
            deliveries=[Delivery(HandedOver(), queue.outbox, clock)],
            http=None,
            time_left=make_time_left(policies.expectations(settings, in_memory), chosen),
            schedule=chosen,
            keep_schedule=keep_schedule,
        )
        await queue.begin(ends_by_itself=False)
        background = {"queue": queue.run_maintenance(), "key": key.watch(self._stop, gate.key_changed)}
        if keep_schedule is not None:
            background["schedule"] = keep_schedule()
        worker = Worker(
            parts,
            durable,
            clock=clock,
            stop=self._stop,
            forced_stop=self._stop,
            grace=0.0,
            reader_patience=math.inf,
            max_pending=settings.queue.max_pending,
        )
        return worker, background


class HandedOver:
    """The sink of an engine: callers have the events already, so it only lets the outbox drop them."""

    kind: Literal["ordered"] = "ordered"
    name = ORIGIN

    async def check(self) -> None:
        """Do nothing: it can always be used."""

    def resume(self, checkpoint: bytes | None) -> None:
        """Do nothing: there is nothing to find again."""

    async def send(self, events: Sequence[Stored]) -> Sent:
        """Take all events."""
        return Sent(len(events), None)

    def writes_to(self, descriptor: int) -> bool:
        """Return False: it writes nowhere."""
        del descriptor
        return False

    async def close(self) -> None:
        """Do nothing: nothing is open."""


@asynccontextmanager
async def _open_queue(
    settings: Settings, state_dir: Path | None, clock: Clock
) -> AsyncIterator[MemoryQueue | LocalQueue]:
    """Open the queue, in memory or in the state directory, which is locked meanwhile.

    Raises:
        StateDirectoryError, JournalError: the directory can't be used.
    """
    most = settings.queue.max_pending
    if state_dir is None:
        async with open_memory_queue(clock, sinks=[ORIGIN], dedupe_window=WAIT_ANEW, max_pending=most) as in_memory:
            yield in_memory
        return
    with ExitStack() as stack:
        directory = await hold(state_dir, stack)
        await _refuse_state_of_a_service(state_dir)
        async with open_local_queue(
            directory.path,
            clock,
            sinks=[ORIGIN],
            dedupe_window=WAIT_ANEW,
            dead_letter_retention=settings.events.dead_letter_retention,
            max_pending=most,
            first_looks=lambda count: [0.0] * count,
            check_directory=directory.check,
        ) as durable:
            yield durable


async def _refuse_state_of_a_service(state_dir: Path) -> None:
    """Refuse a directory that the command has used: its sinks would lose their events.

    Raises:
        StateDirectoryError: it has.
    """

    def sinks() -> set[str]:
        try:
            check_journal_exists(state_dir)
        except JournalError:
            return set()
        return {*filterfalse(is_reader, read_sink_names(state_dir))}

    thread = DaemonThread("journal")
    try:
        if others := await thread.run(sinks) - {ORIGIN}:
            raise StateDirectoryError(
                f"the state directory {state_dir} is that of a worker whose events go to {', '.join(sorted(others))}: "
                "give the client a directory of its own"
            )
    finally:
        thread.close()
