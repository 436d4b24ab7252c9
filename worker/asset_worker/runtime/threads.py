"""Threads that run blocking calls outside the event loop."""

from __future__ import annotations

import asyncio
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import partial
from typing import Final, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

HANG_SECONDS: Final = 10.0
"""A disk that has not answered for this long hangs: one that is slow or busy takes a second or two."""

_started: ContextVar[list[threading.Thread] | None] = ContextVar("started", default=None)
"""Where new threads are recorded; None: nowhere."""


def record_threads() -> list[threading.Thread]:
    """Return a list that each `DaemonThread` is added to that this thread or task, and those that it starts, make."""
    threads: list[threading.Thread] = []
    _started.set(threads)
    return threads


def leave_stop_signals_to_main_thread() -> None:
    """Let this thread take no SIGTERM or SIGINT. Call it in the thread.

    The main thread can then hold them back for a moment (`signals`), without another one taking them.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))


@contextmanager
def reporting_hang(report: Callable[[str], None], waits_for: str = "the disk") -> Iterator[None]:
    """Call `report`, on the event loop, with what is wrong, if the block waits longer than `HANG_SECONDS`."""
    what = f"{waits_for} has not answered for {HANG_SECONDS:.0f} s"
    timer = asyncio.get_running_loop().call_later(HANG_SECONDS, report, what)
    try:
        yield
    finally:
        timer.cancel()


class WorkerThread(Protocol):
    """Runs blocking calls one at a time, in the order in which they were submitted."""

    async def run(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `call` returns, or raise what it raises. Cancelling the caller does not stop the call."""
        ...

    def close(self) -> None:
        """Accept no more calls. Calls that are already queued still run."""
        ...


class DaemonThread:
    """A worker thread that never keeps the process from ending.

    It is a daemon thread, because a call may never return (a pipe that nobody reads, a network file system that hangs).
    The threads of an executor would be joined at exit.
    """

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        # What is logged in the thread goes where the log of its maker goes.
        run = partial(copy_context().run, self._run_calls)
        self._thread = threading.Thread(target=run, name=name, daemon=True)
        self._thread.start()
        if (started := _started.get()) is not None:
            started.append(self._thread)

    async def run(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `call` in the thread; see `WorkerThread.run`."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def finish(settle: Callable[[], None]) -> None:
            if not done.cancelled():
                settle()

        def work() -> None:
            try:
                settle = partial(done.set_result, call(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - every error goes to the caller
                settle = partial(done.set_exception, error)
            try:
                loop.call_soon_threadsafe(finish, settle)
            except RuntimeError:  # the loop is closed, so no caller waits
                return

        self._calls.put(work)
        return await done

    def close(self) -> None:
        """Let the thread end after the calls that are queued."""
        self._calls.put(None)

    def _run_calls(self) -> None:
        leave_stop_signals_to_main_thread()
        while (work := self._calls.get()) is not None:
            work()
