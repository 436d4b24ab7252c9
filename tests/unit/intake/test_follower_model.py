"""The follower against a model of the file system: whatever happens between two steps, or within one.

The search looks for a counter-example to this: every line that was written with its newline, and that can still be
read, is delivered; no line is delivered that was never written; and none comes twice, unless two files can't be
distinguished. `tests/doubles/spool.py` says which lines can't be read in principle.
"""

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from asset_worker.intake.file import checkpoint, search, tail_reader
from asset_worker.intake.file.checkpoint import decode
from asset_worker.intake.file.follower import Follower
from tests.doubles.spool import FOREIGN, PATH, Inodes, Spool

KINDS = ["line", "line", "partial", "cut", "rest", "bad", "comment", "end", "zeros"]
PIECES = st.lists(st.sampled_from(KINDS), min_size=1, max_size=4)


def then(*actions: Callable[[Spool], object]) -> Callable[[Spool], None]:
    def act(spool: Spool) -> None:
        for action in actions:
            action(spool)

    return act


def append(spool: Spool) -> None:
    spool.append(["line"] * 2)


def rotate(spool: Spool) -> None:
    spool.rotate(chain=True)


DISTURBANCES: dict[str, Callable[[Spool], None]] = {
    "append": append,
    "append partial": lambda spool: spool.append(["partial"]),
    "append late": lambda spool: spool.append_late(["line"], 0),
    "rotate": rotate,
    "rotate and append": then(rotate, append),
    "rotate twice": then(rotate, append, rotate),
    "copy and truncate": lambda spool: spool.copy_and_truncate(chain=False),
    "copy, truncate and append": then(lambda spool: spool.copy_and_truncate(chain=True), append),
    "truncate and append": then(Spool.truncate, append, append),
    "replace": lambda spool: spool.replace(["line"], older=False),
    "delete": lambda spool: spool.delete(writer_stays=False),
}


class DisturbedOs:
    """`os`, where something else happens before a given call, and rotated files can't be opened or read for a while."""

    def __init__(self, disk: Inodes) -> None:
        self.disk = disk
        self.spell: tuple[str, int] | None = None
        """The call that fails, and the number of the error."""
        self.before: list[Callable[[], object]] = []
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in {"open", "pread", "fstat"}:
            return real

        def call(*args: Any, **kwargs: Any) -> Any:
            if self.before and self.calls == 0:
                self.before.pop()()
            self.calls -= 1
            if self.spell is not None and self.spell[0] == name and _is_rotated(args[0]):
                raise OSError(self.spell[1], os.strerror(self.spell[1]))
            return self._without_names_elsewhere(real(*args)) if name == "fstat" else real(*args, **kwargs)

        return call

    def _without_names_elsewhere(self, status: os.stat_result) -> os.stat_result:
        names = status.st_nlink - self.disk.names_elsewhere(status.st_ino)
        named = {name for name in dir(status) if name.startswith("st_")} - set(status.__match_args__)
        return os.stat_result((*status[:3], names, *status[4:]), {name: getattr(status, name) for name in named})


def _is_rotated(target: Path | int) -> bool:
    """Whether a path or a descriptor is that of a file that was rotated away, and has a name."""
    path = target if isinstance(target, Path) else Path(f"/proc/self/fd/{target}").readlink()
    return path.name != PATH and "(deleted)" not in path.name


