"""The worker with a crash at one step: `python -m tests.integration.failpoints POINT:WHEN:HIT run …`.

The steps are replaced from outside, so that the program itself holds no code for tests. WHEN is `before`, `after` or,
for a write, `half`; the crash comes at the HIT-th pass. It is a SIGKILL: nothing is flushed, no handler runs.

Instead of a point, several of these may be given, joined by `+`: `clock:BY:FILE` sets the wall clock BY seconds forward
once FILE exists, or from the start (`clock:BY:`); `suspend:BY:FILE` is a suspend of BY seconds, in which only the event
loop's clock stands still; `forget` prunes early; `hang:FILE` blocks the event loop for good once FILE exists;
`disk:FILE` blocks each write of the journal while it exists, which is a hang after a second; `heartbeat:SECONDS` is the
interval of the heartbeat, and `shortage:SECONDS` the shortest gap between two requests that is a problem, and for how
long it stays one.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from asset_worker.api import trouble
from asset_worker.api.limits import limiter
from asset_worker.cli import main
from asset_worker.queue.local import engine, request_files, schedule_store
from asset_worker.queue.local.dead_letter_rows import DeadLetterRows
from asset_worker.queue.local.journal import Journal
from asset_worker.queue.local.last_events import LastEvents
from asset_worker.queue.local.request_files import RequestFiles
from asset_worker.queue.local.request_rows import RequestRows
from asset_worker.queue.local.undelivered_rows import UndeliveredRows
from asset_worker.runtime import threads
from asset_worker.sinks.file import sink as file_sink
from asset_worker.sinks.file.sink import FileSink
from asset_worker.telemetry import heartbeat
from asset_worker.telemetry.loop_lag import LoopLag
from asset_worker.telemetry.tracing.export import SpanExport

STEPS: dict[str, tuple[Any, str]] = {
    "accept": (Journal, "accept"),
    "position": (Journal, "set_intake"),
    "settle": (Journal, "settle"),
    "outbox": (Journal, "add_events"),
    "advance": (Journal, "advance"),
    "progress": (Journal, "save_progress"),
    "tally": (Journal, "tally"),
    "end_run": (Journal, "end_run"),
    "keep_event": (LastEvents, "keep"),
    "prune_events": (LastEvents, "prune"),
    "prepare": (Journal, "_prepare"),
    "record": (FileSink, "_record"),
    "examine": (FileSink, "_find_written"),
    "claim": (UndeliveredRows, "claim"),
    "failed": (UndeliveredRows, "change"),
    "superseded": (DeadLetterRows, "supersede"),
    "delivered": (UndeliveredRows, "delete"),
    "dead_letter": (DeadLetterRows, "add"),
    "carried_out": (RequestRows, "add"),
    "answer": (RequestFiles, "answer"),
    "spans": (SpanExport, "_send"),
}
CALLS: dict[str, tuple[Any, str]] = {
    "write": (file_sink, "write"),
    "sync": (file_sink, "fdatasync"),
    "truncate": (file_sink, "ftruncate"),
    "draft": (schedule_store, "fsync"),
    "answer_sync": (request_files, "fsync"),
    "answer_rename": (request_files, "rename"),
    "request_unlink": (request_files, "unlink"),
}
"""Steps that are system calls: the module that makes the call, and the name of the call."""


def crash() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)
    raise AssertionError


def kill_at(point: str, when: str, hit: int) -> None:
    """Replace one step by itself with a crash before, after or within it."""
    passes = 0

    def is_hit() -> bool:
        nonlocal passes
        passes += 1
        return passes == hit

    def around(original: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            hits = is_hit()
            if hits and when == "before":
                crash()
            try:
                return original(*args, **kwargs)
            finally:  # also if it fails, as when another process has done the same just before
                if hits:
                    crash()

        return step

    if point == "commit":
        original = Journal.transaction

        @contextmanager
        def transaction(self: Journal) -> Iterator[None]:
            hits = is_hit()
            with original(self):
                yield
                if hits and when == "before":
                    crash()
            if hits:
                crash()

        Journal.transaction = transaction
    elif point in CALLS:
        module, name = CALLS[point]

        class DyingOs:
            """The `os` module for that module."""

            def __getattr__(self, attribute: str) -> Any:
                return getattr(os, attribute)

        def write_half(fd: int, data: bytes) -> int:
            if is_hit():
                half = data[: len(data) // 2]
                os.write(fd, half.removesuffix(b"\n"))  # a partial line
                crash()
            return os.write(fd, data)

        setattr(DyingOs, name, staticmethod(write_half if when == "half" else around(getattr(os, name))))
        vars(module)["os"] = DyingOs()
    else:
        owner, attribute = STEPS[point]
        setattr(owner, attribute, around(getattr(owner, attribute)))


def step_the_clock(seconds: float, file: str, *, since_boot: bool) -> None:
    """Set the wall clock forward once the file exists, or from the start; `since_boot`: that clock as well."""
    wall, other = time.time, time.clock_gettime

    def step() -> float:
        return seconds if not file or os.path.exists(file) else 0.0  # noqa: PTH110 - asked often

    time.time = lambda: wall() + step()
    if since_boot:
        time.clock_gettime = lambda clock: other(clock) + step()


def forget_soon() -> None:
    """Prune every few seconds rows that are otherwise kept for a week."""
    engine.KEEP_COUNTS_SECONDS = 0
    engine.PRUNE_EVERY_SECONDS = 5.0


def hang_once(file: str) -> None:
    """Block the event loop in a call that never returns, as of a library in C, once the file exists.

    The file is removed when the call begins.
    """
    original = LoopLag.watch

    async def watch(self: LoopLag) -> None:
        loop = asyncio.get_running_loop()

        def look() -> None:
            if os.path.exists(file):  # noqa: PTH110 - asked often
                Path(file).unlink()
                time.sleep(10_000)
            loop.call_later(0.02, look)

        look()
        await original(self)

    steps: Any = LoopLag
    steps.watch = watch


def hang_the_disk(file: str) -> None:
    """Let each transaction of the journal wait in its thread while the file exists."""
    original = Journal.transaction

    @contextmanager
    def transaction(self: Journal) -> Iterator[None]:
        while os.path.exists(file):  # noqa: PTH110 - asked often
            time.sleep(0.02)
        with original(self):
            yield

    Journal.transaction = transaction
    vars(threads)["HANG_SECONDS"] = 1.0


def change(spec: str) -> None:
    """Change the program as the text says."""
    match spec.split(":", 2):
        case ["forget"]:
            forget_soon()
        case ["hang", file]:
            hang_once(file)
        case ["disk", file]:
            hang_the_disk(file)
        case ["heartbeat", seconds]:
            vars(heartbeat)["HEARTBEAT_SECONDS"] = float(seconds)
        case ["shortage", seconds]:
            vars(limiter)["SHORTAGE_SECONDS"] = vars(trouble)["RELIEF_SECONDS"] = float(seconds)
        case ["clock" | "suspend" as kind, by, file]:
            step_the_clock(float(by), file, since_boot=kind == "suspend")
        case [name, moment, count]:
            kill_at(name, moment, int(count))
        case _:
            raise ValueError(spec)


if __name__ == "__main__":
    for each in sys.argv.pop(1).split("+"):
        change(each)
    sys.argv[0] = str(Path("asset-worker"))
    main()
