"""The command `asset-worker fleet`: the tables of a fleet, and what its workers are doing."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from asset_worker.cli.database import NO_DRIVER, ask_database
from asset_worker.cli.usage import PathOption, fail, settings_from
from asset_worker.runtime.text import visible, visible_json_bytes
from asset_worker.telemetry import words

if TYPE_CHECKING:
    import psycopg

    from asset_worker.queue.postgres.connection import Connection
    from asset_worker.queue.postgres.fleet_report import FleetReport, Member


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
    """Create the tables of a fleet, or bring them to the present version, in one transaction.

    It needs a user who may create a schema and roles. The roles SCHEMA_producer, which may submit, and SCHEMA_worker,
    which may change rows, are for those who use the tables: grant them to your users. If they are there already, no
    right to create roles is needed. Workers that run meanwhile go on.

    \b
    Examples:
      asset-worker fleet init --config worker.toml
      asset-worker fleet init --sql | psql --set ON_ERROR_STOP=1
    """
    settings = settings_from(config, {})
    try:
        from asset_worker.queue.postgres import schema as tables  # noqa: PLC0415 - an optional dependency
        from asset_worker.queue.postgres.opening import read_version  # noqa: PLC0415
    except ImportError:
        fail(NO_DRIVER)
    name = settings.fleet.schema
    if sql:
        click.echo(f"BEGIN;\n{tables.script(name)}COMMIT;")
        return

    def create(connection: Connection) -> tuple[int, int]:
        connection.execute(tables.LOCK)
        found = read_version(connection, name)
        before = 0 if found is None else found[0]
        if before < tables.VERSION:
            connection.execute(tables.script(name, before))
        return before, max(before, tables.VERSION)

    before, now = ask_database(settings, create, explain=partial(_why_not_created, name))
    where = f"the tables in the schema {name}"
    if before == now:
        click.echo(f"{where} are of version {now} already", err=True)
    elif before:
        click.echo(f"{where} were of version {before}, and are of version {now} now", err=True)
    else:
        click.echo(f"{where} were created", err=True)


def _why_not_created(schema: str, error: psycopg.Error) -> str | None:
    """Return what keeps this user from creating the tables; None: another error."""
    text = error.diag.message_primary
    if error.sqlstate != "42501" or text is None:
        return None
    if "role" in text:
        what = f"have an administrator create the roles {schema}_producer and {schema}_worker (NOLOGIN) first"
    elif "database" in text:
        what = "have an administrator grant it CREATE on the database"
    else:
        what = f"run this as the user who owns the schema {schema}"
    return (
        f"this user of the database may not create the tables and roles ({text}): {what}, or have one run what "
        "`asset-worker fleet init --sql` prints. Nothing was changed"
    )


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

    found = ask_database(settings, report)
    if as_json:
        click.echo(visible_json_bytes(msgspec.json.encode(found)).decode())
    else:
        click.echo("".join(f"{visible(line)}\n" for line in _lines(found)), nl=False)


def _lines(report: FleetReport) -> list[str]:
    return [
        f"workers     {len(report.workers)}",
        *map(_line_of, report.workers),
        f"pending     {report.owned + report.unowned}",
        f"  unowned   {report.unowned}" + _age(report.oldest_unowned_age),
        f"inbox       {report.inbox}" + _age(report.oldest_inbox_age),
        f"deliveries  {sum(report.deliveries.values())}",
        *(f"  {sink}  {count}" for sink, count in report.deliveries.items()),
        *(f"  {sink}  {words.counted(count, 'dead letter')}" for sink, count in report.dead_letters.items()),
    ]


def _line_of(member: Member) -> str:
    state = (
        f"alive, {member.version}" if member.alive_for > 0 else f"not heard of for {words.duration(-member.alive_for)}"
    )
    lost = f"  {words.counted(member.leases_lost, 'lease')} lost" if member.leases_lost else ""
    return f"  {member.name}  {words.counted(member.owned, 'asset')}  {member.portion:.0%} of the quota  {state}{lost}"


def _age(seconds: float | None) -> str:
    return "" if seconds is None else f"  (oldest {words.duration(seconds)})"
