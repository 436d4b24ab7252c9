"""The local engine at its edges: what it asks of the disk, whose its files are, and how it ends when a disk hangs."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
import stat
from contextlib import closing
from functools import partial
from types import SimpleNamespace

import pytest

from asset_worker.queue.local.engine import PRUNE_EVERY_SECONDS, SHUTDOWN_SECONDS, LocalQueue
from asset_worker.queue.local.journal import FILE_NAME, Journal, JournalError, JournalUnavailableError
from asset_worker.queue.local.lock import StateDirectoryError
from asset_worker.queue.local.status_report import read_status
from asset_worker.runtime.clock import SystemClock
from tests.doubles.clocks import ManualClock
from tests.doubles.local_queue import event_for, maintain, open_local, put, submission
from tests.doubles.threads import InlineThread
from tests.unit.queue.conformance import IDS

OPTIONS = {
    "sinks": ("stdout",),
    "dead_letter_retention": 60.0,
    "dedupe_window": 60.0,
    "max_pending": 9,
    "first_looks": lambda count: [0.0] * count,
}


async def test_the_oldest_asset_is_still_the_oldest_after_a_restart(tmp_path):
    """The journal has the assets in the order of their IDs, not of their acceptance."""
    clock = ManualClock()
    queue = open_local(tmp_path / "j", clock)
    for number in sorted(range(3), key=lambda number: IDS[number], reverse=True):
        await put(queue, number)
        clock.move(10)
    await queue.close()
    queue = open_local(tmp_path / "j", clock)
    ages = [queue.oldest_age()]
    for lease in sorted(await queue.take(3), key=lambda lease: lease.accepted_at):
        await queue.settle(lease, event_for(lease))
        ages.append(queue.oldest_age())
    assert ages == [30, 20, 10, 0]
    await queue.close()


@pytest.mark.virtual_time
async def test_no_query_sorts_what_is_pending(tmp_path):
    """A sort of a million rows goes into a temporary file, for which a read-only container has no place."""
    queue = open_local(tmp_path / "j", ManualClock())
    await put(queue, 0, 1)
    await queue.close()
    statements: set[str] = set()
    journal = Journal(tmp_path / "j")
    journal._connection.set_trace_callback(statements.add)
    queue = LocalQueue(journal, InlineThread(), ManualClock(), **OPTIONS)
    await put(queue, 2)
    [lease, *_] = await queue.take(3)
    await queue.settle(lease, event_for(lease))
    await queue.outbox.read("stdout", 5)
    await maintain(queue)
    journal._connection.set_trace_callback(None)
    queries = [each for each in statements if each.lstrip().startswith(("SELECT", "DELETE"))]
    assert any("FROM pending" in each for each in queries)
    for query in queries:
        plan = " ".join(row[3] for row in journal._execute(f"EXPLAIN QUERY PLAN {query}"))
        assert "TEMP B-TREE" not in plan, query
    assert journal._execute("PRAGMA temp_store").fetchone() == (2,)
    await queue.close()


def test_the_journal_is_for_this_user_alone(tmp_path):
    """Events, metadata and the API's answers are in it."""
    before = os.umask(0o022)
    try:
        journal = Journal(tmp_path / "j")
        with journal.transaction():
            journal.set_intake("x", b"y")
        modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()}
    finally:
        os.umask(before)
    journal.close()
    assert modes == {"j": 0o600, "j-wal": 0o600, "j-shm": 0o600}


def test_only_sqlite_opens_a_journal_that_exists(tmp_path, monkeypatch):
    """Whenever another descriptor of the database is closed, SQLite loses its locks on it."""
    Journal(tmp_path / "j").close()
    opened, real = [], os.open

    def recording(path, *args, **options):
        opened.append(path)
        return real(path, *args, **options)

    monkeypatch.setattr(os, "open", recording)
    Journal(tmp_path / "j").close()
    assert tmp_path / "j" not in opened
    Journal(tmp_path / "new").close()
    assert opened.count(tmp_path / "new") == 1


