"""Group commit: the order of changes, and a disk that fails."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest
from structlog.testing import capture_logs

from asset_worker.domain.unavailable import QueueUnavailableError
from asset_worker.queue.commits import RETRY_SECONDS, Commits
from asset_worker.queue.local.journal import Journal
from asset_worker.queue.local.journal_store import JournalStore
from asset_worker.runtime.threads import HANG_SECONDS
from tests.doubles.clocks import LoopClock, ManualClock
from tests.doubles.local_queue import open_local, put
from tests.doubles.threads import ClosingThread, InlineThread, SuspendingThread

TRANSIENT = {
    "busy": sqlite3.SQLITE_BUSY,
    "can't open": sqlite3.SQLITE_CANTOPEN,
    "can't open, for it is a directory": sqlite3.SQLITE_CANTOPEN_ISDIR,
    "full": sqlite3.SQLITE_FULL,
    "I/O error": sqlite3.SQLITE_IOERR,
    "I/O error in a sync": sqlite3.SQLITE_IOERR_FSYNC,
    "I/O error in a write": sqlite3.SQLITE_IOERR_WRITE,
    "locked": sqlite3.SQLITE_LOCKED,
    "no memory": sqlite3.SQLITE_NOMEM,
    "read-only": sqlite3.SQLITE_READONLY,
    "read-only, for the file has moved": sqlite3.SQLITE_READONLY_DBMOVED,
}
PERMANENT = {
    "corrupt": sqlite3.SQLITE_CORRUPT,
    "constraint": sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY,
    "not a database": sqlite3.SQLITE_NOTADB,
}


def failure(code):
    error = sqlite3.OperationalError("it failed")
    error.sqlite_errorcode = code
    return error


class FailingThread(InlineThread):
    """Fails with each of these errors in turn, then works."""

    def __init__(self, *errors):
        self.errors = list(errors)

    async def run(self, call, /, *args, **kwargs):
        if self.errors:
            raise self.errors.pop(0)
        return call(*args, **kwargs)


@pytest.mark.virtual_time
@pytest.mark.parametrize("code", TRANSIENT.values(), ids=TRANSIENT)
async def test_a_transient_failure_is_retried_until_it_has_passed_and_logged_once(tmp_path, code):
    queue = open_local(tmp_path / "j", ManualClock(), thread=FailingThread(failure(code), failure(code)))
    with capture_logs() as logs:
        assert len(await put(queue, 0, 1)) == 2
    assert asyncio.get_running_loop().time() == pytest.approx(2 * RETRY_SECONDS)
    assert [line["event"] for line in logs] == ["journal.failed", "journal.recovered"]
    assert not queue.failure


@pytest.mark.virtual_time
async def test_each_failure_of_the_disk_is_logged(tmp_path):
    thread = FailingThread(failure(sqlite3.SQLITE_FULL))
    queue = open_local(tmp_path / "j", ManualClock(), thread=thread)
    with capture_logs() as logs:
        await put(queue, 0)
        thread.errors.append(failure(sqlite3.SQLITE_IOERR))
        await put(queue, 1)
    assert [line["event"] for line in logs] == ["journal.failed", "journal.recovered"] * 2


@pytest.mark.virtual_time
@pytest.mark.parametrize("code", PERMANENT.values(), ids=PERMANENT)
async def test_a_permanent_failure_is_raised_at_once(tmp_path, code):
    queue = open_local(tmp_path / "j", ManualClock(), thread=FailingThread(failure(code)))
    with pytest.raises(sqlite3.OperationalError, match="it failed"):
        await put(queue, 0)
    assert asyncio.get_running_loop().time() == 0.0
    assert not queue.failure
    assert len(await put(queue, 0)) == 1


def full_forever():
    return FailingThread(*[failure(sqlite3.SQLITE_FULL)] * 1_000)


class StuckThread(InlineThread):
    """A thread whose calls take this long, in seconds."""

    seconds = 0.0

    async def run(self, call, /, *args, **kwargs):
        await asyncio.sleep(self.seconds)
        return call(*args, **kwargs)


@pytest.mark.virtual_time
async def test_a_disk_that_does_not_answer_is_a_failure_until_it_does(tmp_path):
    clock, thread = LoopClock(asyncio.get_running_loop()), StuckThread()
    queue = open_local(tmp_path / "j", clock, thread=thread)
    thread.seconds = HANG_SECONDS - 1
    with capture_logs() as logs:
        await put(queue, 0)
    assert logs == []
    thread.seconds = HANG_SECONDS + 20
    began = clock.now()
    with capture_logs() as logs:
        putting = asyncio.ensure_future(put(queue, 1))
        await asyncio.sleep(HANG_SECONDS + 10)
        assert queue.failure is not None
        assert (queue.failure.error, queue.failure.since) == ("the disk has not answered for 10 s", began + 10)
        await putting
    assert queue.failure is None
    assert [line["event"] for line in logs] == ["journal.failed", "journal.recovered"]


@pytest.mark.virtual_time
async def test_after_stop_retrying_a_failure_is_raised_at_once_and_close_returns(tmp_path):
    thread = full_forever()
    commits = Commits(JournalStore(Journal(tmp_path / "j")), thread, ManualClock())
    commits.stop_retrying()
    with pytest.raises(QueueUnavailableError, match="the process is about to end: it failed"):
        await commits.write(lambda journal: journal.set_intake("i", b"1"))
    assert asyncio.get_running_loop().time() == 0.0
    thread.errors.clear()
    await commits.close()


@pytest.mark.virtual_time
async def test_a_write_that_waits_at_stop_retrying_is_tried_once_more(tmp_path):
    commits = Commits(JournalStore(Journal(tmp_path / "j")), full_forever(), ManualClock())
    writing = asyncio.ensure_future(commits.write(lambda journal: journal.set_intake("i", b"1")))
    await asyncio.sleep(10.5 * RETRY_SECONDS)
    assert commits.failure
    commits.stop_retrying()
    with pytest.raises(QueueUnavailableError, match="the process is about to end: it failed"):
        await writing
    assert asyncio.get_running_loop().time() == pytest.approx(11 * RETRY_SECONDS)


@pytest.mark.virtual_time
async def test_a_read_is_retried_as_a_write_is_until_the_process_is_about_to_end(tmp_path):
    thread = FailingThread(failure(sqlite3.SQLITE_IOERR), failure(sqlite3.SQLITE_FULL))
    commits = Commits(JournalStore(Journal(tmp_path / "j")), thread, ManualClock())
    reading = asyncio.ensure_future(commits.read(lambda journal: journal.intakes()))
    await asyncio.sleep(RETRY_SECONDS / 2)
    is_failing = commits.failure is not None
    assert await reading == {}
    assert asyncio.get_running_loop().time() == 2 * RETRY_SECONDS
    assert (is_failing, commits.failure) == (True, None), "it is read again, and no write fails"
    thread.errors = [failure(sqlite3.SQLITE_CORRUPT)]
    with pytest.raises(sqlite3.OperationalError, match="it failed"):
        await commits.read(lambda journal: journal.intakes())
    commits.stop_retrying()
    thread.errors = [failure(sqlite3.SQLITE_FULL)]
    with pytest.raises(QueueUnavailableError, match="the process is about to end: it failed"):
        await commits.read(lambda journal: journal.intakes())
    assert asyncio.get_running_loop().time() == 2 * RETRY_SECONDS


class HangingStore:
    """A store whose first call hangs until it is interrupted."""

    what = answers = "the store"
    patience = 30.0

    def __init__(self):
        self.interrupted = asyncio.Event()

    def interrupt(self):
        self.interrupted.set()

    def transact(self, changes):
        return [change(self) for change in changes]

    def read(self, query):
        return query(self)

    def is_transient(self, error):
        return isinstance(error, ConnectionError)

    def log_failure(self, error, *, retry_in):
        pass

    def log_recovery(self):
        pass


class HangingThread:
    """Runs calls inline, the first of which hangs until the store is interrupted."""

    async def run(self, call, *args):
        store = call.__self__
        if not store.interrupted.is_set():
            await store.interrupted.wait()
            raise ConnectionError("interrupted")
        return call(*args)


@pytest.mark.parametrize("method", ["read", "write"])
@pytest.mark.virtual_time
async def test_a_call_that_hangs_is_interrupted_after_the_patience_of_the_store_and_made_again(method):
    commits = Commits(HangingStore(), HangingThread(), ManualClock())
    assert await getattr(commits, method)(lambda _: "done") == "done"
    assert asyncio.get_running_loop().time() == 30 + RETRY_SECONDS
    assert commits.failure is None


@pytest.mark.virtual_time
async def test_a_queue_closes_while_its_disk_is_full(tmp_path):
    thread = FailingThread()
    queue = open_local(tmp_path / "j", ManualClock(), thread=thread)
    await put(queue, 0)
    thread.errors = full_forever().errors
    putting = asyncio.ensure_future(put(queue, 1))
    await asyncio.sleep(2.5 * RETRY_SECONDS)
    closing = asyncio.ensure_future(queue.close())
    with pytest.raises(QueueUnavailableError, match="the process is about to end: it failed"):
        await putting
    thread.errors.clear()
    await closing
    assert asyncio.get_running_loop().time() == pytest.approx(3 * RETRY_SECONDS)


@pytest.mark.parametrize("thread", [InlineThread(), SuspendingThread()], ids=["inline", "suspending"])
async def test_changes_are_made_in_the_order_of_the_calls(tmp_path, thread):
    queue = open_local(tmp_path / "j", ManualClock(), thread=thread)
    commits = []
    queue.journal._connection.set_trace_callback(lambda statement: commits.append(statement == "COMMIT"))
    await asyncio.gather(*(put(queue, position=b"%d" % number) for number in range(1, 6)))
    assert sum(commits) == 1
    queue.crash()
    again = open_local(tmp_path / "j", ManualClock())
    assert again.intakes == {"i": b"5"}
    again.crash()


async def test_a_change_that_fails_undoes_what_it_shares_a_commit_with(tmp_path):
    commits = Commits(JournalStore(Journal(tmp_path / "j")), InlineThread(), ManualClock())

    def fail(journal):
        journal.set_intake("i", b"2")
        raise ZeroDivisionError

    results = await asyncio.gather(
        commits.write(lambda journal: journal.set_intake("i", b"1")), commits.write(fail), return_exceptions=True
    )
    assert [type(result) for result in results] == [ZeroDivisionError, ZeroDivisionError]
    assert await commits.read(lambda journal: journal.intakes()) == {}
    await commits.close()


@pytest.mark.virtual_time
async def test_transactions_are_counted_and_timed_once_they_are_durable(tmp_path):
    clock = ManualClock()

    class Slow(FailingThread):
        async def run(self, call, /, *args, **kwargs):
            clock.move(2)
            return await super().run(call, *args, **kwargs)

    commits = Commits(JournalStore(Journal(tmp_path / "j")), Slow(failure(sqlite3.SQLITE_FULL)), clock)
    assert (commits.made.count, commits.made.succeeded_at) == (0, None)
    await asyncio.gather(*(commits.write(lambda journal: journal.set_intake("i", b"1")) for _ in range(3)))
    assert (commits.made.count, commits.made.succeeded_at) == (1, clock.now())
    assert commits.made.durations.read()[()].sum == 2.0
    await commits.close()


async def test_a_close_waits_for_the_transactions_in_progress_then_closes_the_file_and_the_thread(tmp_path):
    class Thread(SuspendingThread, ClosingThread):
        close = ClosingThread.close

    thread, journal = Thread(), Journal(tmp_path / "j")
    commits = Commits(JournalStore(journal), thread, ManualClock())
    applied = []
    writes = [
        asyncio.ensure_future(commits.write(lambda journal: journal.last_position(), applied.append)) for _ in range(2)
    ]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    last = asyncio.ensure_future(commits.write(lambda journal: journal.set_intake("i", b"2")))
    await commits.close()
    assert [write.done() for write in (*writes, last)] == [True, True, True]
    assert (applied, thread.closed) == ([0, 0], True)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        journal.intakes()
