"""`asset-worker fleet`: tables that are created once, by those who may, and what it shows."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.doubles.postgres import PROGRAMS
from tests.unit.cli.conftest import Command, Sql, as_user

VERSION = "SELECT version FROM asset_worker.schema"


def test_tables_are_created_once(no_tables, command: Command, sql: Sql):
    first, second = command("fleet", "init"), command("fleet", "init")
    assert (first.exit_code, "were created" in first.stderr) == (0, True)
    assert (second.exit_code, "already" in second.stderr) == (0, True)
    assert sql(VERSION) == [(1,)]


def test_a_user_who_may_not_create_roles_is_told_what_to_do(no_tables, command: Command, sql: Sql):
    owner = as_user(no_tables, "an_owner")
    sql("GRANT CREATE ON DATABASE postgres TO an_owner")
    for role in ("asset_worker_producer", "asset_worker_worker"):
        if sql("SELECT to_regrole(%s)", role) != [(None,)]:
            sql(f"DROP OWNED BY {role}; DROP ROLE {role}")
    result = command("fleet", "init", postgres__url=owner)
    assert result.exit_code == 2
    assert "create the roles asset_worker_producer and asset_worker_worker" in result.stderr
    assert "fleet init --sql" in result.stderr
    assert sql("SELECT to_regnamespace('asset_worker')") == [(None,)]
    sql("CREATE ROLE asset_worker_producer; CREATE ROLE asset_worker_worker")
    again = command("fleet", "init", postgres__url=owner)
    assert (again.exit_code, sql(VERSION)) == (0, [(1,)]), again.stderr
    stranger = command("fleet", "init", postgres__url=as_user(no_tables, "a_stranger"), fleet__schema="other")
    assert (stranger.exit_code, "grant it CREATE on the database" in stranger.stderr) == (2, True), stranger.stderr


def test_psql_runs_the_printed_sql_in_one_transaction(no_tables, command: Command, sql: Sql):
    script = command("fleet", "init", "--sql", postgres__url="", queue__engine="").stdout
    psql = [PROGRAMS / "psql", "--no-psqlrc", "--set", "ON_ERROR_STOP=1", "--quiet", no_tables]
    broken = script.replace("COMMIT;", "SELECT 1/0;\nCOMMIT;")
    assert subprocess.run(psql, input=broken, text=True, check=False, capture_output=True).returncode == 3
    assert sql("SELECT to_regnamespace('asset_worker')") == [(None,)]
    done = subprocess.run(psql, input=script, text=True, check=False, capture_output=True)
    assert (done.returncode, done.stderr, sql(VERSION)) == (0, "", [(1,)])
    assert "already" in command("fleet", "init").stderr


def test_what_workers_are_called_does_not_move_the_cursor(database, command: Command, sql: Sql):
    sql(
        "INSERT INTO asset_worker.workers (name, version, alive_until, owned, portion, leases_lost) VALUES "
        "(%s, '1.0', clock_timestamp() + interval '1 hour', 3, 0.25, 2), "
        "('b', '1.0', now() - interval '1 hour', 0, 0, 0)",
        "a\x1b[2J",
    )
    result = command("fleet", "status")
    assert result.stdout.splitlines()[:3] == [
        "workers     2",
        r"  a\x1b[2J  3 assets  25% of the quota  alive, 1.0  2 leases lost",
        "  b  0 assets  0% of the quota  not heard of for 1 h",
    ]
    shown = command("fleet", "status", "--json").stdout
    assert "\x1b" not in shown
    assert [each["name"] for each in json.loads(shown)["workers"]] == ["a\x1b[2J", "b"]


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[2J", "\u202ea"])
def test_a_name_with_control_characters_is_refused(command: Command, name: str):
    result = command("fleet", "status", fleet__name=name)
    assert (result.exit_code, "FLEET__NAME: it must have no control" in result.stderr) == (2, True)
