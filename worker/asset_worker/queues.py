"""Opens the queue that a run uses: in its state directory, in the database of its fleet, or in memory."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable

from asset_worker import __version__, policies
from asset_worker.credentials import database_url
from asset_worker.domain.quota_share import SharedLimits
from asset_worker.domain.run_plan import RunPlan
from asset_worker.queue.local.engine import open_local_queue
from asset_worker.queue.local.lock import hold
from asset_worker.queue.memory import open_memory_queue
from asset_worker.queue.ports import QueueEngine
from asset_worker.queue.postgres.errors import DatabaseError
from asset_worker.runtime.clock import Clock
from asset_worker.settings.tree import Settings
from asset_worker.sinks.ports import AnyOutbox, IndependentSink, OrderedSink


@runtime_checkable
class SharesLimits(Protocol):
    """A queue of a fleet, whose workers share the limits of one key."""

    def share_limits(self, limits: SharedLimits) -> None:
        """Let these limits follow this worker's portion of the fleet's quota."""
        ...


@asynccontextmanager
async def open_queue(
    settings: Settings,
    plan: RunPlan,
    clock: Clock,
    sinks: Sequence[OrderedSink | IndependentSink],
    readers: Sequence[str] = (),
) -> AsyncIterator[QueueEngine[AnyOutbox]]:
    """Open the queue in the state directory, which stays locked until exit; without state, in memory.

    `readers` are the readers of its outbox beside the sinks.

    Raises:
        NoStateDirectoryError: there is no state directory.
        StateDirectoryError: the state directory is in use, or can't be used.
        JournalError: the journal in it can't be used.
    """
    names = [*(sink.name for sink in sinks), *readers]
    window, most = settings.queue.dedupe_window, settings.queue.max_pending
    if not plan.keeps_state:
        async with open_memory_queue(clock, sinks=names, dedupe_window=window, max_pending=most) as in_memory:
            yield in_memory
        return
    with ExitStack() as stack:
        directory = await hold(settings.state.directory, stack)
        if policies.shares_queue(settings, plan):
            async with _open_shared_queue(settings, clock, directory.path, names) as shared:
                yield shared
            return
        async with open_local_queue(
            directory.path,
            clock,
            sinks=names,
            independent=[sink.name for sink in sinks if sink.kind == "independent"],
            dedupe_window=window,
            dead_letter_retention=settings.events.dead_letter_retention,
            max_pending=most,
            first_looks=lambda count: policies.first_looks(count, settings.poll, random.random),
            keeps_events=settings.admin.token_file is not None,
            check_directory=directory.check,
        ) as durable:
            yield durable


@asynccontextmanager
async def _open_shared_queue(
    settings: Settings, clock: Clock, directory: Path, sinks: Sequence[str]
) -> AsyncIterator[QueueEngine[AnyOutbox]]:
    """Open the queue of the fleet. `directory` is the worker's own state directory.

    Raises:
        DatabaseError: the database or its driver can't be used.
    """
    try:
        from asset_worker.queue.postgres.opening import open_postgres_queue  # noqa: PLC0415 - an optional dependency
    except ImportError as error:
        raise DatabaseError(
            "queue.engine is postgres, which needs a driver: install asset-worker with the extra `postgres`"
        ) from error
    fleet = settings.fleet
    async with open_postgres_queue(
        database_url(settings.postgres),
        clock,
        directory,
        schema=fleet.schema,
        name=fleet.name,
        version=__version__,
        lease=fleet.lease,
        sinks=sinks,
        dedupe_window=settings.queue.dedupe_window,
        dead_letter_retention=settings.events.dead_letter_retention,
        max_pending=settings.queue.max_pending,
        first_looks=lambda count: policies.first_looks(count, settings.poll, random.random),
        keeps_events=settings.admin.token_file is not None,
        settings=policies.settings_of_a_fleet(settings, sinks),
    ) as queue:
        yield queue
