"""A simulated world: one machine with the worker, who writes to it and reads from it, and a record of all of it."""

from __future__ import annotations

import math
import signal
import traceback
from base64 import b64decode
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final, TypeVar

from asset_worker.domain.run_plan import RunPlan
from asset_worker.settings.tree import Settings
from asset_worker.simulator.lifecycles import KINDS, Lifecycle
from tests.simulation.api import SimulatedApi
from tests.simulation.assets import draw_asset_id
from tests.simulation.clients import post_until_answered
from tests.simulation.disk_faults import DiskFull, DiskSlow, FilesFail, JournalFails, ReceiverFails
from tests.simulation.earlier_state import EarlierState, earlier_state
from tests.simulation.evidence import events_of, lines_of_events
from tests.simulation.faults import Fault
from tests.simulation.file_system import SimulatedFiles
from tests.simulation.loop import SimulatedLoop
from tests.simulation.machine import Machine
from tests.simulation.process import KILLED, Process, make_task, owner
from tests.simulation.rate_limits import RateLimits
from tests.simulation.receivers import SimulatedReceiver
from tests.simulation.records import Exit, Line, Rejected, Submission, Trouble
from tests.simulation.setup import (
    BASE_URL,
    COPIES,
    EVENTS_FILE,
    KEYS,
    QUEUE_FILE,
    ROOT,
    SECRET,
    TOKEN,
    Setup,
    receiver,
)
from tests.simulation.system_calls import SimulatedOs
from tests.simulation.threads import ProcessDied
from tests.simulation.writers import Writers

T = TypeVar("T")

SIGNING_KEY: Final = b64decode(SECRET.removeprefix("whsec_"))
RESTART_SECONDS: Final = 1.0
"""After how many seconds a process that ended by itself is started again, as by systemd."""
ASK_SECONDS: Final = 2.0
"""How often it is asked whether a history is over."""
QUIET_SECONDS: Final = 20.0
"""After the last fault, so long at least passes until a history is over: by then everything written was read."""
ACCOUNT_SECONDS: Final = 30.0
"""So long after an asset is visible the worker has read the account, whose interval is 10 seconds."""
IDLE_ASKS: Final = 4
"""So often in a row it must have nothing to do: where there was no room, the queue file is read on."""
KILL_SECONDS: Final = 5.0
"""The longest time until a kill, if so few steps are made."""
FORMS: Final = {"bare": "{}\n", "object": '{{"asset_id": "{}", "metadata": {{"by": "writer"}}}}\n', "crlf": "{}\r\n"}
KIND_NAMES: Final = tuple(KINDS)


