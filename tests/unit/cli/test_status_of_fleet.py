"""`asset-worker status` of a worker of a fleet."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Command, Sql

PROGRESS = '{"polls":3,"waiting_on":["hls"],"last_seen":{"status":"ready"}}'


@pytest.fixture
def fleet(database: str, sql: Sql) -> None:
    """The worker a owns two assets, and its sinks lack events; b owns another."""
    now = "extract(epoch FROM clock_timestamp())::float8"
    facts = '{"settings": {"events.sinks": ["hook", "stdout"]}}'
    sql(
        f"""
        SET search_path = asset_worker;
        INSERT INTO workers (name, version, alive_until, facts)
            SELECT name, '1', clock_timestamp() + interval '1 h', '{facts}' FROM unnest(ARRAY['a', 'b']) AS name;
        INSERT INTO pending (asset_id, owner, accepted_at, completion, origin, line, progress) VALUES
            ('a1', 1, {now} - 120, 1, 'inbox', 7, NULL), ('a2', 1, {now} - 60, 1, 'inbox', 8, '{PROGRESS}'),
            ('b1', 2, {now} - 600, 1, 'inbox', 9, NULL), ('c1', NULL, {now} - 600, 1, 'inbox', 9, NULL);
        INSERT INTO settled (asset_id, completion, life, outcome, accepted_at, completed_at) VALUES
            ('a3', 1, 1, 'ready', {now} - 100, {now} - 10), ('a4', 1, 1, 'failed', {now} - 99000, {now} - 90000),
            ('b3', 1, 2, 'ready', {now} - 100, {now} - 10);
        INSERT INTO events (id, body) SELECT 'a' || n || '.1', '{{}}' FROM generate_series(3, 5) AS n;
        INSERT INTO deliveries (position, sink, owner, is_new, next_at) VALUES
            (1, 'hook', 1, true, NULL), (2, 'hook', 1, false, {now} + 100), (3, 'hook', 2, true, NULL),
            (1, ' traces', 1, true, NULL), (3, ' traces', 1, true, NULL);
        INSERT INTO conditions VALUES ('a', 'hook', 'paused', 1000, '410 Gone'), ('b', 'hook', 'down', 1000, '503');
        INSERT INTO dead_letters VALUES ('hook', 'z.1', 9, 'z', '{{}}', 2, 1, 2, '503');
        """
    )


def test_it_shows_what_this_worker_owns_and_owes(fleet, command: Command):
    result = command("status", "--json", fleet__name="a")
    assert result.exit_code == 0, result.stderr
    shown = json.loads(result.stdout)
    assert (shown["worker"], shown["state_dir"]) == (None, str(Path("state").absolute()))
    assert (shown["pending_count"], shown["waiting_on"]) == (2, {"first look": 1, "hls": 1})
    assert 120 <= shown["oldest_age"] < 600
    assert [(each["asset_id"], each["source"], each["status"], each["polls"]) for each in shown["pending"]] == [
        ("a1", "inbox:7", None, 0),
        ("a2", "inbox:8", "ready", 3),
    ]
    assert shown["completed_lately"] == {"ready": 1}
    assert [(each["asset_id"], each["outcome"]) for each in shown["completed"]] == [("a3", "ready"), ("a4", "failed")]
    assert (shown["outbox_count"], shown["outbox_depth"]) == (2, {"hook": 2, "stdout": 0})
    assert (shown["waiting_for_retry"]["hook"]["count"], round(shown["waiting_for_retry"]["hook"]["next_in"])) == (
        1,
        100,
    )
    assert shown["conditions"] == {"hook": {"kind": "paused", "since": "1970-01-01T00:16:40.000Z", "error": "410 Gone"}}
    assert (shown["dead_letters"], shown["dead_letters_by_sink"]) == (1, {"hook": 1})


def test_its_json_has_the_fields_of_a_worker_without_a_fleet(fleet, command: Command, tmp_path: Path):
    queue = tmp_path / "queue"
    queue.touch()
    local = {"queue__engine": "local", "events__sinks": "events.jsonl", "api__key": "tlk_0123456789SECRET"}
    run = command("run", "--once", "--queue-file", str(queue), **local)
    assert run.exit_code == 0, run.stderr
    alone = json.loads(command("status", "--json", **local).stdout)
    assert json.loads(command("status", "--json", fleet__name="a").stdout).keys() == alone.keys()


def test_people_are_told_where_the_rest_is(fleet, command: Command):
    lines = command("status", "--limit", "1", fleet__name="a").stdout.splitlines()
    assert lines[2] == "fleet      asset_worker, as a: `asset-worker fleet status` shows all of it"
    assert any(line.startswith("pending    2  (oldest 2 min") for line in lines)
    assert not any("b1" in line or "a2" in line for line in lines)


def test_a_worker_that_does_not_run_owns_nothing(fleet, command: Command):
    shown = json.loads(command("status", "--json", fleet__name="c").stdout)
    assert (shown["pending_count"], shown["outbox_count"], shown["oldest_age"]) == (0, 0, 0)
    assert (shown["pending"], shown["completed"], shown["outbox_depth"]) == ([], [], {})


def test_while_the_database_is_away_what_the_worker_says_is_shown(command: Command):
    away = {"postgres__url": "postgresql://127.0.0.1:1/nothing"}
    result = command("status", **away)
    assert (result.exit_code, "can't be used now" in result.stderr) == (75, True)
    assert "state      " in result.stdout
    as_json = command("status", "--json", **away)
    assert (as_json.exit_code, as_json.stdout) == (75, "")
