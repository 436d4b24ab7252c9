"""`asset-worker dead-letters` with the tables of a fleet."""

from __future__ import annotations

import json

import pytest

from tests.unit.cli.conftest import Command, Sql, as_user

EVIL = "503 \x1b[2J\nUnavailable"


@pytest.fixture
def dead(database: str, sql: Sql) -> None:
    """a.1 is dead for two sinks, b.1 for one."""
    sql(
        "INSERT INTO asset_worker.dead_letters VALUES ('hook', 'a.1', 1, 'a', '{\"id\":\"a.1\"}', 2, 1, 2, '503'), "
        "('other', 'a.1', 1, 'a', '{\"id\":\"a.1\"}', 2, 1, 3, '503'), ('hook', 'b.1', 2, 'b', '{}', 2, 1, 4, %s)",
        EVIL,
    )


def test_those_of_all_workers_are_listed_the_latest_first(dead, command: Command):
    result = command("dead-letters", "list")
    assert [line.split()[:2] for line in result.stdout.splitlines()[1:]] == [
        ["b.1", "hook"],
        ["a.1", "other"],
        ["a.1", "hook"],
    ]
    assert r"503 \x1b[2J\nUnavailable" in result.stdout
    few = command("dead-letters", "list", "--sink", "hook", "--limit", "1")
    assert (len(few.stdout.splitlines()), few.stderr) == (2, "the latest 1 of 2: --limit shows more\n")
    shown = command("dead-letters", "list", "--json").stdout.splitlines()
    assert [json.loads(line)["id"] for line in shown] == ["b.1", "a.1", "a.1"]


def test_one_is_shown_with_its_event(dead, command: Command):
    shown = [json.loads(line) for line in command("dead-letters", "show", "a.1", "--json").stdout.splitlines()]
    assert [(each["sink"], each["event"]) for each in shown] == [("hook", {"id": "a.1"}), ("other", {"id": "a.1"})]
    missing = command("dead-letters", "show", "z.1")
    assert missing.exit_code == 1
    assert "in the fleet asset_worker has the ID z.1" in missing.stderr


def test_they_are_put_back_and_dropped(dead, command: Command, sql: Sql):
    dropped = command("dead-letters", "drop", "a.1", "--sink", "other")
    assert (dropped.exit_code, dropped.stdout) == (0, "1 of other dropped\n")
    retried = command("dead-letters", "retry", "--all")
    assert (retried.exit_code, retried.stdout) == (0, "2 to be sent again to hook\n")
    assert sql("SELECT sink, attempts FROM asset_worker.deliveries") == [("hook", 0), ("hook", 0)]
    none = command("dead-letters", "retry", "--all")
    assert (none.exit_code, none.stdout) == (0, "there are no such dead letters in the fleet asset_worker\n")
    refused = command("dead-letters", "retry", "a.1")
    assert (refused.exit_code, "no dead letter has the ID a.1" in refused.stderr) == (1, True)


def test_a_webhook_of_the_settings_is_known_although_no_worker_runs(database, command: Command):
    sinks = json.dumps([{"url": "http://127.0.0.1/hooks", "name": "hook"}])
    assert command("dead-letters", "retry", "--sink", "hook", events__sinks=sinks).exit_code == 0
    unknown = command("dead-letters", "retry", "--sink", "hok", events__sinks=sinks)
    assert (unknown.exit_code, "there is no sink hok: the sinks are hook" in unknown.stderr) == (1, True)


def test_a_state_directory_that_is_named_has_its_own(dead, command: Command, tmp_path):
    result = command("dead-letters", "list", "--state-dir", str(tmp_path / "state"))
    assert (result.exit_code, "state" in result.stderr) == (2, True)


@pytest.mark.parametrize("arguments", [("list",), ("show", "a.1"), ("retry", "--all"), ("drop", "--all")])
def test_it_says_why_the_fleet_can_not_be_asked(database, command: Command, arguments: tuple[str, ...]):
    away = command("dead-letters", *arguments, postgres__url="postgresql://127.0.0.1:1/nothing")
    assert (away.exit_code, "can't be used now" in away.stderr) == (75, True)
    stranger = command("dead-letters", *arguments, postgres__url=as_user(database, "a_stranger"))
    assert (stranger.exit_code, "grant this user the role" in stranger.stderr) == (2, True), stranger.stderr


def test_the_role_of_a_worker_suffices(dead, database, command: Command):
    url = as_user(database, "a_worker", member_of="asset_worker_worker")
    for arguments in (("list",), ("retry", "--sink", "hook"), ("drop", "--all")):
        result = command("dead-letters", *arguments, postgres__url=url)
        assert result.exit_code == 0, result.stderr