class FollowerMachine(RuleBasedStateMachine):
    @initialize(existing=st.booleans(), linked=st.booleans(), reused=st.booleans())
    def start(self, existing: bool, linked: bool = False, reused: bool = False) -> None:
        """`linked`: the path that is followed is a symbolic link from another directory; `reused`: see `Inodes`."""
        self.stack = ExitStack()
        directory = tempfile.mkdtemp(prefix="spool")
        spool, elsewhere = Path(directory, "spool"), Path(directory, "elsewhere")
        spool.mkdir()
        elsewhere.mkdir()
        self.stack.callback(shutil.rmtree, directory)
        self.spool = Spool(Inodes(spool, elsewhere, reused=reused))
        self.path = self.spool.disk.path()
        if linked:
            link = Path(directory, "queue")
            link.symlink_to(self.path)
            self.path = link
        self.stack.callback(self.spool.close)
        self.follower: Follower | None = None
        self.stack.callback(self.die)
        self.positions: dict[str, bytes] = {}
        self.durably_retired = set(self.spool.retired)
        self.now = 0.0
        self.os = DisturbedOs(self.spool.disk)
        for module, name, value in (
            (tail_reader, "os", self.os),
            # Small, so that short files have many chunks and are longer than what is hashed of them.
            (tail_reader, "SMALLEST_CHUNK_BYTES", 24),
            (tail_reader, "CHUNK_BYTES", 48),
            (tail_reader, "READ_BYTES", 72),
            (tail_reader, "HEAD_BYTES", 16),
            (tail_reader, "TAIL_BYTES", 12),
            (search, "RETIRED_KEPT", 100),  # so that the model sees each file that is closed
            (checkpoint, "HEAD_BYTES", 16),
            (checkpoint, "TAIL_BYTES", 12),
        ):
            self.stack.enter_context(patch.object(module, name, value))
        if existing:
            self.spool.append(["line"])
        self.step(0.0, 1000, accepted=True, disturbance=None, at=0)

    def teardown(self) -> None:
        if not hasattr(self, "stack"):
            return
        with self.stack:
            self.settle()
            for _ in range(2):
                self.step(6.0, 1000, accepted=True, disturbance=None, at=0)

    # The world

    @rule(pieces=PIECES)
    def append(self, pieces: list[str]) -> None:
        self.spool.append(pieces)

    @rule(pieces=PIECES, which=st.integers(0, 5))
    def append_late(self, pieces: list[str], which: int) -> None:
        self.spool.append_late(pieces, which)

    @rule(chain=st.booleans(), pieces=st.one_of(st.just([]), PIECES))
    def rotate(self, chain: bool, pieces: list[str]) -> None:
        self.spool.rotate(chain=chain)
        if pieces:
            self.spool.append(pieces)

    @rule(chain=st.booleans(), pieces=st.one_of(st.just([]), PIECES))
    def copy_and_truncate(self, chain: bool, pieces: list[str]) -> None:
        self.spool.copy_and_truncate(chain=chain)
        if pieces:
            self.spool.append(pieces)

    @rule(chain=st.booleans())
    def copy(self, chain: bool) -> None:
        self.spool.copy(chain=chain)

    @rule(pieces=st.one_of(st.just([]), PIECES))
    def rewrite_in_place(self, pieces: list[str]) -> None:
        """The same inode, with another content: as one that was given out again."""
        self.spool.truncate()
        if pieces:
            self.spool.append(pieces)

    @rule(pieces=PIECES, older=st.booleans())
    def replace(self, pieces: list[str], older: bool) -> None:
        self.spool.replace(pieces, older=older)

    @rule(writer_stays=st.booleans(), pieces=st.one_of(st.just([]), PIECES))
    def delete(self, writer_stays: bool, pieces: list[str]) -> None:
        self.spool.delete(writer_stays=writer_stays)
        if pieces:
            self.spool.append(pieces)

    @rule()
    def stay_within_the_tick(self) -> None:
        """The next change comes within the same tick of the file system's clock."""
        self.spool.same_tick = True

    @rule(pieces=PIECES)
    def rotate_twice_while_down(self, pieces: list[str]) -> None:
        """Each file that is rotated unseen gets a name of another form."""
        self.die()
        for _ in range(2):
            self.spool.rotate(chain=False)
            self.spool.append(pieces)

    @rule()
    def change_device(self) -> None:
        """A reboot, or a new container: each checkpoint has another device number."""
        self.die()
        for name, position in self.positions.items():
            state = json.loads(position)
            for file in (*state["files"], *state["retired"]):
                file["device"] += 1
            self.positions[name] = json.dumps(state).encode()

    @rule()
    def restore(self) -> None:
        """The file is restored from a copy while the worker is down."""
        self.die()
        state = decode(next(iter(self.positions.values()), None))
        path = self.spool.disk.path()
        stored = None
        if state is not None and state.files and path.exists() and state.files[-1].offset:
            stored = state.files[-1].mtime if state.files[-1].inode == path.stat().st_ino else None
        self.spool.restore(stored_time=stored)
        self.step(0.0, 1000, accepted=True, disturbance=None, at=0)

    @rule(
        call=st.sampled_from(["open", "pread"]),
        number=st.sampled_from([errno.EIO, errno.ESTALE, errno.EACCES, errno.EMFILE]),
    )
    def begin_spell(self, call: str, number: int) -> None:
        """Rotated files can't be opened or read for a while. A copy can't be recognised meanwhile, and may repeat."""
        self.spool.in_doubt = True
        self.os.spell = (call, number)

    @rule()
    def end_spell(self) -> None:
        self.os.spell = None

    @rule()
    def write_foreign(self) -> None:
        """Another worker's queue file appears while ours stays where it is. Its lines are never delivered."""
        if not self.spool.disk.path(FOREIGN).exists():
            self.settle()
            self.rest()
            if not self.spool.is_at_rest:
                return
            self.spool.write_foreign()
            self.rest()
        self.spool.write_foreign()

    def rest(self) -> None:
        """Let the search settle."""
        for _ in range(6):
            self.step(1.0, 1000, accepted=True, disturbance=None, at=0)

    # The follower

    @rule(
        seconds=st.sampled_from([0.0, 0.25, 0.25, 1.0, 6.0]),
        limit=st.sampled_from([1000, 1000, 1, 2]),
        accepted=st.sampled_from([True, True, True, False]),
        disturbance=st.one_of(st.none(), st.none(), st.sampled_from(sorted(DISTURBANCES))),
        at=st.integers(0, 25),
    )
    def step(self, seconds: float, limit: int, accepted: bool, disturbance: str | None, at: int) -> None:
        """One step; the process may die before its batch is accepted."""
        follower = self.follower = self.follower or Follower(self.path, self.positions)
        if not follower._has_started:
            follower._start()
        files = follower._files
        self.now += seconds
        self.spool.waited += seconds
        retired_before = list(files._search.retired)
        self.spool.lately = []
        self.spool.unnamed = set()
        self.os.calls = at
        self.os.before = [lambda: DISTURBANCES[disturbance](self.spool)] if disturbance else []
        self.spool.looking = True
        step = follower.step(self.now, limit)
        batch = step.batch
        self.spool.looking = False
        self.os.before = []
        self.spool.holds(
            [file.identity[1] for file in files.files],
            [each.inode for each in files._search.retired if not any(each is other for other in retired_before)],
        )
        if not accepted:
            self.die()
        elif batch is not None:
            self.spool.deliver(batch)
            assert batch.position is not None
            self.positions = {batch.intake: batch.position}
            self.durably_retired = set(self.spool.retired)
        self.at_end = step.at_end
        self.has_more = step.has_more

    @rule()
    def die(self) -> None:
        """Crash: what was not durable is lost."""
        if self.follower is not None:
            self.follower.close()
            self.follower = None
            self.spool.retired = set(self.durably_retired)
            self.spool.holds([], [])

    @rule()
    def settle(self) -> None:
        """Once two steps have brought nothing, no line is owed, and `--once` would end."""
        self.end_spell()
        quiet = 0
        while quiet < 2:
            before = self.positions
            self.step(0.25, 1000, accepted=True, disturbance=None, at=0)
            quiet = quiet + 1 if self.positions == before and not self.has_more else 0
        assert not self.spool.owed, "a line is lost"
        assert self.at_end


