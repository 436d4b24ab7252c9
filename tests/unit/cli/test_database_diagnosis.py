"""What `doctor` makes of the facts about a fleet's database."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from asset_worker.cli.database_diagnosis import judge_database
from asset_worker.cli.diagnosis import Check, exit_code_for
from asset_worker.queue.postgres.server_facts import ServerFacts

GOOD = ServerFacts(
    version=180_001,
    is_standby=False,
    is_read_only=False,
    synchronous_commit="on",
    standbys="ANY 1 (b, c)",
    time=1000.0,
    user="ada",
    may_use_schema=True,
    tables=(1, 1),
)


def judged(facts: ServerFacts = GOOD, **options: Any) -> dict[str, Check]:
    given = {"schema": "fleet", "name": "a", "life": 7, "ours": (1, 1), "took": 0.012, "clock": 1000.5} | options
    return {check.name: check for check in judge_database(facts, **given)}


def test_a_good_database_is_good():
    assert {name: (check.state, check.text) for name, check in judged().items()} == {
        "database": ("ok", "PostgreSQL 18 answered in 12 ms"),
        "tables": ("ok", "those in fleet are of the version 1"),
        "rights": ("ok", "the user ada has those of a worker"),
        "fleet_name": ("ok", "no live worker of the fleet is called a"),
        "durability": ("ok", "commits wait for a standby (synchronous_commit is on: ANY 1 (b, c))"),
        "database_clock": ("ok", "it agrees with this machine's within 1 s"),
    }


@pytest.mark.parametrize(
    ("changes", "name", "state", "says", "code"),
    [
        ({"version": 149_999}, "database", "problem", "it is PostgreSQL 14", 2),
        ({"version": 150_000}, "database", "ok", "PostgreSQL 15", 0),
        ({"is_standby": True}, "database", "problem", "it is a standby, and nothing can be written", 1),
        ({"is_read_only": True}, "database", "problem", "it can only be read", 1),
        ({"may_use_schema": None, "tables": None}, "tables", "problem", "there are none in fleet", 2),
        ({"may_use_schema": None, "tables": None}, "rights", "skipped", "there are no tables", 2),
        ({"tables": None}, "tables", "problem", "there are none in fleet", 2),
        ({"tables": (0, 0)}, "tables", "problem", "of the version 0", 2),
        ({"tables": (9, 2)}, "tables", "problem", "of a newer asset-worker", 2),
        ({"tables": (9, 1)}, "tables", "ok", "of the version 9", 0),
        ({"may_use_schema": False, "tables": None}, "rights", "problem", "ada lacks USAGE on fleet", 2),
        ({"may_use_schema": False, "tables": None}, "tables", "skipped", "may not read their version", 2),
        ({"missing": tuple("abcde")}, "rights", "problem", "ada lacks a, b, c and 2 more", 2),
        ({"missing": tuple("abc")}, "rights", "problem", "ada lacks a, b, c", 2),
        ({"holder": 8}, "fleet_name", "problem", "with another state directory, is called a", 2),
        ({"holder": 7}, "fleet_name", "ok", "the worker of this state directory is called a", 0),
        ({"synchronous_commit": "off"}, "durability", "warning", "loses what was accepted just before", 0),
        ({"synchronous_commit": "local"}, "durability", "ok", "the server's disk alone", 0),
        ({"standbys": ""}, "durability", "ok", "for no standby", 0),
        ({"time": 1030.5}, "database_clock", "ok", "within 30 s", 0),
        ({"time": 1031.5}, "database_clock", "warning", "it is 31 s ahead of", 0),
        ({"time": 900.5}, "database_clock", "warning", "it is 100 s behind", 0),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do(changes: dict[str, Any], name: str, state: str, says: str, code: int):
    checks = judged(replace(GOOD, **changes))
    check = checks[name]
    assert (check.state, says in check.text, exit_code_for(checks.values())) == (state, True, code), check
    assert (check.fix is not None) == (state in {"problem", "warning"})


def test_the_rights_that_are_missing_are_granted_with_a_role():
    assert judged(replace(GOOD, missing=("INSERT on events",)))["rights"].fix == "GRANT fleet_worker TO ada"
