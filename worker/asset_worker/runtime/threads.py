"""Blocking calls, away from the event loop."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class WorkerThread(Protocol):
    """Runs blocking calls one after the other, in the order in which they came."""

    async def run(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """What `call` returns or raises. A caller that is cancelled does not stop the call."""
        ...

    def close(self) -> None:
        """No more calls: what waits is still run."""
        ...


class DaemonThread:
    """A thread of its own thread.

    The thread is a daemon: a call that never returns (a pipe that nobody reads, a network file system that hangs)
    must not keep the process from ending, as an executor's threads would.
    """

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    async def run(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def finish(result: T | None, error: BaseException | None) -> None:
            if done.cancelled():
                return
            if error is not None:
                done.set_exception(error)
            else:
                done.set_result(result)  # type: ignore[arg-type]

        def work() -> None:
            result, error = None, None
            try:
                result = call(*args, **kwargs)
            except BaseException as raised:  # noqa: BLE001 - handed to the caller, whatever it is
                error = raised
            try:
                loop.call_soon_threadsafe(finish, result, error)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return

        self._calls.put(work)
        return await done

    def close(self) -> None:
        self._calls.put(None)

    def _serve(self) -> None:
        while (work := self._calls.get()) is not None:
            work()
