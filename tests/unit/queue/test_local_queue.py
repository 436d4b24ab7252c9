"""The local engine: the conformance suite, and what only it has."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings

from tests.unit.queue.conformance import DEDUPE_WINDOW, IDS, ManualClock, QueueMachine
from worker.assets import Done, Outcome
from worker.events import Times, completed, rejected
from worker.lane import InlineLane
from worker.queue import Progress, Sighting
from worker.queue.journal import APPLICATION_ID, FILE_NAME, Journal, JournalError, Settlement
from worker.queue.ledger import read_ledger
from worker.queue.local import LocalQueue
from worker.queue.lock import StateDirectory, StateDirectoryError
from worker.submissions import Options, Rejection, Submission


def open_local(path, clock, *, max_pending=1_000_000, sinks=("stdout",), window=DEDUPE_WINDOW):
    return LocalQueue(
        Journal(path),
        InlineLane(),
        clock,
        sinks=sinks,
        dedupe_window=window,
        max_pending=max_pending,
        first_looks=lambda count: [0.0] * count,
    )


class LocalQueueMachine(QueueMachine):
    def __init__(self):
        self.directory = TemporaryDirectory()
        super().__init__()

    async def open(self):
        return open_local(Path(self.directory.name) / FILE_NAME, self.clock)

    async def crash(self):
        self.queue._commits._journal.close()

    async def sent(self):
        return [stored.id for stored in await self.queue.outbox.read("stdout", 10_000)]

    async def kept_position(self):
        return self.queue._commits._journal.intakes().get("file:/q")

    def teardown(self):
        super().teardown()
        self.directory.cleanup()


TestConformance = LocalQueueMachine.TestCase
TestConformance.settings = settings(stateful_step_count=30, deadline=None)


def submission(number, options=None):
    return Submission(IDS[number], "stdin", number + 1, options)


def event_for(lease):
    return completed(
        lease.submission,
        Done(Outcome.READY),
        asset=None,
        completion=lease.completion,
        times=Times(lease.accepted_at, 0.0),
        polls=1,
        source="s",
    )


async def put(queue, *numbers, options=None):
    return await queue.put([submission(n, options) for n in numbers], events=[], intake="i", position=None)


async def test_room_waits_until_something_is_settled(tmp_path):
    clock = ManualClock()
    queue = open_local(tmp_path / "j", clock, max_pending=2)
    assert await queue.room() == 2
    await put(queue, 0, 1)
    waiting = asyncio.ensure_future(queue.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    [lease] = await queue.take(1)
    await queue.settle(lease, event_for(lease))
    assert await waiting == 1


async def test_a_rejection_goes_into_the_outbox_with_its_position(tmp_path):
    queue = open_local(tmp_path / "j", ManualClock())
    event = rejected(Rejection("stdin", 1, "why", b"x", "k"), at=0.0, source="s")
    await queue.put([], events=[event], intake="file:/q", position=b"9")
    assert [stored.id for stored in await queue.outbox.read("stdout", 10)] == ["rejected.k"]
    assert Journal(tmp_path / "j").intakes() == {"file:/q": b"9"}


async def test_a_restart_keeps_options_progress_and_age(tmp_path):
    clock = ManualClock()
    queue = open_local(tmp_path / "j", clock)
    options = Options(metadata={"a": [1, None]}, deadline=5.0)
    await put(queue, 0, options=options)
    [lease] = await queue.take(1)
    progress = Progress(polls=3, phase_polls=1, sighting=Sighting("ready", "processing"), ready_at=clock.now())
    await queue.defer(lease, 0.0, progress)
    await queue.close()
    clock.wall += 40.0  # the process was away; its monotonic clock starts anywhere
    clock.mono = 7.0
    [lease] = await open_local(tmp_path / "j", clock).take(1)
    assert lease.submission.options == options
    assert lease.progress == progress
    assert (lease.age, lease.ready_age) == (40.0, 40.0)


async def test_a_clock_set_back_makes_no_negative_age(tmp_path):
    clock = ManualClock()
    queue = open_local(tmp_path / "j", clock)
    await put(queue, 0)
    clock.wall -= 10_000.0
    [lease] = await queue.take(1)
    assert lease.age == 0.0
    await queue.close()
    [lease] = await open_local(tmp_path / "j", clock).take(1)
    assert lease.age == 0.0


async def test_a_clock_set_forward_makes_no_asset_older(tmp_path):
    clock = ManualClock()
    queue = open_local(tmp_path / "j", clock)
    await put(queue, 0)
    clock.wall += 1e6
    [lease] = await queue.take(1)
    assert lease.age == 0.0


async def test_the_outbox_keeps_an_event_until_every_sink_has_it(tmp_path):
    queue = open_local(tmp_path / "j", ManualClock(), sinks=("a", "b"))
    await put(queue, 0, 1)
    for lease in await queue.take(2):
        await queue.settle(lease, event_for(lease))
    first, second = await queue.outbox.read("a", 10)
    await queue.outbox.advance("a", second.position, b"mark")
    assert await queue.outbox.read("a", 10) == []
    assert queue.outbox.depth() == 2
    await queue.outbox.advance("b", first.position, None)
    assert [stored.id for stored in await queue.outbox.read("b", 10)] == [second.id]
    assert queue.outbox.depth() == 1
    await queue.close()
    again = open_local(tmp_path / "j", ManualClock(), sinks=("a", "b"))
    assert await again.outbox.mark("a") == b"mark"
    assert [stored.id for stored in await again.outbox.read("b", 10)] == [second.id]
    assert Journal(tmp_path / "j").events_after(0, 10) == [(second.position, second.id, second.body)]


async def test_a_position_is_never_given_out_twice(tmp_path):
    """A sink that was told of position 1 must not take another event for it."""
    for expected in (1, 2, 3):
        queue = open_local(tmp_path / "j", ManualClock())
        await queue.put(
            [], events=[rejected(Rejection("s", 1, "", b"", "k"), at=0.0, source="s")], intake="i", position=None
        )
        [stored] = await queue.outbox.read("stdout", 10)
        assert stored.position == expected
        await queue.outbox.advance("stdout", stored.position, None)
        await queue.close()


async def test_old_settlements_are_pruned_and_young_ones_are_not(tmp_path):
    clock = ManualClock()
    journal = Journal(tmp_path / "j")
    with journal.transaction():
        journal.settle(Settlement(IDS[0], 1, "ready", 0.0, clock.now() - 8 * 86400))
        journal.settle(Settlement(IDS[1], 1, "ready", 0.0, clock.now() - 1))
    journal.close()
    queue = open_local(tmp_path / "j", clock)
    await queue._prune()
    await queue.close()
    assert [line.asset_id for line in read_ledger_of(tmp_path, clock)] == [IDS[1]]


def read_ledger_of(tmp_path, clock):
    (tmp_path / "j").rename(tmp_path / FILE_NAME)
    return read_ledger(tmp_path, now=clock.now(), limit=10).completed


async def test_a_full_disk_is_waited_out_and_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("worker.queue.commits.RETRY_SECONDS", 0.01)
    queue = open_local(tmp_path / "j", ManualClock())
    journal = queue._commits._journal
    journal._execute("PRAGMA max_page_count = 1")
    putting = asyncio.ensure_future(put(queue, *range(6), options=Options(metadata={"x": "y" * 60_000})))
    await asyncio.sleep(0.05)
    assert not putting.done()
    assert queue._commits.failing
    journal._execute("PRAGMA max_page_count = 100000")
    assert len(await putting) == 6
    assert not queue._commits.failing


async def test_many_writers_share_a_commit(tmp_path):
    queue = open_local(tmp_path / "j", ManualClock())
    await asyncio.gather(*(put(queue, number) for number in range(6)))
    assert queue._commits.count < 6


def test_a_second_worker_is_refused_and_told_who_holds_the_directory(tmp_path):
    second = StateDirectory(tmp_path / "state")
    with StateDirectory(tmp_path / "state"), pytest.raises(StateDirectoryError, match=r"in use by process \d+ on"):
        second.__enter__()
    with StateDirectory(tmp_path / "state"):
        pass


def test_a_directory_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StateDirectoryError, match="--state-dir"), StateDirectory(tmp_path / "file" / "state"):
        pass


def test_a_corrupt_journal_is_a_clear_error_and_left_as_it_is(tmp_path):
    path = tmp_path / "j"
    path.write_bytes(b"not a database, however long it may be" * 100)
    before = path.read_bytes()
    with pytest.raises(JournalError, match="left as it is"):
        Journal(path)
    assert path.read_bytes() == before


def test_a_journal_of_a_newer_version_is_refused(tmp_path):
    Journal(tmp_path / "j").close()
    with sqlite3.connect(tmp_path / "j") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(JournalError, match="newer asset-worker"):
        Journal(tmp_path / "j")


def test_another_programs_database_is_refused(tmp_path):
    with sqlite3.connect(tmp_path / "j") as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    with pytest.raises(JournalError, match="another program"):
        Journal(tmp_path / "j")


def test_the_journal_says_whose_it_is(tmp_path):
    Journal(tmp_path / "j").close()
    with sqlite3.connect(tmp_path / "j") as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    connection.close()
