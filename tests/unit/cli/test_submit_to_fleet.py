"""`asset-worker submit` into the inbox of a fleet."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.conftest import Command, Sql, as_user

INBOX = "SELECT asset_id, options FROM asset_worker.inbox ORDER BY number"
AWAY = "postgresql://127.0.0.1:1/nothing"


def test_assets_go_into_the_inbox_with_their_metadata(database, command: Command, sql: Sql):
    assert command("submit", "a1", "a2", "--metadata", "user=ada", "--metadata", "n=1").exit_code == 0
    assert command("submit", "a3").exit_code == 0
    metadata = {"metadata": {"user": "ada", "n": "1"}}
    assert sql(INBOX) == [("a1", metadata), ("a2", metadata), ("a3", None)]
    assert len(sql("SELECT DISTINCT xmin::text FROM asset_worker.inbox")) == 2


def test_the_role_of_a_producer_suffices(database, command: Command, sql: Sql):
    producer = as_user(database, "a_producer", member_of="asset_worker_producer")
    assert command("submit", "a1", postgres__url=producer).exit_code == 0
    assert sql(INBOX) == [("a1", None)]


def test_a_settings_file_names_the_fleet(database, command: Command, sql: Sql):
    config = Path("fleet.toml")
    config.write_text(f'[queue]\nengine = "postgres"\n[postgres]\nurl = "{database}"\n')
    result = command("submit", "a1", "--config", str(config), queue__engine="", postgres__url="")
    assert (result.exit_code, sql(INBOX)) == (0, [("a1", None)])


def test_a_queue_file_that_is_named_takes_precedence(database, command: Command, sql: Sql):
    assert command("submit", "a1", "--queue-file", "queue").exit_code == 0
    assert (Path("queue").read_text(), sql(INBOX)) == ("a1\n", [])


def test_with_the_local_engine_the_queue_file_is_that_of_the_settings(command: Command):
    assert command("submit", "a1", queue__engine="local", queue__file="queue").exit_code == 0
    assert Path("queue").read_text() == "a1\n"
    result = command("submit", "a1", queue__engine="local")
    assert (result.exit_code, "--queue-file" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("settings", "code", "says"),
    [
        ({"postgres__url": AWAY}, 75, "can't be used now"),
        ({"fleet__schema": "other"}, 2, "no inbox of a fleet in other: run `asset-worker fleet init`"),
        ({"postgres__url": ""}, 2, "set postgres.url"),
    ],
    ids=["away", "no tables", "no URL"],
)
def test_it_says_why_nothing_was_submitted(database, command: Command, settings: dict[str, str], code: int, says: str):
    result = command("submit", "a1", **settings)
    assert (result.exit_code, says in result.stderr) == (code, True), result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_user_who_may_not_submit_is_told_the_role(database, command: Command):
    result = command("submit", "a1", postgres__url=as_user(database, "a_stranger"))
    assert (result.exit_code, "grant it the role asset_worker_producer" in result.stderr) == (2, True), result.stderr


@pytest.mark.parametrize("bad", ["no id", "x" * 65, "a/b"])
def test_with_one_bad_id_nothing_is_submitted(database, command: Command, sql: Sql, bad: str):
    result = command("submit", "a1", bad)
    assert (result.exit_code, "is not an asset ID" in result.stderr, sql(INBOX)) == (2, True, [])


def test_if_one_can_not_be_submitted_none_is(database, command: Command, sql: Sql):
    sql("ALTER TABLE asset_worker.inbox ADD CHECK (asset_id <> 'a2')")
    assert command("submit", "a1", "a2").exit_code == 2
    assert sql(INBOX) == []
