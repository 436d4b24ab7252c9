"""`asset-worker schedule` with what a fleet has learned."""

from __future__ import annotations

import json
import re
import time

import msgspec

from asset_worker.domain.progress import LastSeen, Progress
from asset_worker.schedule.adaptive import AdaptiveSchedule
from asset_worker.schedule.learned import to_bytes
from asset_worker.schedule.ports import WaitState
from tests.unit.cli.conftest import Command, Sql


def evidence(ends: int) -> bytes:
    schedule = AdaptiveSchedule(initial=2.0, multiplier=1.5, maximum=30.0, uniform=lambda: 0.5)
    for _ in range(ends):
        schedule.observe(WaitState(1, age=30.0, waiting_on=(), file_type="video/mp4"), since=28.0, ended=["asset"])
    return to_bytes(schedule.learned())


def test_it_shows_what_all_workers_have_learned_together(database, command: Command, sql: Sql):
    for life, ends in enumerate((20, 10)):
        sql("INSERT INTO asset_worker.learned VALUES (%s, %s)", life, evidence(ends))
    result = command("schedule", "--json")
    assert result.exit_code == 0, result.stderr
    [row] = json.loads(result.stdout)
    assert (row["name"], round(row["evidence"])) == ("asset video/mp4 other", 30)


def test_it_shows_nothing_while_nothing_was_learned(database, command: Command):
    result = command("schedule", "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (0, [])


def test_it_explains_the_next_look_at_an_asset_of_the_fleet(database, command: Command, sql: Sql):
    now = time.time()
    progress = Progress(polls=2, last_seen=LastSeen("processing", {}), waiting_at=now - 5)
    sql(
        "INSERT INTO asset_worker.pending (asset_id, owner, accepted_at, completion, origin, line, progress) "
        "VALUES ('a1', 7, %s, 1, 'inbox', 1, %s)",
        now - 60,
        msgspec.json.encode(progress).decode(),
    )
    sql(
        "INSERT INTO asset_worker.settled (asset_id, completion, life, outcome, accepted_at, completed_at) "
        "VALUES ('a2', 1, 7, 'ready', %s, %s)",
        now - 90,
        now - 30,
    )
    shown = command("schedule", "--asset", "a1", "--json")
    assert shown.exit_code == 0, shown.stderr
    assert (json.loads(shown.stdout)["polls"], json.loads(shown.stdout)["asset_id"]) == (2, "a1")
    assert re.fullmatch(r"a2 was settled \S+ ago as ready: .*\n", command("schedule", "--asset", "a2").stdout)
    unknown = command("schedule", "--asset", "a3")
    assert (unknown.exit_code, "a3 is not known in the fleet" in unknown.stderr) == (2, True)


def test_it_says_when_there_is_no_fleet(no_tables, command: Command):
    result = command("schedule")
    assert (result.exit_code, "run `asset-worker fleet init`" in result.stderr) == (2, True)
