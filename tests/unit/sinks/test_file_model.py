"""The file sink against a model of the world: crashes, power cuts, full disks, rotation and other writers, at any call.

The search looks for a counter-example to this: the files taken together hold each event exactly once, in order, as
whole lines, whatever happens at any call; and no other writer's line is lost.
"""

import asyncio
import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from structlog.testing import capture_logs

from asset_worker.domain.events import Stored
from asset_worker.runtime.stop import Stop
from asset_worker.sinks import delivery
from asset_worker.sinks.delivery import Delivery
from asset_worker.sinks.file import opening, scan, sink, writing
from asset_worker.sinks.file.sink import FileSink
from asset_worker.sinks.ports import Sent
from tests.doubles.clocks import ManualClock
from tests.doubles.outbox import Crash, FaultyOs, InstantSleep, MemoryOutbox
from tests.doubles.threads import InlineThread

CALLS = 45
"""More than a delivery makes when nothing goes wrong."""


class Fault(msgspec.Struct, frozen=True):
    """Something that goes wrong, from call number `at` on."""

    at: int


class CrashAt(Fault, frozen=True):
    after: bool
    power: float | None
    """The share of what was not synced that a power cut leaves on the disk. None: only the process died."""
    zeros: bool


class PartialWrite(Fault, frozen=True):
    """The first write from there on writes a part of its bytes, and the process dies."""

    share: float


class Failing(Fault, frozen=True):
    """Calls of these kinds fail until `tries` have failed."""

    calls: frozenset[str]
    tries: int


class ShortWrites(Fault, frozen=True):
    """A disk that takes only `bytes_taken` of a write until `tries` have failed. Calls may fail, too."""

    bytes_taken: int
    calls: frozenset[str]
    tries: int


class Disturbance(Fault, frozen=True):
    """Another process does something in between."""

    kind: str


AT = st.integers(0, CALLS)
KINDS_OF_CALL = st.frozensets(st.sampled_from(sorted(FaultyOs.CALLS - {"scandir", "fsync"})), min_size=1, max_size=3)
FAULTS: st.SearchStrategy[Fault | None] = st.one_of(
    st.none(),
    st.builds(
        CrashAt,
        at=AT,
        after=st.booleans(),
        power=st.one_of(st.none(), st.sampled_from([0.0, 0.3, 0.9, 1.0])),
        zeros=st.booleans(),
    ),
    st.builds(PartialWrite, at=AT, share=st.floats(0, 1)),
    st.builds(Failing, at=AT, calls=KINDS_OF_CALL, tries=st.integers(1, 3)),
    st.builds(
        ShortWrites,
        at=AT,
        bytes_taken=st.integers(1, 150),
        calls=st.one_of(st.just(frozenset[str]()), KINDS_OF_CALL),
        tries=st.integers(1, 3),
    ),
    st.builds(Disturbance, at=AT, kind=st.sampled_from(["rotate", "rotate and create", "append", "append partial"])),
)


class Lasting:
    """A sink that stays open from one run of its delivery to the next, as in a process that lives on."""

    def __init__(self, sink: FileSink) -> None:
        self.sink = sink
        self.name = sink.name
        self.resumed = False

    def resume(self, checkpoint: bytes | None) -> None:
        if not self.resumed:
            self.sink.resume(checkpoint)
            self.resumed = True

    async def check(self) -> None:
        await self.sink.check()

    async def send(self, events: Sequence[Stored]) -> Sent:
        return await self.sink.send(events)

    async def close(self) -> None:
        pass


class WatchedOutbox(MemoryOutbox):
    before: Callable[..., int | BaseException | None]

    async def advance(self, sink: str, position: int, checkpoint: bytes | None) -> None:
        effect = self.before("advance")
        await super().advance(sink, position, checkpoint)
        if isinstance(effect, BaseException):
            raise effect


