"""The thread in which all engines of the process run, with an event loop of its own.

It is started when it is first needed, and ends with the last client. It takes no signals, and keeps no process alive.
What was learned about a key (its limits, how long assets take) is kept for the next clients with the same key.

After a fork, the child has none of this: its threads don't exist there. A client that was opened before can't be used
in the child; a new one starts a thread of its own.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from contextvars import Context, copy_context
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

import msgspec

from asset_worker import wiring
from asset_worker.api.key import ApiKey, key_source
from asset_worker.api.limits.limiter import RateLimiter
from asset_worker.domain.run_plan import RunPlan
from asset_worker.embedding.engine import Account, Engine
from asset_worker.embedding.errors import AssetWorkerError
from asset_worker.runtime.clock import SystemClock
from asset_worker.runtime.log import log_to_host
from asset_worker.runtime.redaction import Secrets
from asset_worker.runtime.threads import leave_stop_signals_to_main_thread, record_threads
from asset_worker.schedule.ports import Schedule
from asset_worker.settings.tree import Settings

P = ParamSpec("P")
T = TypeVar("T")

SECRETS: Final = Secrets()
"""The secrets of all clients of this process."""
JOIN_SECONDS: Final = 2.0
"""How long the end of the threads is waited for: one of them may wait for a disk or a name server that hangs."""
KNOWN_ACCOUNTS: Final = 100
"""So many accounts are remembered after their last client has been closed."""


class Source(msgspec.Struct, frozen=True):
    """Whose assets are watched, how, and where that is kept: clients with the same source share an engine."""

    settings: Settings
    key: ApiKey
    state_dir: Path | None

    @property
    def account(self) -> tuple[str, ...]:
        """What identifies the account, and the settings by which it is used.

        It holds a hash of the key, and not the key: reports of errors may show local variables.
        """
        settings, api = self.settings, self.settings.api
        key = blake2b(self.key.value.encode()).hexdigest() if api.key_file is None else str(api.key_file)
        return (api.base_url, key, settings.limits.model_dump_json(), settings.poll.model_dump_json())


class _Known(msgspec.Struct, frozen=True):
    """What is known of an account while no client is open."""

    limiter: RateLimiter
    schedule: Schedule


_known: dict[tuple[str, ...], _Known] = {}
_lock = threading.Lock()
_current: Background | None = None
_of_parent: list[object] = []


class Background:
    """The thread, its loop, and the engines in it."""

    def __init__(self) -> None:
        """Start the thread."""
        self.pid = os.getpid()
        """The process that it belongs to."""
        self.users = 0
        """The callers that have acquired it."""
        self._loop: asyncio.AbstractEventLoop
        self._end: asyncio.Event
        self._context = Context()  # without what the host keeps in its own
        self._accounts: dict[tuple[str, ...], Account] = {}
        self._engines: dict[tuple[object, ...], Engine] = {}
        self._closing: dict[tuple[object, ...], asyncio.Future[None]] = {}
        self._is_ready = threading.Event()
        self._threads: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._run, name="asset-worker", daemon=True)
        self._thread.start()
        self._is_ready.wait()

    def call(self, function: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Call a function on the loop, soon; from any thread. Nothing happens if the loop has ended."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(partial(function, *args, **kwargs), context=self._context)

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine on the loop; from any thread. Cancelling the future does not stop the coroutine."""
        done: Future[T] = Future()

        def finish(task: asyncio.Task[T]) -> None:
            if not done.set_running_or_notify_cancel():
                if not task.cancelled():
                    task.exception()  # retrieved, or asyncio would report it: the caller has left
            elif task.cancelled():
                done.set_exception(RuntimeError("the engine has ended"))
            elif (error := task.exception()) is not None:
                done.set_exception(error)
            else:
                done.set_result(task.result())

        def start() -> None:
            asyncio.ensure_future(work).add_done_callback(finish)

        self.call(start)
        return done

    async def open(self, source: Source) -> Engine:
        """Return the engine for a source, open, for one more client. On the loop.

        Raises:
            StateUnusable: its state directory can't be used.
        """
        at = _place(source)
        while (closing := self._closing.get(at)) is not None:
            await asyncio.shield(closing)
        engine = self._engines.get(at)
        if engine is None or engine.failure is not None:
            self._threads[:] = [thread for thread in self._threads if thread.is_alive()]
            engine = self._engines[at] = Engine(self._account(source), source.settings, source.state_dir, SECRETS)
        engine.users += 1
        try:
            await engine.opened()
        except BaseException:
            await self.close(engine)
            raise
        return engine

    async def close(self, engine: Engine) -> None:
        """Close the engine for one client; for the last one, really. On the loop."""
        engine.users -= 1
        if engine.users:
            return
        at = next((at for at, each in self._engines.items() if each is engine), None)
        if at is None:  # it failed, and another has its place
            await engine.close()
            return
        closing = self._closing[at] = asyncio.get_running_loop().create_future()
        try:
            await engine.close()
        finally:
            del self._engines[at], self._closing[at]
            closing.set_result(None)
            if not any(each.account is engine.account for each in self._engines.values()):
                self._accounts = {name: each for name, each in self._accounts.items() if each is not engine.account}

    async def close_opened(self, opening: Future[Engine]) -> None:
        """Close the engine that `open` returns, or will return, for a caller who left meanwhile. On the loop."""
        try:
            engine = await asyncio.wrap_future(opening)
        except AssetWorkerError:
            return
        await self.close(engine)

    def _account(self, source: Source) -> Account:
        account = self._accounts.get(source.account)
        if account is None:
            limits = source.settings.limits
            known = _known.pop(source.account, None) or _Known(
                RateLimiter(requests_per_second=limits.requests_per_second, share=limits.share),
                wiring.make_schedule(source.settings, RunPlan(keeps_state=False)),
            )
            _known[source.account] = known
            while len(_known) > KNOWN_ACCOUNTS:
                del _known[next(iter(_known))]
            gate = wiring.make_gate(
                limits, SystemClock(), key_source(source.settings.api.key_file), limiter=known.limiter
            )
            account = self._accounts[source.account] = Account(source.key, gate, known.schedule)
        return account

    def _run(self) -> None:
        leave_stop_signals_to_main_thread()
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(self._main(), context=self._context)
        for thread in self._threads:
            thread.join(JOIN_SECONDS)

    async def _main(self) -> None:
        log_to_host(SECRETS.redact_text)
        self._threads = record_threads()
        self._context = copy_context()
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        self._is_ready.set()
        await self._end.wait()
        while self._closing:
            await asyncio.wait(self._closing.values())
        for engine in list(self._engines.values()):
            await engine.close()

    def end(self) -> None:
        """Let the thread end, and wait for that. All its engines are closed."""
        self.call(self._end.set)
        if threading.current_thread() is not self._thread:
            self._thread.join(2 * JOIN_SECONDS)


def acquire() -> Background:
    """Return the background of this process, started if need be. Each call needs a `release`."""
    global _current  # noqa: PLW0603 - one for the process is the point
    with _lock:
        if _current is None:
            _current = Background()
        _current.users += 1
        return _current


def release(background: Background) -> None:
    """Give the background back. The last who does so ends it."""
    global _current  # noqa: PLW0603
    with _lock:
        background.users -= 1
        if background.users:
            return
        _current = None
    background.end()


def _place(source: Source) -> tuple[object, ...]:
    return (source.account, None if source.state_dir is None else source.state_dir.resolve())


def _forget_parent() -> None:
    """Forget the threads of the parent in the child of a fork: they do not exist there."""
    global _current, _lock
    # The parent's objects are never freed: the destructor of a loop would close what the parent uses.
    _of_parent.append(_current)
    _current, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget_parent)
