"""The worker, made to die at one step: `python -m tests.integration.failpoints POINT:WHEN:HIT run …`.

The steps are replaced from outside, so that the program itself holds nothing for tests. WHEN is `before`, `after`, or
for a write `half`; HIT counts the passes. It dies by SIGKILL: nothing is flushed, no handler runs.

Instead of a point: `clock:BY:FILE` sets the machine's clock by so many seconds once that file is there, or from the
start (`clock:BY:`); `forget` prunes early.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from asset_worker.cli import main
from asset_worker.intake.file.follower import Follower
from asset_worker.queue.local import engine, schedule_store
from asset_worker.queue.local.journal import Journal
from asset_worker.sinks.file import sink as file_sink
from asset_worker.sinks.file.sink import FileSink

STEPS: dict[str, tuple[Any, str]] = {
    "accept": (Journal, "accept"),
    "position": (Journal, "set_intake"),
    "settle": (Journal, "settle"),
    "outbox": (Journal, "add_events"),
    "advance": (Journal, "advance"),
    "progress": (Journal, "save_progress"),
    "begin_run": (Journal, "begin_run"),
    "tally": (Journal, "tally"),
    "end_run": (Journal, "end_run"),
    "prune": (Journal, "prune"),
    "prepare": (Journal, "_prepare"),
    "read": (Follower, "step"),
    "record": (FileSink, "_record"),
    "examine": (FileSink, "_examine"),
    "send": (FileSink, "_send"),
    "keep": (schedule_store, "keep"),
}
CALLS: dict[str, tuple[Any, str]] = {
    "write": (file_sink, "write"),
    "sync": (file_sink, "fdatasync"),
    "truncate": (file_sink, "ftruncate"),
    "draft": (schedule_store, "fsync"),
}
"""Steps that are calls of the system: by which module, of which name."""


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)
    raise AssertionError


def kill_at(point: str, when: str, hit: int) -> None:
    """Replace one step with itself and a death."""
    passes = 0

    def is_hit() -> bool:
        nonlocal passes
        passes += 1
        return passes == hit

    def around(original: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            hits = is_hit()
            if hits and when == "before":
                die()
            result = original(*args, **kwargs)
            if hits:
                die()
            return result

        return step

    if point == "commit":
        original = Journal.transaction

        @contextmanager
        def transaction(self: Journal) -> Iterator[None]:
            hits = is_hit()
            with original(self):
                yield
                if hits and when == "before":
                    die()
            if hits:
                die()

        Journal.transaction = transaction
    elif point in CALLS:
        module, name = CALLS[point]

        class DyingOs:
            """The os module as that module sees it."""

            def __getattr__(self, attribute: str) -> Any:
                return getattr(os, attribute)

        def write_half(fd: int, data: bytes) -> int:
            if is_hit():
                half = data[: len(data) // 2]
                os.write(fd, half.removesuffix(b"\n"))  # a line that is partial
                die()
            return os.write(fd, data)

        setattr(DyingOs, name, staticmethod(write_half if when == "half" else around(getattr(os, name))))
        vars(module)["os"] = DyingOs()
    else:
        owner, attribute = STEPS[point]
        setattr(owner, attribute, around(getattr(owner, attribute)))


def step_the_clock(seconds: float, file: str) -> None:
    """The machine's clock is set by so much once the file is there; without one, from the start."""
    real = time.time
    time.time = lambda: real() + (seconds if not file or os.path.exists(file) else 0.0)  # noqa: PTH110 - asked often


def forget_soon() -> None:
    """Prune every few seconds what is otherwise kept for a week."""
    engine.KEEP_COUNTS_SECONDS = 0
    engine.PRUNE_EVERY_SECONDS = 5.0


if __name__ == "__main__":
    spec = sys.argv.pop(1)
    if spec == "forget":
        forget_soon()
    elif spec.startswith("clock:"):
        _, by, file = spec.split(":", 2)
        step_the_clock(float(by), file)
    else:
        name, moment, count = spec.split(":")
        kill_at(name, moment, int(count))
    sys.argv[0] = str(Path("asset-worker"))
    main()
