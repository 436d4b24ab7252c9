"""`doctor` and `config --check` with the database of a fleet."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from asset_worker.cli import checks, doctor
from tests.doubles.postgres import with_password
from tests.unit.cli.conftest import Command, Sql, as_user

NAMES = ["database", "tables", "rights", "fleet_name", "durability", "database_clock"]
PASSWORD = "a-password-of-some-length"
HEALTHY = {"api__base_url": "http://127.0.0.1:1/v1.3", "api__key": "tlk_0123456789SECRET", "fleet__name": "a"}


def examined(command: Command, *arguments: str, **settings: str) -> dict[str, dict[str, Any]]:
    """Return the checks of the database, by name. The API is away, which is a problem of its own."""
    result = command("doctor", "--json", *arguments, **HEALTHY | settings)
    assert PASSWORD not in result.output
    found = {check["name"]: check for check in json.loads(result.stdout)["checks"]}
    return {name: found[name] for name in NAMES if name in found}


def test_all_is_well(database, command: Command):
    found = examined(command)
    assert list(found) == NAMES
    # The server of the tests has no disk to wait for.
    assert {name: check["state"] for name, check in found.items()} == dict.fromkeys(NAMES, "ok") | {
        "durability": "warning"
    }


def test_the_role_of_a_worker_suffices_and_that_of_a_producer_does_not(database, command: Command):
    worker = examined(command, postgres__url=as_user(database, "a_worker", member_of="asset_worker_worker"))
    assert worker["rights"]["state"] == "ok"
    producer = examined(command, postgres__url=as_user(database, "a_producer", member_of="asset_worker_producer"))
    assert producer["rights"]["fix"] == "GRANT asset_worker_worker TO a_producer"
    stranger = examined(command, postgres__url=as_user(database, "a_stranger"))
    assert "lacks USAGE on asset_worker" in stranger["rights"]["text"]


def test_a_database_without_tables_says_how_to_create_them(no_tables, command: Command):
    assert examined(command)["tables"]["fix"] == "run `asset-worker fleet init`"


def test_a_name_is_ours_if_our_state_directory_says_so(database, command: Command, sql: Sql):
    alive = "clock_timestamp() + interval '1 hour'"
    [(life,)] = sql(
        f"INSERT INTO asset_worker.workers (name, version, alive_until) VALUES ('a', '1', {alive}) RETURNING id"
    )
    assert examined(command)["fleet_name"]["state"] == "problem"
    Path("state").mkdir(mode=0o700)
    Path("state", "life").write_text(f"{life}\n")
    assert examined(command)["fleet_name"]["state"] == "ok"


def test_a_server_that_can_only_be_read_is_a_problem(database, command: Command):
    found = examined(command, postgres__url=f"{database}&options=-c%20default_transaction_read_only%3Don")
    assert "can only be read" in found["database"]["text"]


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://127.0.0.1:1/nothing", "Connection refused"),
        ("postgresql://ada:a-pass@word@db/assets", "@ too many"),
        ("nonsense", "can't be read"),
    ],
)
def test_it_says_why_there_is_no_connection(command: Command, url: str, says: str):
    found = examined(command, postgres__url=url)["database"]
    assert (found["state"], says in f"{found['text']}: {found['fix']}", "a-pass" in str(found)) == (
        "problem",
        True,
        False,
    )


def test_a_password_that_is_wrong_is_not_shown(database, command: Command):
    wrong = with_password(database, "ada", "another one").replace("another%20one", PASSWORD)
    found = examined(command, postgres__url=wrong)
    assert "password authentication failed" in found["database"]["text"]
    assert found["tables"]["state"] == "skipped"


def test_a_server_that_hangs_is_not_waited_for_without_end(command: Command, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "DATABASE_SECONDS", 0.1)
    monkeypatch.setattr(doctor, "check_database", lambda _: time.sleep(1))
    assert "not examined within 0.1 s" in examined(command)["database"]["text"]


def test_without_a_network_the_url_alone_is_looked_at(command: Command):
    found = examined(command, "--local", postgres__url="postgresql://127.0.0.1:1/nothing")
    assert [(name, check["state"]) for name, check in found.items()] == [("database", "ok")]


def test_a_file_of_the_url_that_others_may_read_is_a_warning(database, command: Command):
    Path("url").write_text(f"{database}\n")
    Path("url").chmod(0o644)
    settings = {"postgres__url_file": "url", "postgres__url": ""}
    result = command("doctor", "--json", "--local", **HEALTHY | settings)
    [found] = [check for check in json.loads(result.stdout)["checks"] if check["name"] == "database"]
    assert (found["state"], "is exposed" in found["text"]) == ("warning", True)
    checked = command("config", "--check", **settings)
    assert (checked.exit_code, "file of the database's URL url is exposed" in checked.stderr) == (0, True)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"postgres__url": ""}, "set postgres.url or postgres.url_file"),
        ({"postgres__url": "nonsense"}, "can't be read"),
        ({"postgres__url_file": "missing"}, "postgres.url_file missing is not there"),
        ({"postgres__url_file": "empty"}, "is empty"),
        ({"fleet__schema": "Big"}, "FLEET__SCHEMA"),
        ({"fleet__lease": "0.5"}, "at least a second"),
    ],
)
def test_the_settings_of_a_fleet_are_checked_without_a_connection(
    command: Command, settings: dict[str, str], says: str
):
    Path("empty").touch(mode=0o600)
    result = command("config", "--check", **{"postgres__url": "postgresql://127.0.0.1:1/nothing"} | settings)
    assert (result.exit_code, says in result.stderr) == (2, True), result.stderr


def test_settings_that_are_good_are_said_to_be_good(command: Command):
    result = command("config", "--check", postgres__url="postgresql://127.0.0.1:1/nothing")
    assert (result.exit_code, result.stderr) == (0, "the settings are good\n")


def test_a_driver_that_is_missing_is_a_problem(command: Command, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(checks, "find_spec", lambda _: None)
    assert "extra `postgres`" in command("config", "--check").stderr
    assert "extra `postgres`" in str(examined(command)["database"])
