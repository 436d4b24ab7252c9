"""What `doctor` makes of the facts about a fleet's database. Pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asset_worker.cli.diagnosis import SLIGHT_SKEW_SECONDS, Check, State
from asset_worker.domain.run_plan import Exit

if TYPE_CHECKING:
    from asset_worker.queue.postgres.server_facts import ServerFacts

OLDEST_SERVER: Final = 15
"""The oldest version of PostgreSQL that serves a fleet."""
NAMED_RIGHTS: Final = 3
"""Missing rights that are named at most."""
INIT: Final = "run `asset-worker fleet init`"


def judge_database(
    facts: ServerFacts,
    *,
    schema: str,
    name: str,
    life: int | None,
    ours: tuple[int, int],
    took: float,
    clock: float,
) -> list[Check]:
    """Return what the facts show.

    Args:
        facts: what the database says.
        schema: the name of the fleet's schema.
        name: the name of this worker.
        life: the last life of the worker of this state directory; None: it is not known.
        ours: the version of the tables that this program needs, and the oldest that it can use.
        took: seconds from the connection to the answer.
        clock: what this machine's clock showed when the database's was read.
    """
    return [
        _server(facts, took),
        _tables(facts, schema, ours),
        _rights(facts, schema),
        _name(facts, name, life),
        _durability(facts),
        _clock(facts.time - clock),
    ]


def _server(facts: ServerFacts, took: float) -> Check:
    major = facts.version // 10_000
    if major < OLDEST_SERVER:
        fix = f"upgrade the server to PostgreSQL {OLDEST_SERVER} or newer"
        return Check("database", State.PROBLEM, f"it is PostgreSQL {major}", fix, code=Exit.USAGE)
    if facts.is_standby or facts.is_read_only:
        what = "it is a standby" if facts.is_standby else "it can only be read"
        fix = "connect to the primary: name all hosts in postgres.url, with target_session_attrs=read-write"
        return Check("database", State.PROBLEM, f"{what}, and nothing can be written", fix)
    return Check("database", State.OK, f"PostgreSQL {major} answered in {took * 1000:.0f} ms")


def _tables(facts: ServerFacts, schema: str, ours: tuple[int, int]) -> Check:
    needed, oldest = ours
    if facts.may_use_schema is None:
        return Check("tables", State.PROBLEM, f"there are none in {schema}", INIT, code=Exit.USAGE)
    if facts.tables is None:
        if facts.missing or not facts.may_use_schema:
            return Check("tables", State.SKIPPED, "not checked: this user may not read their version")
        return Check("tables", State.PROBLEM, f"there are none in {schema}", INIT, code=Exit.USAGE)
    version, oldest_program = facts.tables
    if version < oldest:
        return Check("tables", State.PROBLEM, f"they are of the version {version}", INIT, code=Exit.USAGE)
    if oldest_program > needed:
        text = f"they are of the version {version}, of a newer asset-worker"
        return Check("tables", State.PROBLEM, text, "update asset-worker", code=Exit.USAGE)
    return Check("tables", State.OK, f"those in {schema} are of the version {version}")


def _rights(facts: ServerFacts, schema: str) -> Check:
    if facts.may_use_schema is None:
        return Check("rights", State.SKIPPED, "not checked: there are no tables")
    missing = facts.missing if facts.may_use_schema else (f"USAGE on {schema}",)
    if missing:
        more = f" and {len(missing) - NAMED_RIGHTS} more" if len(missing) > NAMED_RIGHTS else ""
        text = f"the user {facts.user} lacks {', '.join(missing[:NAMED_RIGHTS])}{more}"
        return Check("rights", State.PROBLEM, text, f"GRANT {schema}_worker TO {facts.user}", code=Exit.USAGE)
    return Check("rights", State.OK, f"the user {facts.user} has those of a worker")


def _name(facts: ServerFacts, name: str, life: int | None) -> Check:
    if facts.tables is None:
        return Check("fleet_name", State.SKIPPED, "not checked: the tables can't be read")
    if facts.holder is None:
        return Check("fleet_name", State.OK, f"no live worker of the fleet is called {name}")
    if facts.holder == life:
        return Check("fleet_name", State.OK, f"the worker of this state directory is called {name}")
    text = f"a live worker of the fleet, with another state directory, is called {name}"
    return Check("fleet_name", State.PROBLEM, text, "set fleet.name to one of its own", code=Exit.USAGE)


def _durability(facts: ServerFacts) -> Check:
    if facts.synchronous_commit == "off":
        text = "synchronous_commit is off: a crash of the server loses what was accepted just before"
        return Check("durability", State.WARNING, text, "set it to on for this user or database")
    if not facts.standbys:
        text = "commits wait for the server's disk, and for no standby (synchronous_standby_names is empty)"
    elif facts.synchronous_commit == "local":
        text = "commits wait for the server's disk alone (synchronous_commit is local)"
    else:
        text = f"commits wait for a standby (synchronous_commit is {facts.synchronous_commit}: {facts.standbys})"
    return Check("durability", State.OK, text)


def _clock(ahead: float) -> Check:
    if abs(ahead) <= SLIGHT_SKEW_SECONDS:
        return Check("database_clock", State.OK, f"it agrees with this machine's within {max(abs(ahead), 1.0):.0f} s")
    text = f"it is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this machine's"
    return Check(
        "database_clock", State.WARNING, text, "set both (NTP): ages follow the database's, times in events ours"
    )
