"""Threads of a simulated process: their calls run in the event loop, in order, when the disk lets them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol


class ProcessDied(BaseException):
    """Raised in what is left of a process that was killed, at each thing that it tries to do to the world."""


class Owner(Protocol):
    """The process that a thread belongs to."""

    is_dead: bool

    def delay_of(self, thread: str) -> float:
        """Return how many seconds a call in the thread of this name takes to begin now."""
        ...

    def died(self) -> None:
        """The process has died within a call."""
        ...

    def called(self, result: object) -> None:
        """A call has returned this."""
        ...


class SimulatedThread:
    """What stands in for `DaemonThread`.

    A call is made between two steps of its caller, as with a real thread. Cancelling the caller does not stop it.
    """

    def __init__(self, name: str, owner: Owner) -> None:
        self._name = name
        self._owner = owner
        self._calls: deque[Callable[[], None]] = deque()
        self._is_busy = False

    async def run(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run the call in turn; see `WorkerThread.run`."""
        if self._owner.is_dead:
            raise ProcessDied
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()

        def finish(result: Any, error: BaseException | None) -> None:
            if done.done():
                return
            if error is None:
                done.set_result(result)
            else:
                done.set_exception(error)

        def work() -> None:
            try:
                result = call(*args, **kwargs)
            except ProcessDied:
                self._owner.died()
                return
            except BaseException as error:  # noqa: BLE001 - every error goes to the caller, as in a real thread
                loop.call_soon(finish, None, error)
            else:
                self._owner.called(result)
                loop.call_soon(finish, result, None)

        self._calls.append(work)
        if not self._is_busy:
            self._begin_next()
        return await done

    def close(self) -> None:
        """Nothing: there is no thread to end."""

    def _begin_next(self) -> None:
        self._is_busy = True
        loop, delay = asyncio.get_running_loop(), self._owner.delay_of(self._name)
        if delay:
            loop.call_later(delay, self._run_next)
        else:
            loop.call_soon(self._run_next)

    def _run_next(self) -> None:
        if self._owner.is_dead:
            return  # the calls of a dead process never return
        self._calls.popleft()()
        self._is_busy = False
        if self._calls:
            self._begin_next()
