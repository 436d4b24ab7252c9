"""One process of the worker in a simulated world: it is started, sent signals, or killed between any two awaits."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from pathlib import Path
from typing import Any, Final, NoReturn, Protocol, TypeVar

from asset_worker.cli.running import MAY_PASS, MUST_BE_CORRECTED
from asset_worker.domain.run_plan import Exit, RunPlan
from asset_worker.queue.local.files import SUFFIXES
from asset_worker.queue.local.journal import FILE_NAME, Journal
from asset_worker.reloading import Reloading
from asset_worker.runtime.redaction import Secrets
from asset_worker.runtime.signals import PASS_SECONDS, REPEAT_SECONDS
from asset_worker.service import Service
from asset_worker.settings.tree import Settings
from tests.simulation.file_system import SimulatedFiles
from tests.simulation.loop import SimulatedLoop, signal_handlers
from tests.simulation.system_calls import SimulatedOs
from tests.simulation.threads import ProcessDied

T = TypeVar("T")

MOST_ROUNDS: Final = 20
"""How often what is left of a killed process is cancelled until it has come to its end."""
ROUND_SECONDS: Final = 1e-4
TASKS_KEPT: Final = 300
"""Once there are so many, those that are done are forgotten."""
KILLED: Final = -signal.SIGKILL

owner: ContextVar[Process | None] = ContextVar("owner", default=None)
"""The process whose code runs now; None: the world's."""


class Surroundings(Protocol):
    """What a process needs of the world."""

    loop: SimulatedLoop
    files: SimulatedFiles

    def ended(self, process: Process) -> None:
        """A process has ended."""
        ...

    def delay_of(self, thread: str) -> float:
        """Return how many seconds a call in a thread of this name takes to begin now."""
        ...


class Process:
    """A process that runs the service until it ends, by itself or not."""

    def __init__(self, world: Surroundings, settings: Settings, plan: RunPlan) -> None:
        """Start it: its first step is still to come."""
        self._world = world
        self.settings = settings
        self.plan = plan
        self._tasks: list[asyncio.Task[Any]] = []
        self.handlers: dict[int, Callable[[], object]] = {}
        """What its signals do."""
        self.service: Service | None = None
        self.endpoints: Any = None
        """Those of its admin port, while it serves one."""
        self.is_dead = False
        """Nothing that is left of it can do anything to the world."""
        self.exit_code: int | None = None
        """None: it runs."""
        self.error: BaseException | None = None
        """Why it ended, if it ended by an error."""
        self.started_at = world.loop.time()
        self.asked_at: float | None = None
        """When it was first asked to stop; None: it was not."""
        self.times_asked = 0
        self.system = SimulatedOs(world.files)
        self.system.death = ProcessDied
        self._journals: list[Journal] = []
        self._left: dict[str, bytes] = {}
        """The journal's files as the kill has left them."""
        self._asked_last = 0.0
        self._main = world.loop.create_task(self._run(), context=self._context())

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.exit_code is None

    def delay_of(self, thread: str) -> float:
        """See `threads.Owner`."""
        return self._world.delay_of(thread)

    def died(self) -> None:
        """See `threads.Owner`: a call on a file was the last one that the process made."""
        self.kill()

    def called(self, result: object) -> None:
        """See `threads.Owner`."""
        if isinstance(result, Journal):
            self._journals.append(result)

    def count_tasks(self) -> int:
        """Return how many tasks it has that are not done."""
        return sum(not each.done() for each in self._tasks)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        if (handler := self.handlers.get(number)) is not None:
            self._world.loop.call_soon(handler, context=self._context())

    def ask_to_stop(self) -> None:
        """Send it SIGTERM. Twice within a moment, that counts once, as in `signals`."""
        now = self._world.loop.time()
        if self.asked_at is None or now - self._asked_last > REPEAT_SECONDS + PASS_SECONDS:
            self.times_asked += 1
        self.asked_at = now if self.asked_at is None else self.asked_at
        self._asked_last = now
        self.send(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once. Its journal is left as the last commit has made it."""
        self._die(KILLED)

    def _die(self, code: int) -> None:
        """Let nothing that is left of it do anything: neither its tasks nor its threads."""
        if not self.is_dead:
            self.is_dead = self.system.dead = True
            self.exit_code = code
            self._left = _files_of(journal_path(self.settings))
            self._unwind(MOST_ROUNDS)

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Let the process do something, as for a client that has connected to it."""
        return self._world.loop.create_task(work, context=self._context())

    def add(self, task: asyncio.Task[Any]) -> None:
        """Note a task of the process."""
        if len(self._tasks) >= TASKS_KEPT:
            self._tasks = [each for each in self._tasks if not each.done()]
        self._tasks.append(task)

    def _context(self) -> Context:
        """Return a context in which code is the process's."""
        context = copy_context()
        context.run(owner.set, self)
        context.run(signal_handlers.set, self.handlers)
        return context

    def exit_at_once(self, code: int) -> NoReturn:
        """What stands in for `os._exit`, called by the process itself."""
        self._die(code)
        raise ProcessDied

    async def _run(self) -> None:
        try:
            reloading = Reloading(self.settings, read=lambda: self.settings, apply_log=lambda _: None)
            self.service = Service(self.settings, self.plan, secrets=Secrets(), reloading=reloading)
            code = int(await self.service.run())
        except BaseException as error:  # noqa: BLE001 - the model decides whether it should have come
            if self.system.dead:
                self.kill()
                return
            self.error, code = error, _code_of(error)
        self._die(code)

    def _unwind(self, rounds: int) -> None:
        """Let what is left come to its end: it can't do anything to the world. Then put the journal in its place."""
        left = [each for each in self._tasks if not each.done()]
        if left:
            assert rounds, f"a killed process goes on: {left}"
            for task in left:
                task.cancel()
            self._world.loop.call_later(ROUND_SECONDS, self._unwind, rounds - 1, context=Context())
            return
        for each in self._journals:
            each._connection.close()  # in a process that dies, nobody makes a checkpoint
        for suffix in SUFFIXES:
            path = journal_path(self.settings, suffix)
            if suffix in self._left:
                path.write_bytes(self._left[suffix])
            else:
                path.unlink(missing_ok=True)
        self._world.ended(self)


def _code_of(error: BaseException) -> int:
    """Return the exit code of a process that ends by this error, as `run_to_the_end` does."""
    if isinstance(error, MAY_PASS):
        return Exit.TEMPORARY
    return Exit.USAGE if isinstance(error, MUST_BE_CORRECTED) else Exit.NOT_READY


def journal_path(settings: Settings, suffix: str = "") -> Path:
    """Return where the journal is, or another of its files."""
    return settings.state.directory / (FILE_NAME + suffix)


def make_task(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:
    """Make a task, and note it as one of the process whose code makes it: the factory of the loop."""
    context = options.get("context")
    process = owner.get() if context is None else context[owner]
    task = asyncio.Task(work, loop=loop, **options)
    if process is not None:
        process.add(task)
    return task


def _files_of(path: Path) -> dict[str, bytes]:
    """Return the content of a journal's files, by their suffixes. The `-shm` file is only an index, made anew."""
    found = {suffix: path.with_name(path.name + suffix) for suffix in SUFFIXES if suffix != "-shm"}
    return {suffix: file.read_bytes() for suffix, file in found.items() if file.exists()}
