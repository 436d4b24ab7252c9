"""A forged journal: nothing that it holds is executed, and it is left as it is."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from asset_worker.queue.local.files import create_private
from asset_worker.queue.local.journal import APPLICATION_ID, FILE_NAME, Journal, JournalError, JournalUnavailableError
from asset_worker.queue.local.migrations import MIGRATIONS, SCHEMA_VERSION
from asset_worker.queue.local.schema import check_schema, restrict
from asset_worker.queue.local.status_report import read_status
from tests.doubles.clocks import ManualClock

COUNTING = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT"
"""It never ends."""
PENDING = (
    "asset_id TEXT PRIMARY KEY, origin TEXT NOT NULL, line INTEGER NOT NULL, options BLOB, "
    "accepted_at REAL NOT NULL, completion INTEGER NOT NULL, progress BLOB"
)
FORGED = {
    "trigger": (
        "CREATE TRIGGER evil AFTER INSERT ON pending BEGIN DELETE FROM settled; END",
        "the trigger 'evil' of the table 'pending'",
    ),
    "view": ("CREATE VIEW evil AS SELECT 1", "the view 'evil'"),
    "recursive view in place of a table": (
        f"DROP TABLE clock; CREATE VIEW clock AS {COUNTING} max(i) steady, '' boot, 0.0 elapsed, 0.0 wall FROM n",
        "the view 'clock'",
    ),
    "index": ("CREATE INDEX evil ON pending (origin)", "the index 'evil' of the table 'pending'"),
    "index on an expression": ("CREATE INDEX evil ON pending (hex(origin))", "the index 'evil'"),
    "partial index in place of ours": (
        "DROP INDEX settled_by_time; CREATE INDEX settled_by_time ON settled (completed_at) WHERE hex(outcome) > ''",
        "the index 'settled_by_time' of the table 'settled'",
    ),
    "virtual table": ("CREATE VIRTUAL TABLE evil USING fts5(x)", "the table 'evil'"),
    "table": ("CREATE TABLE evil (x)", "the table 'evil'"),
    "CHECK": (
        f"DROP TABLE pending; CREATE TABLE pending ({PENDING}, CHECK (randomblob(999999999) > '')) WITHOUT ROWID",
        "the table 'pending'",
    ),
    "CHECK that a row violates": (
        (f"DROP TABLE pending; CREATE TABLE pending ({PENDING}, CHECK (0)) WITHOUT ROWID; "
        "PRAGMA ignore_check_constraints = ON; INSERT INTO pending VALUES ('a1', 'o', 1, NULL, 1.0, 1, NULL)"),
        "the table 'pending'",
    ),
    "generated column": (
        f"DROP TABLE pending; CREATE TABLE pending ({PENDING}, evil AS (printf('%.*c', 999999999, 'x'))) WITHOUT ROWID",
        "the table 'pending'",
    ),
    "DEFAULT": (
        f"DROP TABLE pending; CREATE TABLE pending ({PENDING} DEFAULT (randomblob(999999999))) WITHOUT ROWID",
        "the table 'pending'",
    ),
    "a name for a terminal": ('CREATE VIEW "\x1b]52;c;YQ==\x07\u202e" AS SELECT 1', r"'\x1b]52;c;YQ==\x07\u202e'"),
    "a long name": (f"CREATE TABLE {'e' * 9_999} (x)", f"the table '{'e' * 64}'"),
    "a missing index": ("DROP INDEX settled_by_time", "the index 'settled_by_time' is missing"),
    "a missing table": ("DROP TABLE tally", "the table 'tally' is missing"),
    "a negative version": ("PRAGMA user_version = -1", "its version is -1"),
}  # fmt: skip


@pytest.fixture
def path(tmp_path):
    Journal(tmp_path / FILE_NAME).close()
    return tmp_path / FILE_NAME


def forge(path, script):
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)


@pytest.mark.parametrize(("script", "says"), FORGED.values(), ids=FORGED)
def test_a_forged_journal_is_refused_before_anything_in_it_is_executed(path, script, says):
    forge(path, script)
    before = path.read_bytes()
    with pytest.raises(JournalError) as raised:
        Journal(path)
    assert not isinstance(raised.value, JournalUnavailableError)
    assert says in str(raised.value)
    assert "is left as it is" in str(raised.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize(("script", "says"), FORGED.values(), ids=FORGED)
def test_the_status_of_a_forged_journal_is_refused_too(path, script, says):
    forge(path, script)
    with pytest.raises(JournalError) as raised:
        read_status(path.parent, clock=ManualClock(), limit=9)
    assert says in str(raised.value) or "schema -1" in str(raised.value)


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION + 1))
def test_an_object_that_only_a_later_version_has_is_refused_in_an_earlier_one(tmp_path, version):
    """Otherwise a migration would run on what was prepared for it."""
    path = tmp_path / FILE_NAME
    with closing(sqlite3.connect(path)) as connection:
        for migrate in MIGRATIONS[:version]:
            migrate(connection)
        connection.commit()
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {version}")
        check_schema(connection, version)
        connection.execute("CREATE TABLE evil (x)")
        with pytest.raises(sqlite3.DatabaseError, match="evil"):
            check_schema(connection, version)
    with pytest.raises(JournalError, match="evil"):
        Journal(path)


def test_a_journal_that_was_restored_from_its_own_statements_is_accepted(path, tmp_path):
    """As `sqlite3 journal.sqlite3 .dump` and `.recover` write them; white space may differ."""
    with closing(sqlite3.connect(path)) as connection:
        script = "\n".join(connection.iterdump())
    (tmp_path / "restored").mkdir()
    with closing(sqlite3.connect(tmp_path / "restored" / FILE_NAME)) as connection:
        connection.executescript(script.replace("\n            asset_id", "\tasset_id"))
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    Journal(tmp_path / "restored" / FILE_NAME).close()


def test_the_connection_trusts_no_schema(path):
    with closing(Journal(path)) as journal:
        assert journal._execute("PRAGMA trusted_schema").fetchone() == (0,)
        assert journal._execute("PRAGMA cell_size_check").fetchone() == (1,)


ROWS = {
    "a time that is text": ("INSERT INTO pending VALUES ('a1', 'o', 1, NULL, 'x', 1, NULL)", "the table 'pending'"),
    "a number of a line that is text": ("INSERT INTO pending VALUES ('a1', 'o', 'x', NULL, 1, 1, NULL)", "'pending'"),
    "an ID that is no text": ("INSERT INTO pending VALUES (x'ff', 'o', 1, NULL, 1, 1, NULL)", "'pending'"),
    "progress that is text": ("INSERT INTO pending VALUES ('a1', 'o', 1, NULL, 1, 1, '{}')", "'pending'"),
    "a settlement": ("INSERT INTO settled VALUES ('a1', 1, 'ready', 'x', 1)", "the table 'settled'"),
    "an event": ("INSERT INTO outbox VALUES (1, 'a1.1', 7)", "the table 'outbox'"),
    "the position of a sink": ("INSERT INTO sinks VALUES ('stdout', 'x', NULL)", "the table 'sinks'"),
    "the checkpoint of a sink": ("INSERT INTO sinks VALUES ('stdout', 1, 'x')", "the table 'sinks'"),
    "a sink without a name": ("INSERT INTO sinks VALUES (NULL, 1, NULL)", "the table 'sinks'"),
    "a dead letter": (
        "INSERT INTO dead_letters (sink, position, id, body, reason) VALUES ('stdout', 1, 'a1.1', x'7b', x'')",
        "the table 'dead_letters'",
    ),
    "the time of a dead letter": (
        "INSERT INTO dead_letters VALUES ('stdout', 1, 'a1.1', x'7b', 'why', 'a1', 3, 1, 'x')",
        "the table 'dead_letters'",
    ),
    "a record": ("INSERT INTO undelivered VALUES ('hook', 1, 'a1', 1, 1, 'x', NULL, 0)", "the table 'undelivered'"),
    "the position that all have passed": ("UPDATE passed SET position = 'x'", "the table 'passed'"),
    "the condition of a sink": ("INSERT INTO conditions VALUES ('hook', 'down', 'x', '')", "the table 'conditions'"),
    "a request": ("INSERT INTO requests VALUES ('1', 7, 1)", "the table 'requests'"),
    "the position of an intake": ("INSERT INTO intakes VALUES ('stdin', 'x')", "the table 'intakes'"),
    "a count": ("INSERT INTO tally VALUES ('ready', 'x')", "the table 'tally'"),
    "the clock": ("INSERT INTO clock VALUES (0, 'x', NULL, 1, 1)", "the table 'clock'"),
}


@pytest.mark.parametrize(("script", "says"), ROWS.values(), ids=ROWS)
def test_a_value_of_another_type_than_its_column_is_damage(path, script, says):
    forge(path, script)
    for opened in (lambda: Journal(path), lambda: read_status(path.parent, clock=ManualClock(), limit=9)):
        with pytest.raises(JournalError, match=f"{says} holds a value of another type than its column"):
            opened()


@pytest.mark.parametrize("asset_id", ["", "../../indexes", "a/b", "a?b", "ä", "a" * 65])
def test_what_is_no_asset_id_never_reaches_a_url(path, asset_id):
    forge(path, f"INSERT INTO pending VALUES ('{asset_id}', 'o', 1, NULL, 1, 1, NULL)")
    with closing(Journal(path)) as journal, pytest.raises(JournalError, match="which is not an asset ID"):
        list(journal.pending())


def test_a_sink_whose_state_can_not_be_decoded_is_damage(path):
    forge(path, "INSERT INTO sinks VALUES ('stdout', 1, CAST('absent {' AS BLOB))")
    with closing(Journal(path)) as journal, pytest.raises(JournalError, match="damaged"):
        journal.sinks()
    with pytest.raises(JournalError, match="can't be read"):
        read_status(path.parent, clock=ManualClock(), limit=9)


@pytest.mark.skipif(not hasattr(sqlite3.Connection, "setconfig"), reason="Python 3.12 or newer")
def test_triggers_and_views_are_off_where_python_can_turn_them_off():
    with closing(sqlite3.connect(":memory:")) as connection:
        restrict(connection)
        connection.execute("CREATE VIEW v AS SELECT 1")
        with pytest.raises(sqlite3.OperationalError, match="prohibited"):
            connection.execute("SELECT * FROM v")


@pytest.mark.parametrize("version", [(3, 11, 9), (3, 12), (4, 0)])
def test_all_that_python_can_turn_off_is_off(monkeypatch, version):
    names = ("DEFENSIVE", "ENABLE_TRIGGER", "ENABLE_VIEW")
    for name in names:
        monkeypatch.setattr(sqlite3, f"SQLITE_DBCONFIG_{name}", name, raising=False)
    monkeypatch.setattr("asset_worker.queue.local.schema.sys", SimpleNamespace(version_info=version))
    settings = {}
    restrict(SimpleNamespace(execute=lambda _: None, setconfig=settings.__setitem__))
    assert settings == ({} if version < (3, 12) else dict.fromkeys(names, False) | {"DEFENSIVE": True})


def hot_journal_that_names(file: Path, pages: int) -> bytes:
    """A rollback journal of no pages that belongs to a transaction over several databases."""
    magic, name = bytes.fromhex("d9d505f920a163d7"), bytes(file)
    numbers = (0, 1, pages, 512, 4096)
    header = magic + b"".join(number.to_bytes(4, "big") for number in numbers)
    lock_page = (0x40000000 // 4096 + 1).to_bytes(4, "big")
    end = len(name).to_bytes(4, "big") + sum(name).to_bytes(4, "big")
    return header.ljust(512, b"\0") + lock_page + name + end + magic


def test_a_rollback_journal_by_which_sqlite_would_delete_a_file_is_refused(path, tmp_path):
    (tmp_path / "precious").write_text("data")
    rollback = path.with_name(path.name + "-journal")
    rollback.write_bytes(hot_journal_that_names(tmp_path / "precious", path.stat().st_size // 4096))
    for opened in (lambda: Journal(path), lambda: read_status(tmp_path, clock=ManualClock(), limit=9)):
        with pytest.raises(JournalError, match=f"{rollback} names another file"):
            opened()
    assert (tmp_path / "precious").read_text() == "data"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    assert not (tmp_path / "precious").exists(), "SQLite itself does delete it"


def test_a_rollback_journal_of_a_crash_is_rolled_back(tmp_path):
    """A file that was restored has one until the first start changes it to write-ahead logging."""
    path = tmp_path / "j"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript("CREATE TABLE kept (x); INSERT INTO kept VALUES ('before'); PRAGMA cache_size = 1;")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE kept SET x = 'after'")
        connection.executemany("INSERT INTO kept VALUES (?)", [("x" * 4000,)] * 20)  # more than the cache holds
        crashed = tmp_path / "crashed"
        crashed.mkdir()
        for file in (path, tmp_path / "j-journal"):
            (crashed / file.name).write_bytes(file.read_bytes())
    with pytest.raises(JournalError, match="another program"):
        Journal(crashed / "j")
    with closing(sqlite3.connect(crashed / "j")) as connection:
        assert connection.execute("SELECT x FROM kept").fetchall() == [("before",)]


def test_a_database_that_appears_at_this_moment_is_not_opened(path, monkeypatch):
    """Whoever closes any descriptor of it loses its locks: SQLite's own in this process, for example."""
    with path.open("r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        lock = f":{os.fstat(file.fileno()).st_ino} "
        assert lock in Path("/proc/locks").read_text()
        monkeypatch.setattr(os.path, "lexists", lambda _: False)
        create_private(path)
        assert lock in Path("/proc/locks").read_text()