TestFollowerModel = pytest.mark.timeout(3600)(FollowerMachine.TestCase)
TestFollowerModel.settings = settings(
    max_examples=settings().max_examples * 3,
    stateful_step_count=25,
    deadline=None,
    report_multiple_bugs=False,
    phases=set(Phase) - {Phase.explain},
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("at", range(26))
def test_a_copy_written_over_a_retired_file_while_that_is_recognised_is_read_from_its_start(at: int):
    """Found by the search: it was recognised by what it had held, and read on from where that had ended."""
    machine = FollowerMachine()
    machine.start(existing=False)
    machine.append(["line", "line"])
    machine.step(0.0, 1000, accepted=True, disturbance="copy, truncate and append", at=0)
    machine.append(["line"])
    machine.copy_and_truncate(chain=False, pieces=["partial", "partial", "line"])
    machine.step(6.0, 1000, accepted=True, disturbance=None, at=0)
    machine.step(0.0, 1000, accepted=True, disturbance="copy, truncate and append", at=at)
    machine.teardown()


@pytest.mark.parametrize("at", range(26))
@pytest.mark.parametrize("chain", [False, True])
def test_a_copy_written_over_a_known_file_while_that_is_examined_is_read(chain: bool, at: int):
    """Found by the search: the known file was remembered by its former size and time, and by the copy's first bytes.

    Of two files with the same content one is held, and which one it is depends on the order of the directory.
    """
    machine = FollowerMachine()
    machine.start(existing=False)
    machine.append(["line"])
    machine.copy(chain=not chain)
    machine.rotate(chain=chain, pieces=["line"])
    machine.write_foreign()
    machine.change_device()
    machine.step(0.0, 1000, accepted=True, disturbance="delete", at=4)
    machine.append(["line"])
    machine.step(0.0, 1000, accepted=True, disturbance="copy, truncate and append", at=at)
    machine.teardown()


def test_an_unreadable_file_on_the_inode_of_a_deleted_one_is_read_after_a_restart():
    """Found by the search: it was taken for the deleted file, whose checkpoint alone was stored."""
    machine = FollowerMachine()
    machine.start(existing=True, reused=True)
    machine.append(["line"])
    machine.replace(["line"], older=False)
    machine.change_device()
    machine.begin_spell("open", errno.EIO)
    machine.step(0.0, 1000, accepted=True, disturbance="rotate twice", at=0)
    machine.rest()
    machine.change_device()
    machine.teardown()


def test_a_copy_of_an_unreadable_file_is_found_once():
    """Found by the search: its checkpoint was removed twice, because another one led to it as well."""
    machine = FollowerMachine()
    machine.start(existing=False)
    machine.append(["line"])
    machine.restore()
    machine.rotate(chain=True, pieces=[])
    machine.change_device()
    machine.begin_spell("open", errno.EIO)
    machine.append(["line"])
    machine.copy(chain=True)
    machine.step(0.0, 1000, accepted=True, disturbance=None, at=0)
    machine.change_device()
    machine.teardown()


def test_a_copy_written_over_a_known_file_without_a_line_is_read():
    """Found by the search: it looked like the known file, grown."""
    machine = FollowerMachine()
    machine.start(existing=False)
    machine.append(["end"])
    machine.copy(chain=True)
    machine.write_foreign()
    machine.replace(["end", "line"], older=False)
    machine.copy_and_truncate(chain=True, pieces=[])
    machine.teardown()


def test_a_closed_file_that_begins_like_a_missing_one_is_not_read_again():
    """Found by the search: of the missing file only a blank line had been read, and the closed one began with one."""
    machine = FollowerMachine()
    machine.start(existing=False)
    machine.rotate_twice_while_down(["end", "line"])
    machine.copy_and_truncate(chain=False, pieces=[])
    machine.append(["end"])
    machine.write_foreign()
    machine.replace(["line"], older=False)
    machine.change_device()
    machine.teardown()


def test_the_checkpoint_of_rewritten_content_does_not_repeat_the_new_one_on_another_device():
    """Found by the search: only the device number showed that the file on this inode was open already."""
    machine = FollowerMachine()
    machine.start(existing=False)
    machine.rotate(chain=False, pieces=["zeros"])
    machine.step(0.0, 1000, accepted=True, disturbance=None, at=0)
    machine.rewrite_in_place(["line"])
    machine.step(0.0, 1000, accepted=True, disturbance=None, at=0)
    machine.change_device()
    machine.teardown()


def test_a_file_without_a_line_at_the_path_does_not_show_that_nothing_was_rotated():
    """Found by the search: another one like it had come to the same inode while the worker was down."""
    machine = FollowerMachine()
    machine.start(existing=False, reused=True)
    machine.rewrite_in_place(["end"])
    machine.write_foreign()
    machine.delete(pieces=["line"], writer_stays=False)
    machine.copy_and_truncate(chain=False, pieces=[])
    machine.change_device()
    machine.delete(pieces=[], writer_stays=False)
    machine.rewrite_in_place(["end"])
    machine.teardown()
