"""The checks of `doctor` of a fleet's database: one connection, and nothing is written."""

from __future__ import annotations

import time
from typing import Final

from asset_worker.cli.checks import database_problem
from asset_worker.cli.database_diagnosis import judge_database
from asset_worker.cli.diagnosis import Check, State, advised
from asset_worker.cli.doctor_local import exposed, of_problem
from asset_worker.credentials import database_url
from asset_worker.domain.run_plan import Exit
from asset_worker.queue.postgres.errors import DatabaseError, DatabaseUnavailableError
from asset_worker.runtime.redaction import Secrets
from asset_worker.settings.tree import NoStateDirectoryError, Settings

REST: Final = ("tables", "rights", "fleet_name", "durability", "database_clock")
"""The checks that follow that of the connection."""


def check_settings(settings: Settings, secrets: Secrets) -> list[Check]:
    """Return what is wrong with the driver, the URL and its file; empty: nothing. `secrets` learns the password."""
    if (problem := database_problem(settings.postgres, secrets)) is not None:
        return [of_problem(problem, "database")]
    return exposed("database", settings.postgres.url_file)


def check_database(settings: Settings) -> list[Check]:
    """Return what the database shows. It blocks, for as long as each of its hosts may take."""
    import psycopg  # noqa: PLC0415 - as above

    from asset_worker.queue.postgres import schema as tables  # noqa: PLC0415
    from asset_worker.queue.postgres.connection import Link  # noqa: PLC0415
    from asset_worker.queue.postgres.opening import explained, read_life  # noqa: PLC0415
    from asset_worker.queue.postgres.server_facts import read_facts  # noqa: PLC0415

    fleet = settings.fleet
    began = time.monotonic()
    link = Link(database_url(settings.postgres), application="asset-worker doctor", idle_seconds=60.0)
    try:
        facts = link.ask(lambda connection: read_facts(connection, fleet.schema, fleet.name))
        clock = time.time()
    except psycopg.Error as error:
        return [_of(explained(error)), *(Check(name, State.SKIPPED, "not checked: no answer") for name in REST)]
    finally:
        link.close()
    try:
        life = read_life(settings.state.directory)
    except NoStateDirectoryError:
        life = None
    return judge_database(
        facts,
        schema=fleet.schema,
        name=fleet.name,
        life=life,
        ours=(tables.VERSION, tables.OLDEST_COMPATIBLE),
        took=time.monotonic() - began,
        clock=clock,
    )


def _of(error: DatabaseError) -> Check:
    if isinstance(error, DatabaseUnavailableError):
        fix = "check postgres.url, the password, the server and what is on the way to it"
        return Check("database", State.PROBLEM, str(error), fix)
    return advised("database", str(error), code=Exit.USAGE)
