from __future__ import annotations

import itertools
from collections.abc import Iterator

import psycopg
import pytest

from tests.doubles import postgres
from tests.doubles.clocks import ManualClock
from tests.doubles.fleet import open_fleet

_numbers = itertools.count()


@pytest.fixture
def schema(server: str) -> Iterator[str]:
    """The name of a schema with the tables of a fleet."""
    name = f"fleet_{next(_numbers)}"
    postgres.create(server, name)
    yield name
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA {name} CASCADE")


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
async def opened(server, schema, clock):
    """Opens workers, which are ended after the test."""
    queues = []

    async def open_one(name="a", **options):
        queues.append(open_fleet(server, schema, clock, name=name, **options))
        await queues[-1].begin(ends_by_itself=False)
        return queues[-1]

    yield open_one
    for queue in queues:
        queue.crash()


class Statements:
    """Runs statements on a connection of its own, in which the schema need not be named."""

    def __init__(self, connection):
        self.connection = connection

    def __call__(self, query, *parameters):
        cursor = self.connection.execute(query, parameters or None)
        return cursor.fetchall() if cursor.description else cursor.rowcount


@pytest.fixture
def sql(server, schema):
    with psycopg.connect(server, autocommit=True, options=f"-c search_path={schema}") as connection:
        yield Statements(connection)
