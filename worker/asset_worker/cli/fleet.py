"""The command `asset-worker fleet`: the tables of a fleet, and what its workers are doing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click
import msgspec

from asset_worker.cli.usage import PathOption, fail, settings_from
from asset_worker.credentials import database_url
from asset_worker.domain.run_plan import Exit
from asset_worker.queue.postgres.errors import DatabaseError, DatabaseUnavailableError
from asset_worker.runtime.text import visible, visible_json_bytes
from asset_worker.settings.tree import Settings
from asset_worker.telemetry import words

if TYPE_CHECKING:
    from asset_worker.queue.postgres.connection import Connection
    from asset_worker.queue.postgres.fleet_report import FleetReport

T = TypeVar("T")

NO_DRIVER = "this needs a driver for PostgreSQL: install asset-worker with the extra `postgres`"


@click.group()
def fleet() -> None:
    """Several workers that share one queue in PostgreSQL.

    \b
    Examples:
      asset-worker fleet init --config worker.toml
      asset-worker fleet status --json | jq .unowned
    """


@fleet.command()
@click.option("--config", type=PathOption(dir_okay=False), help="Settings file (TOML).")
@click.option("--sql", is_flag=True, help="Print the SQL for a new database, and change nothing.")
def init(config: Path | None, sql: bool) -> None:
    """Create the tables of a fleet, or bring them to the present version.

    It needs a user who may create a schema and roles. The roles SCHEMA_producer, which may submit, and SCHEMA_worker,
    which may change rows, are for those who use the tables: grant them to your users. Workers that run meanwhile go on.

    \b
    Examples:
      asset-worker fleet init --config worker.toml
      asset-worker fleet init --sql | less
    """
    settings = settings_from(config, {})
    try:
        from asset_worker.queue.postgres import schema as tables  # noqa: PLC0415 - an optional dependency
        from asset_worker.queue.postgres.opening import read_version  # noqa: PLC0415
    except ImportError:
        fail(NO_DRIVER)
    name = settings.fleet.schema
    if sql:
        click.echo(tables.script(name), nl=False)
        return

    def create(connection: Connection) -> tuple[int, int]:
        found = read_version(connection, name)
        before = 0 if found is None else found[0]
        if before < tables.VERSION:
            connection.execute(tables.script(name, before))
        return before, max(before, tables.VERSION)

    before, now = _asked(settings, create)
    where = f"the tables in the schema {name}"
    if before == now:
        click.echo(f"{where} are of version {now} already", err=True)
    elif before:
        click.echo(f"{where} were of version {before}, and are of version {now} now", err=True)
    else:
        click.echo(f"{where} were created", err=True)


@fleet.command()
@click.option("--config", type=PathOption(dir_okay=False), help="Settings file (TOML).")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for scripts.")
def status(config: Path | None, as_json: bool) -> None:
    """Show the workers of the fleet, what they own, and what waits for them.

    \b
    Examples:
      asset-worker fleet status --config worker.toml
      asset-worker fleet status --json | jq .unowned
    """
    settings = settings_from(config, {})
    try:
        from asset_worker.queue.postgres.fleet_report import read_report  # noqa: PLC0415 - an optional dependency
        from asset_worker.queue.postgres.opening import check_version  # noqa: PLC0415
    except ImportError:
        fail(NO_DRIVER)
    name = settings.fleet.schema

    def report(connection: Connection) -> FleetReport:
        check_version(connection, name)
        return read_report(connection, name)

    found = _asked(settings, report)
    if as_json:
        click.echo(visible_json_bytes(msgspec.json.encode(found)).decode())
    else:
        click.echo("".join(f"{visible(line)}\n" for line in _lines(found)), nl=False)


def _asked(settings: Settings, work: Callable[[Connection], T]) -> T:
    """Return what `work` returns for a connection to the fleet's database, or end the command."""
    if settings.postgres.url is None and settings.postgres.url_file is None:
        fail("no database is named: set postgres.url or postgres.url_file, as in ASSET_WORKER_POSTGRES__URL")
    import psycopg  # noqa: PLC0415 - an optional dependency

    from asset_worker.queue.postgres.connection import Link  # noqa: PLC0415
    from asset_worker.queue.postgres.opening import explained  # noqa: PLC0415

    try:
        link = Link(database_url(settings.postgres), application="asset-worker fleet", idle_seconds=60.0)
        try:
            return link.transact(work)
        finally:
            link.close()
    except DatabaseUnavailableError as error:
        fail(str(error), code=Exit.TEMPORARY)
    except DatabaseError as error:
        fail(str(error))
    except psycopg.Error as error:
        why = explained(error)
        fail(str(why), code=Exit.TEMPORARY if isinstance(why, DatabaseUnavailableError) else Exit.USAGE)


def _lines(report: FleetReport) -> list[str]:
    workers = [
        f"  {each.name}  {words.counted(each.owned, 'asset')}  "
        + (f"alive, {each.version}" if each.alive_for > 0 else f"not heard of for {words.duration(-each.alive_for)}")
        for each in report.workers
    ]
    return [
        f"workers     {len(report.workers)}",
        *workers,
        f"pending     {report.owned + report.unowned}",
        f"  unowned   {report.unowned}" + _age(report.oldest_unowned_age),
        f"inbox       {report.inbox}" + _age(report.oldest_inbox_age),
        f"deliveries  {sum(report.deliveries.values())}",
        *(f"  {sink}  {count}" for sink, count in report.deliveries.items()),
        *(f"  {sink}  {words.counted(count, 'dead letter')}" for sink, count in report.dead_letters.items()),
    ]


def _age(seconds: float | None) -> str:
    return "" if seconds is None else f"  (oldest {words.duration(seconds)})"
