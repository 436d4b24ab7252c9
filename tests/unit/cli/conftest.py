"""A database for the commands of a fleet."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from click.testing import CliRunner, Result

from asset_worker.cli import asset_worker
from tests.doubles import postgres

Sql = Callable[..., list[tuple[Any, ...]]]
Command = Callable[..., Result]
SCHEMA = "asset_worker"


@pytest.fixture
def no_tables(server: str) -> str:
    """The URL of a database without the tables of a fleet."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
    return server


@pytest.fixture
def database(no_tables: str) -> str:
    """The URL of a database with the tables of a fleet, which are empty."""
    postgres.create(no_tables, SCHEMA)
    return no_tables


@pytest.fixture
def sql(server: str) -> Sql:
    def run(query: str, *parameters: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(server, autocommit=True) as connection:
            cursor = connection.execute(query, parameters or None)
            return cursor.fetchall() if cursor.description else []

    return run


@pytest.fixture
def command(server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Command:
    """Runs a command with the settings of a fleet; others are given as `fleet__name="a"`."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("ASSET_WORKER", "TWELVE", "PG")):
            monkeypatch.delenv(name)

    def run(*arguments: str, **settings: str) -> Result:
        chosen = {"queue__engine": "postgres", "postgres__url": server} | settings
        environ = {f"ASSET_WORKER_{name.upper()}": value for name, value in chosen.items()}
        result = CliRunner().invoke(asset_worker, arguments, env={"STATE_DIRECTORY": "state"} | environ)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return run


def as_user(url: str, name: str, *, member_of: str | None = None) -> str:
    """Have a role that may log in, and return the URL with it. `member_of`: the role whose rights it has."""
    with psycopg.connect(url, autocommit=True) as connection:
        if connection.execute("SELECT to_regrole(%s)", (name,)).fetchone() == (None,):
            connection.execute(f"CREATE ROLE {name} LOGIN")
        if member_of is not None:
            connection.execute(f"GRANT {member_of} TO {name}")
    return url.replace("//postgres@", f"//{quote(name)}@")
