"""The worker's own parts over simulated files: the file sink and the follower, through rotation, crashes and faults."""

import asyncio
import errno
from pathlib import Path
from random import Random
from unittest.mock import patch

import pytest
from structlog.testing import capture_logs

from asset_worker.runtime import paths
from asset_worker.runtime.links import walked
from asset_worker.runtime.stop import Stop
from asset_worker.sinks import delivery
from asset_worker.sinks.delivery import Delivery
from asset_worker.sinks.file.sink import FileSink
from tests.doubles.clocks import ManualClock
from tests.doubles.intake import Following
from tests.doubles.outbox import InstantSleep, MemoryOutbox
from tests.doubles.threads import InlineThread
from tests.simulation.disk import FALLIBLE
from tests.simulation.file_system import SimulatedFiles
from tests.simulation.installing import installed
from tests.simulation.system_calls import ProcessDiedError, SimulatedOs

DIRECTORY = Path("/simulated/spool")
QUEUE = DIRECTORY / "queue"
EVENTS = DIRECTORY / "events.jsonl"
SECOND = 10**9
KEPT = 30
"""How many rotated files there are at most."""


class World:
    """A disk whose clock goes on by a second with each look at it, and the processes that use it."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.time = 1_700_000_000 * SECOND
        self.files = SimulatedFiles(self.random, lambda: self.time)
        self.files.forgets_failed_syncs = True
        self.files.mkdir(DIRECTORY)
        self.written = 0
        self.outbox = MemoryOutbox()

    def submit(self, count: int = 1) -> None:
        """Append lines to the queue."""
        for _ in range(count):
            self.written += 1
            self.files.append(QUEUE, b"asset%d\n" % self.written)

    def rotate(self, path: Path, how: str) -> None:
        """Rotate a file; the one that was rotated before is kept under the next number."""
        for number in range(KEPT - 1, 0, -1):
            if self.files.exists(f"{path}.{number}"):
                self.files.rename(f"{path}.{number}", f"{path}.{number + 1}")
        if how == "rename":
            self.files.rename(path, f"{path}.1")
        else:
            self.files.copy(path, f"{path}.1")
            self.files.truncate(path)

    def lines(self, path: Path) -> list[bytes]:
        """Return the lines of a file and of those that were rotated away, the oldest first."""
        paths = [*(f"{path}.{number}" for number in range(KEPT, 0, -1)), str(path)]
        return [line for each in paths if self.files.exists(each) for line in self.files.read(each).splitlines()]

    @property
    def bodies(self) -> list[bytes]:
        return [event.body for event in self.outbox.events]

    def deliver(self, system: SimulatedOs, sleep: InstantSleep | None = None) -> None:
        """Let a process write all that there is, and end."""

        async def run() -> None:
            stop = Stop()
            stop.set("test")
            sink = FileSink(EVENTS, InlineThread(), lock_timeout=0)
            await Delivery(sink, self.outbox, ManualClock(), sleep=sleep or InstantSleep()).run(stop)

        with installed(system), capture_logs(), patch.object(delivery, "BATCH_EVENTS", 3):
            asyncio.run(run())


@pytest.mark.parametrize("seed", [*range(40), 745, 769])  # the last two forget rotated files while unsettled
@pytest.mark.parametrize("how", ["rename", "copytruncate"])
def test_every_line_is_read_once_through_rotations_and_whichever_call_a_process_dies_in(seed: int, how: str):
    """Lines are torn, and go on in the rotated file until their writer opens the new one."""
    world = World(seed)
    system, following = SimulatedOs(world.files), Following(QUEUE)
    read: list[str] = []

    def step(seconds: float) -> list[str]:
        nonlocal system
        world.time += int(seconds * SECOND)
        with installed(system):
            try:
                return following.step(seconds)
            except ProcessDiedError:
                system.close_all()
                system = SimulatedOs(world.files)
        with installed(system):
            following.restart()
        return []

    step(1.0)  # what is rotated away before the first look of all is not read
    for _ in range(30):
        writer = world.files.open_writer(QUEUE)
        system.dies_in = world.random.choice([None, world.random.randint(0, 60)])
        for _ in range(world.random.randint(0, 3)):
            world.written += 1
            writer.append(b"asset")
            read += step(0.25)
            writer.append(b"%d\n" % world.written)
        if world.files.read(QUEUE) and world.random.random() < 0.3:
            world.rotate(QUEUE, how)
            read += step(world.random.choice([0.25, 1.0]))
            world.written += 1
            writer.append(b"asset%d\n" % world.written)
        writer.close()
        read += step(1.0)
    system.dies_in = None
    for _ in range(4):
        read += step(10.0)
    with installed(system):
        following.follower.close()
    assert sorted(read) == sorted(f"asset{number}" for number in range(1, world.written + 1))
    assert not [detail for what, detail in following.events() if what == "gap" and "rotated file" in str(detail)]
    assert not world.files.descriptors


@pytest.mark.parametrize("power", [False, True], ids=["the process dies", "the power is cut"])
@pytest.mark.parametrize("seed", range(30))
def test_every_event_is_written_once_whichever_call_a_process_dies_in(seed: int, power: bool):
    world = World(seed)
    crashes = 0
    for _ in range(8):
        world.time += SECOND
        world.outbox.add(world.random.randint(1, 5))
        system = SimulatedOs(world.files)
        system.dies_in = world.random.randint(0, 40)
        try:
            world.deliver(system)
        except ProcessDiedError:
            crashes += 1
            system.close_all()
            if power:
                world.files.power_cut()
        if world.files.exists(EVENTS) and world.random.random() < 0.5:
            # What was written and not recorded before a crash would be repeated if it was only in a copy.
            world.rotate(EVENTS, "rename" if system.dead else world.random.choice(["rename", "copytruncate"]))
        assert not world.files.descriptors
    world.deliver(SimulatedOs(world.files))
    assert world.lines(EVENTS) == world.bodies
    assert crashes, "none of the processes died"


@pytest.mark.parametrize("seed", range(30))
def test_every_event_is_written_once_although_calls_fail_and_the_disk_is_full(seed: int):
    world = World(seed)
    for _ in range(5):
        world.outbox.add(world.random.randint(1, 7))
        kind = world.random.choice([errno.EIO, errno.EACCES, errno.ESTALE, errno.ENOENT])
        calls = {*world.random.sample(sorted(FALLIBLE), 3)}
        world.files.fail(DIRECTORY, kind, calls=calls, times=world.random.randint(1, 9))
        world.files.room[str(DIRECTORY)] = world.random.randint(0, 150)

        def mend(count: int) -> None:
            if count >= 4:
                world.files.mend()

        system = SimulatedOs(world.files)
        world.deliver(system, InstantSleep(mend))
        world.files.mend()
    assert world.lines(EVENTS) == world.bodies


@pytest.mark.parametrize("seed", range(40))
def test_no_event_is_lost_in_a_power_cut_after_a_sync_that_failed(seed: int):
    """A later sync reports success, and writes only what was written after the one that failed."""
    world = World(seed)
    for _ in range(6):
        world.outbox.add(world.random.randint(1, 5))
        system = SimulatedOs(world.files)
        system.dies_in = world.random.choice([None, world.random.randint(10, 40)])
        world.files.fail(DIRECTORY, errno.EIO, calls={"fdatasync"}, times=1)
        try:
            world.deliver(system, InstantSleep(lambda _: None))
        except ProcessDiedError:
            system.close_all()
        world.files.mend()
        if world.random.random() < 0.3:
            world.files.power_cut()
    world.deliver(SimulatedOs(world.files))
    assert world.lines(EVENTS) == world.bodies


def test_the_same_seed_gives_the_same_disk():
    def history() -> list[object]:
        world = World(5)
        for _ in range(10):
            world.outbox.add(3)
            system = SimulatedOs(world.files)
            system.dies_in = world.random.randint(0, 40)
            try:
                world.deliver(system)
            except ProcessDiedError:
                world.files.power_cut()
            if world.files.exists(EVENTS):
                world.rotate(EVENTS, "rename")
        names = world.files.listdir(DIRECTORY)
        return [names, *((world.files.status(DIRECTORY / each), world.files.read(DIRECTORY / each)) for each in names)]

    assert history() == history()


def test_real_paths_lead_to_real_files_meanwhile(tmp_path: Path):
    """Also a path that is walked name by name, through a link."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real" / "queue").write_bytes(b"a1\n")
    world = World(1)
    world.submit()
    with installed(SimulatedOs(world.files)):
        for path, expected in ((tmp_path / "link" / "queue", "a1"), (QUEUE, "asset1")):
            following = Following(path)
            assert following.step() == [expected]
            following.follower.close()
            assert paths.is_same_file(path, path)
        with walked(QUEUE) as place:
            assert (place.real, place.links) == (QUEUE, ())
        with walked(tmp_path / "link" / "queue") as place:
            assert (place.real, len(place.links)) == (tmp_path / "real" / "queue", 1)
    assert not world.files.descriptors
