"""Reading a journal whose directory can't be written: nothing that a worker has committed is left out."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from asset_worker.domain.assets import AssetId
from asset_worker.domain.submissions import Submission
from asset_worker.queue.local import reading
from asset_worker.queue.local.journal import FILE_NAME, Journal, JournalError
from asset_worker.queue.local.migrations import SCHEMA_VERSION
from asset_worker.queue.local.status_report import read_status
from asset_worker.runtime.private_files import NotRegularFileError
from tests.doubles.clocks import ManualClock


@pytest.fixture
def state(tmp_path):
    (tmp_path / "state").mkdir()
    return tmp_path / "state"


@pytest.fixture
def read_only(monkeypatch):
    """SQLite's error when it can't create the file of shared memory, whoever the user is."""

    def refuse(path, option):
        return connect(Path("/none") / path.name if option == "mode=ro" else path, option)

    connect = reading._connect
    monkeypatch.setattr(reading, "_connect", refuse)


def accept(journal, *asset_ids):
    with journal.transaction():
        journal.accept([Submission(AssetId(each), "file:/q", 1) for each in asset_ids], at=1.0, window_start=0.0)


def pending(state):
    return [line.asset_id for line in read_status(state, clock=ManualClock(), limit=9).pending]


@pytest.mark.usefixtures("read_only")
def test_a_journal_that_was_closed_is_read_where_it_is(state, monkeypatch):
    with closing(Journal(state / FILE_NAME)) as journal:
        accept(journal, "a1")
    monkeypatch.setattr(reading, "TemporaryDirectory", None)
    assert pending(state) == ["a1"]
    assert [path.name for path in state.iterdir()] == [FILE_NAME]


@pytest.mark.usefixtures("read_only")
def test_what_is_in_the_log_alone_is_seen_and_nothing_is_left_behind(state, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with closing(Journal(state / FILE_NAME)) as journal:
        accept(journal, "a1")
        accept(journal, "a2")
        before = {path: path.read_bytes() for path in state.iterdir() if not path.name.endswith("-shm")}
        assert pending(state) == ["a1", "a2"]
        assert {path: path.read_bytes() for path in before} == before
        assert list(tmp_path.iterdir()) == [state]
        accept(journal, "a3")
    assert pending(state) == ["a1", "a2", "a3"]


@pytest.mark.usefixtures("read_only")
@pytest.mark.parametrize("suffix", ["", "-wal"])
def test_a_link_that_appears_at_this_moment_is_not_copied(state, tmp_path, suffix):
    """It may lead to a file that this user alone may read."""
    (tmp_path / "other").write_bytes(b"x")
    with closing(Journal(state / FILE_NAME)) as journal:
        accept(journal, "a1")
        exchanged = state / f"{FILE_NAME}{suffix}"
        exchanged.unlink()
        exchanged.symlink_to(tmp_path / "other")
        with pytest.raises(NotRegularFileError), reading.opened_to_read(state / FILE_NAME):
            pass


@pytest.mark.usefixtures("read_only")
def test_without_room_for_a_copy_it_says_what_to_do(state, monkeypatch):
    def refuse(**_options):
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(reading, "TemporaryDirectory", refuse)
    with closing(Journal(state / FILE_NAME)) as journal:
        accept(journal, "a1")
        with pytest.raises(JournalError, match="set TMPDIR"):
            read_status(state, clock=ManualClock(), limit=9)


@pytest.mark.parametrize(
    ("version", "says"),
    [
        (SCHEMA_VERSION - 1, "start the worker once with this version"),
        (0, "start the worker once with this version"),
        (SCHEMA_VERSION + 1, "with the version that the worker has"),
    ],
)
def test_a_journal_of_another_version_is_refused_with_what_to_do(state, version, says):
    Journal(state / FILE_NAME).close()
    with closing(sqlite3.connect(state / FILE_NAME)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(JournalError, match=says):
        read_status(state, clock=ManualClock(), limit=9)


def test_the_connection_trusts_no_schema(state):
    Journal(state / FILE_NAME).close()
    with reading.opened_to_read(state / FILE_NAME) as connection:
        assert connection.execute("PRAGMA trusted_schema").fetchone() == (0,)