def test_a_journal_that_another_process_holds_is_unavailable_and_not_damaged(tmp_path, monkeypatch):
    """The supervisor may try again: it is no error of usage."""
    connect = partial(sqlite3.connect, timeout=0)
    with closing(connect(tmp_path / "j", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        monkeypatch.setattr(sqlite3, "connect", connect)
        with pytest.raises(JournalUnavailableError, match="check the disk, and who else"):
            Journal(tmp_path / "j")
    Journal(tmp_path / "j").close()


def replace_connect(monkeypatch, target, **more):
    """Let SQLite open `target` in place of every other file."""
    connect = sqlite3.connect

    def replaced(path, **options):
        return connect(path, **options) if path == ":memory:" else connect(target, **options, **more)

    monkeypatch.setattr(sqlite3, "connect", replaced)


def test_a_journal_that_can_be_read_but_not_written_now_is_unavailable_from_the_start(tmp_path, monkeypatch):
    """Else the worker would start, and accept nothing."""
    Journal(tmp_path / "j").close()
    connect = partial(sqlite3.connect, timeout=0)
    with closing(connect(tmp_path / "j", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        monkeypatch.setattr(sqlite3, "connect", connect)
        with pytest.raises(JournalUnavailableError, match="check the disk, and who else"):
            Journal(tmp_path / "j")


@pytest.mark.parametrize(
    ("free", "files_left", "says"),
    [
        pytest.param(0, 9, "make room on it", id="full"),
        pytest.param(9 << 20, 0, "make room on it", id="no inodes"),
        pytest.param(9 << 20, 9, "check the disk", id="room"),
    ],
)
def test_a_disk_that_is_full_is_called_so_whatever_sqlite_calls_it(tmp_path, monkeypatch, free, files_left, says):
    found = SimpleNamespace(f_bavail=free, f_frsize=1, f_files=100, f_favail=files_left)
    with closing(sqlite3.connect(tmp_path / "j", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, timeout=0))
        monkeypatch.setattr("asset_worker.queue.local.full_disks.os.statvfs", lambda _: found)
        with pytest.raises(JournalUnavailableError, match=says):
            Journal(tmp_path / "j")


def test_a_file_that_may_be_read_but_not_written_is_a_matter_of_permission(tmp_path, monkeypatch):
    """SQLite's error is the one of a file system that is read-only for a while; a restart would not help."""
    (tmp_path / "j").touch()
    replace_connect(monkeypatch, f"{(tmp_path / 'j').as_uri()}?mode=ro", uri=True)
    with pytest.raises(JournalError, match="check the rights on it") as raised:
        Journal(tmp_path / "j")
    assert not isinstance(raised.value, JournalUnavailableError)


@pytest.mark.parametrize(
    ("exists", "permitted", "expected", "advice"),
    [
        pytest.param(True, False, JournalError, "check the rights on it", id="no permission"),
        pytest.param(True, True, JournalUnavailableError, "check the disk", id="permission"),
        pytest.param(False, False, JournalUnavailableError, "check the disk", id="no file"),
    ],
)
def test_a_journal_that_cannot_be_opened_is_a_matter_of_permission_only_where_there_is_none(
    tmp_path, monkeypatch, exists, permitted, expected, advice
):
    path = tmp_path / "directory" / "j"
    if exists:
        path.parent.mkdir()
        path.touch()
        replace_connect(monkeypatch, tmp_path)  # a directory: whoever the user is, SQLite can't open it
    monkeypatch.setattr(os, "access", lambda asked, mode: (asked, mode) == (path, os.R_OK | os.W_OK) and permitted)
    with pytest.raises(JournalError, match=advice) as raised:
        Journal(path)
    assert type(raised.value) is expected


def test_a_journal_whose_rows_can_not_be_read_is_damaged(tmp_path):
    """Though SQLite finds no fault with it."""
    journal = Journal(tmp_path / "j")
    with journal.transaction():
        journal.accept([submission(0)], at=0.0, window_start=0.0)
        journal._execute("UPDATE pending SET progress = '{'")
    with pytest.raises(JournalError, match="damaged"):
        list(journal.pending())
    journal.close()


class HangingThread(InlineThread):
    """A thread whose disk hangs, from some moment on: no call returns."""

    hangs = False

    async def run(self, call, /, *args, **kwargs):
        if self.hangs:
            await asyncio.get_running_loop().create_future()
        return call(*args, **kwargs)


@pytest.mark.virtual_time
async def test_a_disk_that_hangs_does_not_keep_the_process_from_ending(tmp_path):
    """Its thread is abandoned; what was being written is kept or not, as after a kill."""
    journal, thread = Journal(tmp_path / "j"), HangingThread()
    queue = LocalQueue(journal, thread, SystemClock(), **OPTIONS)
    await put(queue, 0)
    thread.hangs = True
    putting = asyncio.ensure_future(put(queue, 1))
    await asyncio.sleep(1)
    start = asyncio.get_running_loop().time()
    assert await queue.finish() is None
    await queue.close()
    assert asyncio.get_running_loop().time() - start == pytest.approx(SHUTDOWN_SECONDS)
    putting.cancel()
    journal.close()
    with closing(sqlite3.connect(tmp_path / "j")) as connection:
        assert connection.execute("SELECT count(*) FROM pending").fetchone() == (1,)


@pytest.mark.virtual_time
@pytest.mark.parametrize("replaced", [False, True], ids=["deleted", "replaced"])
async def test_a_journal_that_is_taken_away_ends_the_run(tmp_path, replaced):
    """What would be accepted from then on would be lost."""
    (tmp_path / "state").mkdir()
    queue = open_local(tmp_path / "state" / "j", ManualClock())
    maintaining = asyncio.ensure_future(queue.run_maintenance())
    await asyncio.sleep(2 * PRUNE_EVERY_SECONDS)
    assert not maintaining.done()
    (tmp_path / "state").rename(tmp_path / "away")
    if replaced:
        (tmp_path / "state").mkdir()
        Journal(tmp_path / "state" / "j").close()
    await asyncio.sleep(2 * PRUNE_EVERY_SECONDS)
    with pytest.raises(JournalError, match="moved, deleted or replaced"):
        maintaining.result()
    await queue.close()


SUFFIXES = ["", "-wal", "-shm", "-journal"]


@pytest.fixture(params=SUFFIXES, ids=lambda suffix: f"journal{suffix}")
def other(tmp_path, request):
    """The path of one of the journal's files, which is missing."""
    Journal(tmp_path / FILE_NAME).close()
    path = tmp_path / (FILE_NAME + request.param)
    if not request.param:
        path.rename(tmp_path / "moved")
    return path


@pytest.mark.parametrize(
    ("put", "says"),
    [
        (lambda path: path.symlink_to("moved"), "a symbolic link and not a regular file"),
        (lambda path: path.symlink_to("missing"), "a symbolic link and not a regular file"),
        (os.mkfifo, "a named pipe and not a regular file"),
    ],
    ids=["link", "dangling link", "pipe"],
)
def test_what_is_no_regular_file_is_not_opened(tmp_path, other, put, says):
    """SQLite follows a link to the database, and waits for ever at a pipe in place of the rollback journal."""
    put(other)
    before = sorted(tmp_path.iterdir())
    for opened in (lambda: Journal(tmp_path / FILE_NAME), lambda: read_status(tmp_path, clock=ManualClock(), limit=9)):
        with pytest.raises(JournalError, match=f"{other} is {says}") as raised:
            opened()
        assert not isinstance(raised.value, JournalUnavailableError)
        assert sorted(tmp_path.iterdir()) == before


def test_a_journal_that_is_replaced_by_a_link_to_it_counts_as_moved(tmp_path):
    with closing(Journal(tmp_path / "j")) as journal:
        journal.check_path()
        (tmp_path / "j").rename(tmp_path / "moved")
        (tmp_path / "j").symlink_to("moved")
        with pytest.raises(JournalError, match="was moved"):
            journal.check_path()


@pytest.mark.virtual_time
async def test_the_directory_is_checked_each_second_and_an_error_of_the_disk_says_nothing(tmp_path):
    """Another worker may have taken it: two of them must not go on for long."""
    loop, checked_at = asyncio.get_running_loop(), []

    def check():
        checked_at.append(loop.time())
        if len(checked_at) == 2:
            raise OSError(errno.EIO, "Input/output error")
        if len(checked_at) == 4:
            raise StateDirectoryError("it was taken")

    queue = LocalQueue(Journal(tmp_path / "j"), InlineThread(), SystemClock(), **OPTIONS, check_directory=check)
    with pytest.raises(StateDirectoryError, match="it was taken"):
        await asyncio.wait_for(queue.run_maintenance(), 60)
    assert checked_at == pytest.approx([0.0, 1.0, 2.0, 3.0])
    await queue.close()
