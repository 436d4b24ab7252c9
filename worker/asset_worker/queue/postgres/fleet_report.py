"""What a fleet is doing, read from its tables, for people."""

from __future__ import annotations

from typing import Any

import msgspec

from asset_worker.queue.postgres.connection import Connection, execute


class Member(msgspec.Struct, frozen=True):
    """A worker of the fleet."""

    name: str
    version: str
    started_at: float
    """In seconds since the epoch, UTC."""
    alive_for: float
    """Seconds until its lease ends; negative: since it has ended."""
    owned: int
    """How many assets it owned when it last extended its lease."""
    portion: float
    """Which portion of the quota it uses."""
    leases_lost: int
    """How often it could not extend its lease in time since its start."""


class FleetReport(msgspec.Struct, frozen=True):
    """The fleet as a whole."""

    workers: list[Member]
    owned: int
    """Pending assets that a worker owns."""
    unowned: int
    """Pending assets that nobody owns yet."""
    oldest_unowned_age: float | None
    """Seconds since the first of those was accepted; None: there is none."""
    inbox: int
    """Assets that were submitted, and that no worker has accepted yet."""
    oldest_inbox_age: float | None
    """Seconds since the first of those was submitted; None: there is none."""
    deliveries: dict[str, int]
    """How many events each sink lacks, over all workers."""
    dead_letters: dict[str, int]
    """How many dead letters each sink has."""


def read_report(connection: Connection, schema: str) -> FleetReport:
    """Read what the fleet is doing. It counts all pending assets: a second for some millions."""

    def rows(query: str) -> list[tuple[Any, ...]]:
        return execute(connection, query.format(s=schema)).fetchall()

    workers = rows(
        "SELECT name, version, extract(epoch FROM started_at)::float8, "
        "extract(epoch FROM alive_until - clock_timestamp())::float8, owned, portion, leases_lost "
        "FROM {s}.workers ORDER BY name"
    )
    [(owned, unowned, oldest)] = rows(
        "SELECT count(owner), count(*) - count(owner), extract(epoch FROM clock_timestamp())::float8 "
        "- min(accepted_at) FILTER (WHERE owner IS NULL) FROM {s}.pending"
    )
    [(inbox, oldest_asked)] = rows(
        "SELECT count(*), extract(epoch FROM clock_timestamp() - min(submitted_at))::float8 FROM {s}.inbox"
    )
    return FleetReport(
        [Member(*each) for each in workers],
        owned,
        unowned,
        oldest,
        inbox,
        oldest_asked,
        dict(rows("SELECT sink, count(*) FROM {s}.deliveries GROUP BY sink ORDER BY sink")),
        dict(rows("SELECT sink, count(*) FROM {s}.dead_letters GROUP BY sink ORDER BY sink")),
    )