class FileSinkMachine(RuleBasedStateMachine):
    @initialize(existing=st.sampled_from([None, b"", b"old line\n", b"old partial"]))
    def start(self, existing: bytes | None) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="sinks"))
        self.path = self.directory / "events.jsonl"
        self.gone: list[Path | bytes] = []
        """Rotated files and the contents of deleted ones, the oldest first."""
        self.loop = asyncio.new_event_loop()
        self.outbox = WatchedOutbox()
        self.outbox.before = self.before
        self.others = 0
        self.clean = True
        self.fault: Fault | None = None
        self.calls = 0
        self.synced: dict[int, int] = {}
        self.sink: Lasting | None = None
        self.old = existing or b""
        self.stack = ExitStack()
        self.stack.enter_context(capture_logs())
        for module in (sink, opening, scan, writing):
            self.stack.enter_context(patch.object(module, "os", FaultyOs(self.before)))
        self.stack.enter_context(patch.object(delivery, "BATCH_EVENTS", 4))
        self.stack.enter_context(patch.object(scan, "CHUNK_BYTES", 50))
        if existing is not None:
            self.path.write_bytes(existing)
            self.sync()

    def teardown(self) -> None:
        if not hasattr(self, "stack"):
            return
        try:
            self.fault = None
            self.send()
            self.check(drained=True)
        finally:
            self.die()
            self.stack.close()
            self.loop.close()
            shutil.rmtree(self.directory)

    # The world

    @rule(count=st.integers(1, 6), size=st.sampled_from([0, 90]))
    def complete(self, count: int, size: int) -> None:
        self.outbox.add(count, size=size)

    @rule(fault=FAULTS)
    def deliver(self, fault: Fault | None) -> None:
        self.fault, self.calls = fault, 0
        self.send()

    @rule(count=st.integers(1, 6), fault=FAULTS)
    def complete_and_deliver(self, count: int, fault: Fault | None) -> None:
        self.complete(count, 0)
        self.deliver(fault)

    @rule()
    def restart(self) -> None:
        self.die()

    @rule(create=st.booleans())
    def rotate(self, create: bool) -> None:
        if self.path.exists():
            rotated = self.directory / f"events.jsonl.{len(self.gone)}"
            self.path.rename(rotated)
            self.gone.append(rotated)
        if create:
            self.path.touch()

    @rule(partial=st.booleans())
    def append(self, partial: bool) -> None:
        self.others += 1
        with self.path.open("ab") as other:
            other.write(f"<other {self.others}>".encode() + (b"" if partial else b"\n"))
        self.sync()

    def sync(self) -> None:
        status = self.path.stat()
        self.synced[status.st_ino] = status.st_size

    @precondition(lambda self: self.clean)
    @rule(recreate=st.booleans())
    def delete(self, recreate: bool) -> None:
        if self.path.exists():
            self.gone.append(self.path.read_bytes())
            self.synced.pop(self.path.stat().st_ino, None)
            self.path.unlink()
        if recreate:
            self.path.touch()

    @precondition(lambda self: self.clean)
    @rule()
    def copy_and_truncate(self) -> None:
        if self.path.exists():
            self.gone.append(self.path.read_bytes())
            os.truncate(self.path, 0)

    # The worker

    def send(self) -> None:
        stop = Stop()
        stop.set("test")
        if self.sink is None:
            self.sink = Lasting(FileSink(self.path, InlineThread(), lock_timeout=0))
        sleep = InstantSleep(self.on_sleep)
        self.clean = False
        try:
            self.loop.run_until_complete(Delivery(self.sink, self.outbox, ManualClock(), sleep=sleep).run(stop))
        except Crash:
            crash = self.fault
            self.fault = None
            self.die()
            if isinstance(crash, CrashAt) and crash.power is not None:
                self.cut_power(crash.power, zeros=crash.zeros)
        else:
            self.fault = None
            self.clean = True
            self.check(drained=True)

    def on_sleep(self, count: int) -> None:
        assert isinstance(self.fault, Failing | ShortWrites), "a try failed, and nothing was wrong"
        if count >= self.fault.tries:
            self.fault = None

    def before(self, call: str, *args: Any) -> int | BaseException | None:
        effect = self.effect(call)
        if call == "fdatasync":
            status = os.fstat(*args)
            self.synced[status.st_ino] = status.st_size
        elif call == "ftruncate":
            fd, length = args
            inode = os.fstat(fd).st_ino
            self.synced[inode] = min(length, self.synced.get(inode, 0))
        return effect

    def effect(self, call: str) -> int | BaseException | None:
        fault = self.fault
        self.calls += 1
        if fault is None or self.calls <= fault.at:
            return None
        match fault:
            case CrashAt(after=after):
                if not after:
                    raise Crash
                return Crash()
            case PartialWrite(share=share):
                if call == "write":
                    self.fault = CrashAt(0, after=False, power=None, zeros=False)
                    return int(share * 100)
            case Failing(calls=calls) if call in calls:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            case ShortWrites(bytes_taken=taken, calls=calls):
                if call in {"write", "pwrite"}:
                    return taken
                if call in calls:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            case Disturbance(kind=kind) if call != "ftruncate":
                self.fault = None
                if kind.startswith("rotate"):
                    self.rotate(create="create" in kind)
                # A partial line that another writer begins between our scan and our write looks like ours.
                elif call not in {"write", "pread"} or "partial" not in kind:
                    self.append(partial="partial" in kind)
            case _:
                pass
        return None

    def die(self) -> None:
        if self.sink is not None:
            fd = self.sink.sink._fd
            if fd is not None:
                os.close(fd)
            self.sink = None

    def cut_power(self, share: float, *, zeros: bool) -> None:
        for path in self.directory.iterdir():
            status = path.stat()
            size, synced = status.st_size, min(status.st_size, self.synced.get(status.st_ino, 0))
            kept = synced + int((size - synced) * share)
            os.truncate(path, kept)
            if zeros:
                os.truncate(path, size)

    # The promise

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "stack"):
            self.check(drained=False)

    def check(self, *, drained: bool) -> None:
        contents = [where if isinstance(where, bytes) else where.read_bytes() for where in self.gone]
        contents += [self.path.read_bytes()] if self.path.exists() else []
        bodies = [event.body for event in self.outbox.events]
        known = set(bodies)
        lines = [line for content in contents for line in content.split(b"\n")[:-1]]
        ours = [line for line in lines if line in known]
        assert ours == bodies[: len(ours)], "an event is repeated, missing or out of order"
        position = self.outbox.positions.get(f"file:{self.path}", 0)
        assert len(ours) >= position, "an event is recorded as delivered, and is not there"
        everything = b"\n".join(contents)
        for number in range(1, self.others + 1):
            assert everything.count(f"<other {number}>".encode()) == 1, "another writer's line is lost"
        if drained:
            assert ours == bodies, "an event is missing"
            if not self.others and not self.old:
                assert lines == bodies, "a broken line"
                assert all(content.endswith(b"\n") or not content for content in contents), "a partial last line"


class Bounded(FileSinkMachine):
    """The default number of cases."""


TestFileSinkModel = pytest.mark.timeout(3600)(Bounded.TestCase)
TestFileSinkModel.settings = settings(
    max_examples=int(os.environ.get("MODEL_CASES", "300")),
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
