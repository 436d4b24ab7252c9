"""What reading a journal says of one that can't be read, sees of a log, and leaves behind: nothing."""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from asset_worker.domain.events import FIRST_INSTANT, LAST_INSTANT
from asset_worker.queue.local import reading
from asset_worker.queue.local.files import create_private, reason_not_to_open
from asset_worker.queue.local.journal import FILE_NAME, Journal, JournalError
from asset_worker.queue.local.reading import (
    check_journal_exists,
    find_journal_problem,
    opened_to_read,
    read_sink_names,
    shown_instant,
)


@pytest.fixture
def path(tmp_path):
    Journal(tmp_path / FILE_NAME).close()
    return tmp_path / FILE_NAME


def refusal(code):
    def refuse(*_, **__):
        raise OSError(code, os.strerror(code))

    return refuse


def test_a_directory_without_a_journal_is_named_with_what_to_do(tmp_path):
    with pytest.raises(JournalError) as raised:
        check_journal_exists(tmp_path)
    assert str(raised.value) == f"no worker has kept its state in {tmp_path}: name its directory with --state-dir"


def test_a_journal_that_may_not_be_examined_is_named_with_what_to_do(path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(Path, "lstat", refusal(errno.EACCES))
        with pytest.raises(JournalError) as raised:
            check_journal_exists(path.parent)
    assert str(raised.value) == f"{path} can't be read (Permission denied): check the path and the rights on it"


def test_there_is_no_problem_with_a_journal_of_a_worker_that_runs_or_has_ended(path):
    assert find_journal_problem(path) is None
    assert list(path.parent.iterdir()) == [path], "no file is created beside it"
    with closing(Journal(path)) as journal, journal.transaction():
        journal.advance("stdout", 3, None, others=[])
    with closing(Journal(path)):
        assert find_journal_problem(path) is None


def test_a_database_of_another_program_and_a_damaged_one_are_problems(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA application_id = 1")
    problem = find_journal_problem(path)
    assert problem is not None
    assert "another program" in problem
    with pytest.raises(JournalError, match="another program"):
        read_sink_names(path.parent)
    path.write_bytes(b"no database " * 500)
    assert "damaged" in str(find_journal_problem(path))


def test_a_problem_that_is_in_the_log_alone_is_found(path):
    with closing(Journal(path)) as journal:
        journal._execute("PRAGMA application_id = 1")
        assert (path.parent / f"{FILE_NAME}-wal").stat().st_size > 0
        assert "another program" in str(find_journal_problem(path))


def test_a_journal_that_is_busy_or_has_no_room_to_be_read_is_no_problem(path, monkeypatch):
    busy = sqlite3.OperationalError("database is locked")
    busy.sqlite_errorcode = sqlite3.SQLITE_BUSY
    for error in (busy, OSError(errno.ENOSPC, "No space left on device")):

        def refuse(*_, error=error):
            raise error

        with monkeypatch.context() as patched:
            patched.setattr(reading, "check_is_journal", refuse)
            assert find_journal_problem(path) is None


@pytest.mark.parametrize(
    ("steady", "ahead", "shown"),
    [
        (None, 0, None),
        (FIRST_INSTANT, 0, "0001-01-01T00:00:00Z"),
        (FIRST_INSTANT - 1, 0, None),
        (FIRST_INSTANT - 1, 1, "0001-01-01T00:00:00Z"),
        (LAST_INSTANT, 0, "9999-12-31T23:59:59Z"),
        (LAST_INSTANT + 1, 0, None),
        (LAST_INSTANT, 1, None),
        (0, 60, "1970-01-01T00:01:00Z"),
    ],
)
def test_an_instant_is_shown_in_the_years_that_a_timestamp_has(steady, ahead, shown):
    found = shown_instant(steady, ahead)
    assert (found and found[:19]) == (shown and shown[:19])


def test_all_queries_see_the_same_state(path):
    with closing(Journal(path)) as journal, opened_to_read(path) as connection:
        query = "SELECT count(*) FROM sinks"
        before = connection.execute(query).fetchone()
        with journal.transaction():
            journal.advance("stdout", 3, None, others=[])
        assert connection.execute(query).fetchone() == before


def test_reading_needs_no_directory_for_temporary_files(path):
    with opened_to_read(path) as connection:
        assert connection.execute("PRAGMA temp_store").fetchone() == (2,)


def test_what_is_no_database_is_not_opened_and_leaves_no_descriptor(path):
    path.write_bytes(b"no database " * 500)
    before = sorted(Path("/proc/self/fd").iterdir())
    with pytest.raises(sqlite3.DatabaseError, match="not a database"), opened_to_read(path):
        pass
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_an_error_of_another_kind_than_a_lack_of_files_has_no_copy_read(path, monkeypatch):
    options = []

    def refuse(_, option):
        options.append(option)
        error = sqlite3.OperationalError("database is locked")
        error.sqlite_errorcode = sqlite3.SQLITE_BUSY
        raise error

    monkeypatch.setattr(reading, "_connect", refuse)
    with pytest.raises(sqlite3.OperationalError, match="locked"), opened_to_read(path):
        pass
    assert options == ["mode=ro"]


def test_the_names_of_sinks_are_read_unless_a_value_is_damaged(path):
    with closing(Journal(path)) as journal, journal.transaction():
        journal.advance("stdout", 3, None, others=[])
    assert read_sink_names(path.parent) == {"stdout"}
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE passed SET position = 'x'")
        connection.commit()
    with pytest.raises(JournalError, match="the table 'passed' holds a value of another type"):
        read_sink_names(path.parent)


def test_an_empty_log_is_none(path, monkeypatch):
    """No copy of the database is made for it, which may be a gigabyte."""
    connect = reading._connect
    monkeypatch.setattr(
        reading,
        "_connect",
        lambda path, option: connect(Path("/none") / path.name if option == "mode=ro" else path, option),
    )
    monkeypatch.setattr(reading, "TemporaryDirectory", None)
    (path.parent / f"{FILE_NAME}-wal").touch()
    with opened_to_read(path) as connection:
        assert connection.execute("SELECT count(*) FROM sinks").fetchone() == (0,)


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal"])
def test_a_pipe_in_place_of_any_of_its_files_is_not_opened(tmp_path, suffix):
    """SQLite would wait at it for ever."""
    os.mkfifo(tmp_path / f"j{suffix}")
    assert reason_not_to_open(tmp_path / "j") == (
        f"{tmp_path / 'j'}{suffix} is a named pipe and not a regular file: put the file itself there, or name another "
        "directory with --state-dir"
    )


MAGIC = bytes.fromhex("d9d505f920a163d7")


@pytest.mark.parametrize(
    ("content", "is_refused"),
    [(b"", False), (MAGIC, False), (MAGIC[1:], False), (b"x" + MAGIC, True), (MAGIC + b"x", False)],
    ids=["empty", "the beginning alone", "less", "a name", "no name"],
)
def test_a_rollback_journal_is_refused_if_it_ends_with_a_name(tmp_path, content, is_refused):
    (tmp_path / "j-journal").write_bytes(content)
    assert (reason_not_to_open(tmp_path / "j") is not None) is is_refused


def test_a_journal_is_created_for_this_user_only_and_what_is_there_is_left(tmp_path):
    create_private(tmp_path / "j")
    assert (tmp_path / "j").lstat().st_mode & 0o777 == 0o600
    (tmp_path / "j").write_bytes(b"kept")
    create_private(tmp_path / "j")
    assert (tmp_path / "j").read_bytes() == b"kept"
    (tmp_path / "link").symlink_to("none")
    create_private(tmp_path / "link")
    assert not (tmp_path / "none").exists()
