"""What commands, the log and later starts say of a journal that another version has written."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from click.testing import CliRunner
from structlog.testing import capture_logs

from asset_worker.cli import asset_worker
from asset_worker.queue.local import journal as journal_module
from asset_worker.queue.local import upgrading
from asset_worker.queue.local.journal import FILE_NAME, Journal, JournalError
from asset_worker.queue.local.migrations import MIGRATIONS, SCHEMA_VERSION
from asset_worker.queue.local.reading import read_sink_names
from tests.fixtures.upgrades.manifest import manifests
from tests.fixtures.upgrades.restoring import restore

OLDEST = manifests()[0]


@pytest.fixture
def path(tmp_path):
    """The journal of the oldest version, with its write-ahead log."""
    restore(OLDEST, tmp_path)
    return tmp_path / "state" / FILE_NAME


def dump(path):
    with closing(sqlite3.connect(path)) as connection:
        return [*connection.iterdump()]


def contents(directory):
    return {each.name: each.read_bytes() for each in directory.iterdir() if each.name.startswith(f"{FILE_NAME}")}


@pytest.mark.parametrize(
    "command",
    ["status", "dead-letters list", "dead-letters show a.1", "dead-letters retry --all", "dead-letters drop --all"],
)
def test_a_command_neither_reads_nor_upgrades_it(path, command):
    """The worker may still be of that version, and could not start again."""
    before = contents(path.parent)
    result = CliRunner().invoke(asset_worker, [*command.split(), "--state-dir", str(path.parent)])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert f"schema 2, this asset-worker reads {SCHEMA_VERSION}" in result.stderr
    assert "start the worker once with this version" in result.stderr
    after = contents(path.parent)
    assert {name: after[name] for name in (FILE_NAME, f"{FILE_NAME}-wal")} == {
        name: before[name] for name in (FILE_NAME, f"{FILE_NAME}-wal")
    }


def test_an_upgrade_step_by_step_over_each_version_ends_as_one_at_once(path, tmp_path, monkeypatch):
    (tmp_path / "other").mkdir()
    restore(OLDEST, tmp_path / "other")
    other = tmp_path / "other" / "state" / FILE_NAME
    with closing(sqlite3.connect(path)) as connection, closing(sqlite3.connect(other)) as copy:
        connection.backup(copy)
    for version in range(OLDEST.schema, SCHEMA_VERSION):
        with monkeypatch.context() as patch:
            patch.setattr(journal_module, "MIGRATIONS", MIGRATIONS[: version + 1])
            for module in (journal_module, upgrading):
                patch.setattr(module, "SCHEMA_VERSION", version + 1)
            Journal(other).close()
    with capture_logs() as logs:
        Journal(path).close()
    assert dump(path) == dump(other)
    assert [(log["event"], log["schema"]) for log in logs] == [
        ("journal.upgrading", OLDEST.schema),
        ("journal.upgraded", SCHEMA_VERSION),
    ]


def test_a_new_journal_and_a_present_one_are_not_reported_as_upgraded(tmp_path):
    with capture_logs() as logs:
        for _ in range(2):
            Journal(tmp_path / FILE_NAME).close()
    assert logs == []


def test_the_names_of_its_sinks_are_read_before_it_is_upgraded(path):
    """A client of the Python API looks at them before it opens its directory."""
    assert read_sink_names(path.parent) == {
        f"file:{path.parents[1]}/{name}" for name in ("events.jsonl", "copies/events.jsonl")
    }


def test_the_names_of_its_sinks_are_not_taken_from_a_forged_journal(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO sinks VALUES (x'66', 0, NULL)")
        connection.commit()
    with pytest.raises(JournalError, match="holds a value of another type"):
        read_sink_names(path.parent)


def test_a_newer_one_is_refused_with_both_versions_and_ways_to_go_on(tmp_path):
    path = tmp_path / FILE_NAME
    Journal(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    before = path.read_bytes()
    with pytest.raises(JournalError) as raised:
        Journal(path)
    for says in (
        f"schema {SCHEMA_VERSION + 1}, this one knows {SCHEMA_VERSION}",
        "is left as it is",
        "run that version",
        "docs/upgrading.md#going-back",
        "--state-dir",
    ):
        assert says in str(raised.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("version", "is_earlier"),
    [(0, False), (1, True), (SCHEMA_VERSION - 1, True), (SCHEMA_VERSION, False), (SCHEMA_VERSION + 1, False)],
)
def test_a_journal_of_each_earlier_version_is_upgraded_and_a_new_one_is_created(version, is_earlier):
    assert upgrading.is_earlier(version) == is_earlier
