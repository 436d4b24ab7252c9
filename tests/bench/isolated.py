"""Runs one measurement in a process of its own, on uvloop, so that its CPU time counts alone."""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import structlog
import uvloop
from click import echo

from asset_worker import policies, wiring
from asset_worker.api.client import AssetsApi
from asset_worker.api.key import ApiKey
from asset_worker.api.retry import Retries
from asset_worker.api.session import open_session
from asset_worker.domain.assets import Expectations
from asset_worker.poller.loop import Poller
from asset_worker.poller.policy import Batching, Policy
from asset_worker.queue.local.engine import open_local_queue
from asset_worker.runtime.clock import SystemClock
from asset_worker.runtime.redaction import Secrets
from asset_worker.runtime.stop import Stop
from asset_worker.schedule.ports import Schedule
from asset_worker.service import GC_THRESHOLD
from asset_worker.settings.tree import Limits

LONGEST_SECONDS = 300
KEY = "tlk_benchmark_0123456789"
Figures = dict[str, float]


def measured(way: Callable[..., Any], *arguments: str) -> Figures:
    """The figures that a coroutine function returns in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.isolated", way.__module__, way.__name__, *arguments]
    ended = subprocess.run(
        command, check=True, timeout=LONGEST_SECONDS, stdout=subprocess.PIPE, env=os.environ | {"PYTHONHASHSEED": "0"}
    )
    figures: Figures = json.loads(ended.stdout.splitlines()[-1])
    return figures


@asynccontextmanager
async def journal() -> AsyncIterator[Any]:
    """The queue of the local engine, with its journal."""
    with tempfile.TemporaryDirectory() as folder:
        async with open_local_queue(
            Path(folder),
            SystemClock(),
            sinks=["-"],
            dedupe_window=60,
            dead_letter_retention=86_400.0,
            max_pending=10**6,
            first_looks=lambda n: [0.0] * n,
        ) as queue:
            yield queue


@asynccontextmanager
async def worker(
    base_url: str,
    *,
    schedule: Schedule,
    batching: Batching | None,
    limits: Limits,
    on_ended: Callable[[str], Any],
    open_queue: Callable[[], AbstractAsyncContextManager[Any]] = journal,
) -> AsyncIterator[tuple[Any, Callable[[], Poller]]]:
    """The queue, and what makes a poller with gate and client."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    clock, never, secrets = SystemClock(), Stop(), Secrets()
    gate = wiring.make_gate(limits, clock)
    key = ApiKey(value=KEY, file=None, on_read=secrets.add)
    async with open_session(base_url, total_timeout=10) as session, open_queue() as queue:
        api = AssetsApi(session, base_url, key, gate, Retries(never), redact=secrets.redact)
        settle = queue.settle

        async def settle_and_report(lease: Any, event: Any, **steps: Any) -> None:
            await settle(lease, event, **steps)
            await on_ended(lease.submission.asset_id)

        queue.settle = settle_and_report

        def make_poller() -> Poller:
            return Poller(
                queue,
                api,
                schedule=schedule,
                policy=Policy(
                    expectations=Expectations(deadline=10**6),
                    source="-",
                    redact=secrets.redact,
                    looks_at_once=policies.looks_at_once(limits),
                    batching=batching,
                ),
                clock=clock,
                feedback=wiring.make_feedback(schedule, gate, clock),
            )

        yield queue, make_poller


def _run(module: str, name: str, *arguments: str) -> None:
    gc.freeze()  # as the service does
    gc.set_threshold(GC_THRESHOLD)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        echo(json.dumps(runner.run(getattr(importlib.import_module(module), name)(*arguments))))


if __name__ == "__main__":
    _run(*sys.argv[1:])