class World:
    """The world of one history. Everything in it follows from the setup, the actions and the seed."""

    def __init__(self, setup: Setup, seed: int, directory: Path) -> None:
        """Make an empty world, in which the worker does not run yet. `directory`: a real one, for its state."""
        random = Random(seed)
        self.setup = setup
        self.loop = SimulatedLoop()
        self.loop.set_task_factory(make_task)
        self.loop.set_exception_handler(self._unhandled)
        self.machine = Machine(self.loop.time)
        self.files = SimulatedFiles(Random(random.random()), self.machine.wall_ns)
        self.writers = Writers(self.files, self.loop)
        self.api = SimulatedApi(Random(random.random()), self.loop.time, self.machine.true_time)
        self.api.keys = {*KEYS}
        self.receivers = {
            receiver(number): SimulatedReceiver(Random(random.random()), self.loop.time, self.machine.true_time)
            for number in range(setup.webhooks)
        }
        for each in self.receivers.values():
            each.secrets = (SIGNING_KEY,)
        self._random = Random(random.random())
        self.files.mkdir(ROOT)
        self._directory = directory
        for name, text in (("key", KEYS[0]), ("tokens", TOKEN), ("secrets", SECRET)):
            self._write_secret(name, text)
        self.settings = Settings.model_validate(setup.settings(str(directory)))
        self.process: Process | None = None
        self._restart_in = RESTART_SECONDS
        self._is_over = False
        self.troubles: list[Trouble] = []
        self._files_faults: dict[int, Any] = {}
        self._key_number = 0
        self._idle_asks = 0
        self.system = SimulatedOs(self.files)
        """What stands in for `os` while no process runs."""

        self.calm_at = 0.0
        self.log_lines: list[Line] = []
        self.submissions: list[Submission] = []
        self.rejected: list[Rejected] = []
        self.exits: list[Exit] = []
        self.starts: list[float] = []
        self.rotations = {QUEUE_FILE: 0, EVENTS_FILE: 0}
        self.copied_at: dict[int, float] = {}
        """When the events file was copied and truncated, by the number of that rotation."""
        self.unhandled: list[str] = []
        """Errors in the event loop that nobody has handled."""
        self.power_cuts: list[float] = []
        self.key_changes: list[float] = []

        self.completions_before: Mapping[str, int] = {}
        """The number of the completion that each asset of an earlier version has had last, or waits for."""
        self.owed_before: Mapping[str, Sequence[str]] = {}
        """The IDs of the events that an earlier version owed to each sink."""
        self.events_before: frozenset[str] = frozenset()
        """The IDs of the events that an earlier version has written to the events file."""
        if setup.earlier:
            self._inherit(earlier_state(setup.earlier))

    def _inherit(self, left: EarlierState) -> None:
        """Take over what an earlier version has left behind."""
        self.files.mkdir(COPIES)
        for name, file in left.files.items():
            self.files.write(f"{ROOT}/{name}", file.content)
            self.files.set_time(f"{ROOT}/{name}", file.mtime_ns)
        inodes = {name: self.files.status(f"{ROOT}/{name}").st_ino for name in left.files}
        left.put(self.settings.state.directory, root=ROOT, inodes=inodes, base_url=BASE_URL, wall=self.machine.wall())
        left.add_assets(self.api.account, born=self.loop.time())
        made = left.made
        self.completions_before = dict.fromkeys(made.settled, 1) | made.pending
        self.owed_before = {name: [*ids] for name, ids in made.undelivered.items()}
        self.submissions += [
            Submission(each, 0.0, "file", 0.0) for each in (*made.settled, *made.pending, *made.unseen)
        ]
        self.rotations[QUEUE_FILE] = sum(name.startswith("queue.") for name in left.files)
        self.events_before = frozenset(each["id"] for each in events_of(lines_of_events(self))[0])

    # What the seams need

    def open_api(self, total_timeout: float) -> Any:
        """See `seams.Network`."""
        return self.api.open_pool(total_timeout, client=owner.get(), check=self._check_alive)

    def open_receiver(self, host: str) -> Any:
        """See `seams.Network`."""
        return self.receivers[host].open_session(check=self._check_alive)

    def _check_alive(self) -> None:
        if (process := owner.get()) is not None and process.is_dead:
            raise ProcessDied

    def log(self, process: Process | None, event: Mapping[str, Any]) -> None:
        """See `seams.Network`."""
        if process is None or not process.is_dead:
            fields = {name: value for name, value in event.items() if name not in {"event", "level"}}
            self.log_lines.append(Line(self.loop.time(), event["event"], event["level"], fields))

    def delay_of(self, thread: str) -> float:
        """See `process.Surroundings`."""
        return sum(each.seconds for each in self.present(DiskSlow) if each.thread == thread)

    def journal_error(self) -> Exception | None:
        """Return the error with which a transaction fails now; None: it works."""
        failing = self.present(JournalFails)
        return failing[0].error() if failing else None

    def ended(self, process: Process) -> None:
        """See `process.Surroundings`."""
        assert process.exit_code is not None
        was_killed, error = process.exit_code == KILLED, process.error
        self.files.close_all(process.system)
        self.exits.append(
            Exit(
                self.loop.time(),
                process.exit_code,
                process.started_at,
                process.asked_at,
                process.times_asked,
                was_killed,
                None if error is None else "".join(traceback.format_exception(error)),
            )
        )
        if not self._is_over:
            self.loop.call_later(self._restart_in, self.start)
        self._restart_in = RESTART_SECONDS

    def present(self, kind: type[T]) -> list[T]:
        """Return the faults of this kind that last now."""
        return [each.fault for each in self.troubles if each.ends == math.inf and isinstance(each.fault, kind)]

    def _unhandled(self, _loop: object, context: dict[str, Any]) -> None:
        if not isinstance(context.get("exception"), ProcessDied):
            self.unhandled.append(f"{context.get('message')}: {context.get('exception')!r}")

    # What happens

    def start(self) -> None:
        """Start the worker, unless it runs."""
        if self.process is None or not self.process.is_running:
            self.starts.append(self.loop.time())
            self.process = Process(self, self.settings, RunPlan())

    def append(self, lives: tuple[Lifecycle, ...], *, form: str, junk: tuple[str, ...], repeats: int) -> None:
        """See `actions.Stage`."""
        for asset_id in self._ids(lives, repeats):
            self.writers.append(FORMS[form].format(asset_id).encode())
            self._submitted(asset_id, "file", is_certain=True)
        for line in junk:
            self.writers.append(line.encode() + b"\n")
            self.rejected.append(Rejected(line, self.loop.time()))

    def tear(self, life: Lifecycle, *, share: float, rest_after: float) -> None:
        """See `actions.Stage`."""
        [asset_id] = self._ids((life,), 0)

        def done() -> None:
            self._submitted(asset_id, "file", is_certain=True)

        self.writers.tear(asset_id.encode() + b"\n", share=share, rest_after=rest_after, done=done)

    def rotate(self, how: str) -> None:
        """See `actions.Stage`. A line that is written in part is not rotated away from its writer."""
        path = EVENTS_FILE if how.startswith("events") else QUEUE_FILE
        if not self.files.exists(path) or (path == QUEUE_FILE and self.writers.is_within_line):
            return
        if how == "events_copy" and self.exits:
            # What a killed worker has written last, and not noted, is then in the copy, where nobody looks for it.
            how = "events"
        self.rotations[path] = count = self.rotations[path] + 1
        for number in range(count, 1, -1):
            self.files.rename(f"{path}.{number - 1}", f"{path}.{number}")
        if how in {"copytruncate", "events_copy"}:
            self.files.copy(path, f"{path}.1")
            self.files.truncate(path, 0)
            if path == EVENTS_FILE:
                self.copied_at[count] = self.loop.time()
        else:
            self.files.rename(path, f"{path}.1")

    def submit(self, lives: tuple[Lifecycle, ...], *, repeats: int) -> None:
        """See `actions.Stage`."""
        ids = self._ids(lives, repeats)
        if ids and self.setup.http:
            sent = [self._submitted(asset_id, "http", is_certain=False) for asset_id in ids]
            self.loop.create_task(post_until_answered(self, sent))

    def upload(self, lives: tuple[Lifecycle, ...]) -> None:
        """See `actions.Stage`."""
        self._ids(lives, 0)

    def delete(self, number: int) -> None:
        """See `actions.Stage`."""
        if ids := [*self.api.account.assets]:
            self.api.delete(ids[number % len(ids)])

    def begin(self, fault: object, *, lasts: float) -> None:
        """See `actions.Stage`."""
        trouble = Trouble(fault, self.loop.time())
        self.troubles.append(trouble)
        if isinstance(fault, FilesFail):
            self._files_faults[id(trouble)] = self.files.fail(fault.prefix, fault.number, calls=fault.calls)
        self._apply()
        self.loop.call_later(lasts, self._end, trouble)

    def _end(self, trouble: Trouble) -> None:
        if trouble.ends == math.inf:
            trouble.ends = self.loop.time()
            if (fault := self._files_faults.pop(id(trouble), None)) is not None:
                self.files.mend(fault)
            self._apply()

    def _apply(self) -> None:
        """Let the faults that last now, and no others, be in force."""
        self.api.faults = self.present(Fault)
        limits = self.present(RateLimits)
        if self.api.limits is not (limits[-1] if limits else None):
            self.api.limits = limits[-1] if limits else None
        full = self.present(DiskFull)
        if full and EVENTS_FILE not in self.files.room:
            self.files.room[EVENTS_FILE] = full[0].room
        elif not full:
            self.files.room.pop(EVENTS_FILE, None)
        for host, each in self.receivers.items():
            each.faults = [fault.fault for fault in self.present(ReceiverFails) if fault.host == host]

    def set_clock(self, by: float) -> None:
        """See `actions.Stage`."""
        self.machine.set_by += by

    def drift(self, share: float) -> None:
        """See `actions.Stage`."""
        self.machine.drift(share)

    def signal(self, number: signal.Signals) -> None:
        """See `actions.Stage`."""
        if self.process is not None and self.process.is_running:
            self.process.send(number)

    def replace_key(self) -> None:
        """See `actions.Stage`."""
        self._key_number = 1 - self._key_number
        self._write_secret("key", KEYS[self._key_number])
        self.key_changes.append(self.loop.time())

    def stop(self, *, down: float) -> None:
        """See `actions.Stage`."""
        if self.process is not None and self.process.is_running:
            self._restart_in = down
            self.process.ask_to_stop()

    def kill(self, *, steps: int, calls: int | None, down: float, power: bool) -> None:
        """See `actions.Stage`."""
        process = self.process
        if process is None or not process.is_running:
            return
        self._restart_in = down
        process.system.dies_in = calls
        last = math.inf if calls is not None else self.loop.steps + steps
        self.loop.run_until(
            lambda: self.loop.steps >= last or not process.is_running, at=self.loop.time() + KILL_SECONDS
        )
        if process.is_running:
            process.kill()
        if power:
            self.files.power_cut()
            self.machine.boot()
            self.power_cuts.append(self.loop.time())

    # The end

    is_settled = False
    """Whether everything was settled and delivered in time."""
    tasks_at_end = 0
    """How many tasks the worker had when all was done."""
    open_at_end: Sequence[str] = ()
    """The files that it had open when it ended."""
    left_before = ""
    """What was left to do then, in words."""
    has_ended = False
    """Whether the last process ended in time."""

    def is_done(self) -> bool:
        """Return whether the worker runs, has read everything, and has nothing left to do."""
        now = self.loop.time()
        process = self.process
        if process is None or not process.is_running or process.service is None or not process.service.is_built:
            return False
        if self.writers.is_within_line or any(each.certain_at == math.inf for each in self.submissions):
            return False
        if self.setup.account and now < self.api.account.all_visible_at() + ACCOUNT_SECONDS:
            return False
        known = process.service.snapshot()
        has_nothing = not known.pending and not known.outbox_depth and now >= self.calm_at + QUIET_SECONDS
        self._idle_asks = self._idle_asks + 1 if has_nothing else 0
        return self._idle_asks >= IDLE_ASKS

    def left(self) -> str:
        """Return what is left to do, in words."""
        process = self.process
        if process is None or not process.is_running or process.service is None or not process.service.is_built:
            return "the worker does not run"
        known = process.service.snapshot()
        unanswered = sum(each.certain_at == math.inf for each in self.submissions)
        torn = int(self.writers.is_within_line)
        return f"{known.pending} pending, {known.outbox_depth} undelivered, {unanswered} not answered, {torn} torn"

    def close(self) -> None:
        """Let go of what is left."""
        if self.process is not None and self.process.is_running:
            self._is_over = True
            self.process.kill()
            self.loop.run_for(1.0)
        self.loop.close()

    def calm_down(self) -> None:
        """End all faults."""
        for each in self.troubles:
            self._end(each)
        self.machine.correct()
        self.signal(signal.SIGHUP)  # a receiver that answered 410 gets nothing until the operator says so
        self.calm_at = self.loop.time()

    def end(self, *, within: float) -> bool:
        """Stop the worker for good. Return whether it ended in time."""
        self._is_over = True
        self.left_before = self.left()
        process = self.process
        if process is None or not process.is_running:
            return True
        self.tasks_at_end = process.count_tasks()
        process.ask_to_stop()
        has_ended = self.loop.run_until(lambda: not process.is_running, at=self.loop.time() + within)
        self.open_at_end = [each.path for each in self.files.descriptors.values()]
        self.loop.run_for(ASK_SECONDS)
        return has_ended

    def submitted_ids(self) -> list[str]:
        """Return the IDs that were submitted so far, each once."""
        return [*dict.fromkeys(each.asset_id for each in self.submissions)]

    def _ids(self, lives: Sequence[Lifecycle], repeats: int) -> list[str]:
        """Upload assets. Return their IDs, and some that were submitted before."""
        known = self.submitted_ids()
        found = []
        for life in lives:
            asset_id = draw_asset_id(self._random)
            kind = self._random.choice(KIND_NAMES)
            found.append(self.api.upload(kind, life, asset_id=asset_id))
        return found + (known[-repeats:] if repeats else [])

    def _submitted(self, asset_id: str, through: str, *, is_certain: bool) -> Submission:
        now = self.loop.time()
        submission = Submission(asset_id, now, through, now if is_certain else math.inf)
        self.submissions.append(submission)
        return submission

    def _write_secret(self, name: str, text: str) -> None:
        draft = self._directory / f"{name}.new"
        draft.write_text(text)
        draft.chmod(0o600)
        draft.replace(self._directory / name)
