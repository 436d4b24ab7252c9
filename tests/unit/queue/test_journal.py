"""The journal's file: how it is written, found damaged, and brought up to date."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing

import pytest

from asset_worker.domain.assets import AssetId, Outcome
from asset_worker.domain.events import Event
from asset_worker.domain.progress import LastSeen, Progress
from asset_worker.domain.submissions import Options, Submission
from asset_worker.queue.absent_sinks import SinkState
from asset_worker.queue.local.journal import APPLICATION_ID, Journal, JournalError, JournalUnavailableError
from asset_worker.queue.local.migrations import MIGRATIONS, SCHEMA_VERSION
from asset_worker.queue.local.settled_rows import Settlement
from tests.doubles.clocks import ManualClock
from tests.doubles.local_queue import open_local
from tests.unit.queue.conformance import DEDUPE_WINDOW


def pragma(connection, name):
    [value] = connection.execute(f"PRAGMA {name}").fetchone()
    return value


def test_every_commit_is_synced(tmp_path):
    """In WAL mode only FULL syncs at each commit: with less, a power cut takes back what was accepted."""
    with closing(Journal(tmp_path / "j")) as journal:
        assert pragma(journal._connection, "journal_mode") == "wal"
        assert pragma(journal._connection, "synchronous") == 2


def filled(path):
    """A journal of some pages to a table, all in its main file."""
    with closing(Journal(path)) as journal, journal.transaction():
        submissions = [Submission(AssetId(f"a{number:04}"), "file:/q", number) for number in range(2_000)]
        journal.accept(submissions, at=1.0, window_start=0.0)
        for number in range(2_000):
            journal.settle(Settlement(AssetId(f"s{number:04}"), 1, "ready", 1.0, 2.0))
        journal.add_events([Event(f"e{number}", Outcome.READY, b"{}" * 50) for number in range(200)])


@pytest.mark.parametrize("tree", ["pending", "settled", "settled_by_time", "outbox"])
def test_damage_within_a_page_is_found_at_the_start_and_left_as_it_is(tmp_path, tree):
    path = tmp_path / "j"
    filled(path)
    with closing(sqlite3.connect(path)) as connection:
        size = pragma(connection, "page_size")
        [root] = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (tree,)).fetchone()
    damaged = bytearray(path.read_bytes())
    damaged[(root - 1) * size + 8 : (root - 1) * size + 40] = b"\xff" * 32
    path.write_bytes(damaged)
    with pytest.raises(JournalError, match=r"(?s)damaged .* left as it is"):
        Journal(path)
    assert path.read_bytes() == damaged


def test_a_journal_of_the_first_version_is_brought_up_to_date_and_loses_nothing(tmp_path):
    path = tmp_path / "j"
    clock = ManualClock()
    with closing(sqlite3.connect(path)) as connection:
        MIGRATIONS[0](connection)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")
        connection.executemany(
            "INSERT INTO pending VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                ("asset-0", "file:/q", 1, None, 1.0, 1, None),
                ("asset-1", "file:/q", 2, b'{"metadata":{"k":"v"}}', 2.0, 3, b'{"polls":4,"sighting":{"status":"s"}}'),
            ],
        )
        connection.execute("INSERT INTO settled VALUES ('asset-2', 1, 'ready', 0.0, ?)", (clock.now(),))
        connection.execute("INSERT INTO outbox (id, body) VALUES ('asset-2.1', x'7b7d')")
        connection.execute("INSERT INTO sinks VALUES ('stdout', 0, x'01')")
        connection.execute("INSERT INTO intakes VALUES ('file:/q', x'33')")
        connection.commit()
    with closing(Journal(path)) as journal:
        assert pragma(journal._connection, "user_version") == SCHEMA_VERSION == 7
        first, second = journal.pending()
        assert first.submission == Submission(AssetId("asset-0"), "file:/q", 1)
        assert (first.accepted_at, first.completion, first.progress) == (1.0, 1, None)
        assert second.submission == Submission(AssetId("asset-1"), "file:/q", 2, Options(metadata={"k": "v"}))
        assert (second.accepted_at, second.completion) == (2.0, 3)
        assert second.progress == Progress(polls=4, last_seen=LastSeen("s"))
        assert journal.events_after(0, 9) == [(1, "asset-2.1", b"{}")]
        assert journal.sinks() == {"stdout": SinkState(0, b"\x01")}
        assert journal.intakes() == {"file:/q": b"3"}
        assert journal.tally() == {}
        repeat = Submission(AssetId("asset-2"), "file:/q", 9)
        with journal.transaction():
            assert journal.accept([repeat], at=clock.now(), window_start=clock.now() - DEDUPE_WINDOW) == []


async def test_a_journal_brought_up_to_date_tallies(tmp_path):
    with closing(sqlite3.connect(tmp_path / "j")) as connection:
        MIGRATIONS[0](connection)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")
    queue = open_local(tmp_path / "j", ManualClock())
    await queue.begin(ends_by_itself=True)
    assert await queue.finish() == {}
    await queue.close()


def test_a_journal_opens_again_and_again_at_the_same_version(tmp_path):
    for _ in range(3):
        with closing(Journal(tmp_path / "j")) as journal:
            assert pragma(journal._connection, "user_version") == SCHEMA_VERSION


RIGHTS = "can't be opened (no luck): check the rights on it and on its directory"


@pytest.mark.parametrize(
    ("code", "exists", "is_permitted", "text"),
    [
        pytest.param(sqlite3.SQLITE_BUSY, True, True, "can't be used just now (no luck): check the disk", id="in use"),
        pytest.param(sqlite3.SQLITE_CANTOPEN, True, False, RIGHTS, id="no rights on the file"),
        pytest.param(sqlite3.SQLITE_CANTOPEN, False, False, "can't be used just now", id="the file is gone"),
        pytest.param(sqlite3.SQLITE_READONLY_DIRECTORY, True, True, RIGHTS, id="no rights on the directory"),
        pytest.param(sqlite3.SQLITE_CORRUPT, True, True, "is damaged (no luck)", id="damaged"),
    ],
)
def test_the_error_says_whether_waiting_helps_or_rights_are_missing(
    tmp_path, monkeypatch, code, exists, is_permitted, text
):
    """As root and as another user: the rights are asked for, and not tried."""
    path = tmp_path / "j"

    def fail(*_, **__):
        if not exists:
            path.unlink()
        error = sqlite3.OperationalError("no luck")
        error.sqlite_errorcode = code
        raise error

    monkeypatch.setattr(sqlite3, "connect", fail)
    monkeypatch.setattr(os, "access", lambda _, mode: is_permitted or mode != os.R_OK | os.W_OK)
    with pytest.raises(JournalError) as caught:
        Journal(path)
    assert f"the journal {path} {text}" in str(caught.value)
    assert isinstance(caught.value, JournalUnavailableError) == ("just now" in text)


def test_the_oldest_settlements_are_pruned_first(tmp_path):
    with closing(Journal(tmp_path / "j")) as journal, journal.transaction():
        for number, completed_at in enumerate([3.0, 1.0, 2.0]):
            journal.settle(Settlement(AssetId(f"a{number}"), 1, "ready", 0.0, completed_at))
        assert journal.prune(before=3.0, limit=1) == 1
        assert journal.settled.find(AssetId("a1")) is None
        assert journal.prune(before=3.0, limit=9) == 1
        assert journal.settled.find(AssetId("a0")) is not None
