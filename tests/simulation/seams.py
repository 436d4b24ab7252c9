"""Puts a simulated world around the program, which holds no code for it: names are replaced from outside."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, MutableMapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import cache
from types import ModuleType, SimpleNamespace
from typing import Any, NoReturn, Protocol
from unittest.mock import patch

import structlog

from asset_worker import service
from asset_worker.api import session
from asset_worker.intake.file.intake import FileIntake
from asset_worker.intake.http.endpoints import Endpoints
from asset_worker.queue.local import engine
from asset_worker.queue.local.journal import Journal
from asset_worker.runtime import signals
from asset_worker.runtime.clock import SystemClock
from asset_worker.runtime.ending import exit_at_once
from asset_worker.runtime.threads import DaemonThread
from asset_worker.runtime.tls import tls_context
from asset_worker.serving import serve_admin
from asset_worker.sinks.file import sink as file_sink
from asset_worker.sinks.webhook.sink import WebhookSink
from asset_worker.telemetry import self_report
from asset_worker.telemetry.loop_lag import LoopLag
from tests.simulation.installing import installed
from tests.simulation.machine import Machine, ProcessClock
from tests.simulation.process import Process, owner
from tests.simulation.system_calls import SimulatedOs
from tests.simulation.threads import SimulatedThread

LOADED = (file_sink,)
"""Sinks are loaded when they are first used. Their names can be replaced if that is now."""


class Network(Protocol):
    """What a process reaches over the network, and what it is told apart by."""

    machine: Machine
    system: SimulatedOs

    def journal_error(self) -> Exception | None:
        """Return the error with which a transaction fails now; None: it works."""
        ...

    def open_api(self, total_timeout: float) -> Any:
        """Return what stands in for an aiohttp session of the assets API."""
        ...

    def open_receiver(self, host: str) -> Any:
        """Return what stands in for an aiohttp session of the receiver at this host."""
        ...

    def log(self, process: Process | None, event: Mapping[str, Any]) -> None:
        """Note an event that was logged."""
        ...


@contextmanager
def surrounded(world: Network) -> Iterator[None]:
    """Let everything that the program does to the world happen in this one, while the context lasts."""

    def open_pool(_proxy: object, _resolver: object, total_timeout: float, _tls: object) -> Any:
        return world.open_api(total_timeout)

    def opened(sink: Any) -> Any:
        if sink._session is None:
            sink._session = world.open_receiver(sink._url.host)
        return sink._session

    def capture(_logger: object, level: str, event: MutableMapping[str, Any]) -> NoReturn:
        world.log(owner.get(), {**event, "level": level})
        raise structlog.DropEvent

    @contextmanager
    def transaction(journal: Journal) -> Iterator[None]:
        with original_transaction(journal):
            yield
            if (error := world.journal_error()) is not None:
                raise error

    def system_of_process() -> SimulatedOs:
        process = owner.get()
        return world.system if process is None else process.system

    system: Any = _OfPresentProcess(system_of_process)
    fcntl: Any = _OfPresentProcess(lambda: system_of_process().fcntl)
    original_transaction = Journal.transaction
    stand_ins: dict[Callable[..., Any], Callable[..., Any]] = {
        DaemonThread: lambda name: SimulatedThread(name, present()),
        SystemClock: lambda: ProcessClock(world.machine),
        exit_at_once: lambda code: present().exit_at_once(code),
        serve_admin: _serve_admin,
        tls_context: lambda: None,
    }
    with ExitStack() as stack:
        for original, stand_in in stand_ins.items():
            for module, name in _names_of(original):
                stack.enter_context(patch.object(module, name, stand_in))
        for module, name, seconds in _RARER:
            stack.enter_context(patch.object(module, name, seconds))
        stack.enter_context(patch.dict(FileIntake.__init__.__kwdefaults__, interval=READ_SECONDS))
        stack.enter_context(patch.object(signals, "signal", _SIGNALS))
        stack.enter_context(patch.object(service, "gc", _NO_COLLECTOR))
        stack.enter_context(patch.object(Journal, "transaction", transaction))
        stack.enter_context(installed(system, fcntl))
        stack.enter_context(patch.object(LoopLag, "watch", _watch_nothing))
        stack.enter_context(patch.object(session, "_open_pool", open_pool))
        stack.enter_context(patch.object(WebhookSink, "_opened", opened))
        structlog.configure(processors=[capture], wrapper_class=structlog.BoundLogger, cache_logger_on_first_use=False)
        stack.callback(structlog.reset_defaults)
        yield


class _OfPresentProcess:
    """Has the attributes that a function finds in the `os` of the process whose code runs now."""

    def __init__(self, find: Callable[[], Any]) -> None:
        self._find = find

    def __getattr__(self, name: str) -> Any:
        return getattr(self._find(), name)


def present() -> Process:
    """Return the process whose code runs now."""
    process = owner.get()
    assert process is not None
    return process


@cache
def _names_of(original: Callable[..., Any]) -> list[tuple[ModuleType, str]]:
    """Return the modules of the program that use a function or class, and its name in each."""
    modules = [each for name, each in sys.modules.items() if name.startswith("asset_worker.")]
    return [(each, name) for each in modules for name, value in vars(each).items() if value is original]


@asynccontextmanager
async def _serve_admin(
    _admin: object, parts: Any, _tokens: object, *, secrets: Any, clock: Any, stop: Any, **_: Any
) -> AsyncIterator[None]:
    """What stands in for `serving.serve_admin`: clients call the endpoints without a connection."""
    process = present()
    if parts.http is None:
        yield
        return
    process.endpoints = Endpoints(
        parts.http, parts.queue, clock, stop, redact=secrets.redact, time_left=parts.time_left
    )
    try:
        yield
    finally:
        process.endpoints = None


async def _watch_nothing(_: LoopLag) -> None:
    """What stands in for `LoopLag.watch`: in virtual time, nothing blocks the loop."""
    await asyncio.Event().wait()


_SIGNALS = SimpleNamespace(
    **{name: getattr(signal, name) for name in ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIG_IGN", "SIG_BLOCK", "SIG_UNBLOCK")},
    SIG_SETMASK=signal.SIG_SETMASK,
    Signals=signal.Signals,
    getsignal=lambda _: signal.SIG_DFL,
    signal=lambda *_: None,
    pthread_sigmask=lambda *_: set(),
)
"""What stands in for the module `signal`: the loop keeps the handlers of each process."""
_RARER = (
    (engine, "SERVE_REQUESTS_SECONDS", 3.0),
    (engine, "CHECK_FILES_SECONDS", 5.0),
    (self_report, "LOOK_SECONDS", 5.0),
)
"""What the program looks at several times a second, and what hardly ever changes in a history."""
READ_SECONDS = 2.0
"""The interval between two looks at the queue file: those that find nothing would cost the most of a history."""
_NO_COLLECTOR = SimpleNamespace(freeze=lambda: None, set_threshold=lambda _: None)
"""What stands in for the module `gc`: the process of the tests goes on after the worker's."""
