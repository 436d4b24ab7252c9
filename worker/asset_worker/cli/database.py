"""How commands ask the database of a fleet. The driver is imported only when it is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn, TypeVar

from asset_worker.cli.usage import fail
from asset_worker.credentials import database_url, redact_database_password
from asset_worker.domain.run_plan import Exit
from asset_worker.queue.postgres.errors import DatabaseError, DatabaseUnavailableError
from asset_worker.runtime.redaction import Secrets
from asset_worker.settings.tree import Settings

if TYPE_CHECKING:
    import psycopg

    from asset_worker.queue.postgres.connection import Connection

T = TypeVar("T")

NO_DRIVER = "this needs a driver for PostgreSQL: install asset-worker with the extra `postgres`"
NO_DATABASE = "no database is named: set postgres.url or postgres.url_file, as in ASSET_WORKER_POSTGRES__URL"


def ask_database(
    settings: Settings,
    work: Callable[[Connection], T],
    *,
    explain: Callable[[psycopg.Error], str | None] = lambda _: None,
    idle_seconds: float = 60.0,
) -> T:
    """Return what `work` returns for a connection to the fleet's database, in one transaction; or end the command.

    `explain` says what an error means to this command, which then can't be used; None: what it means to all.
    `idle_seconds` is how long the transaction may rest between two statements.
    """
    if settings.postgres.url is None and settings.postgres.url_file is None:
        fail(NO_DATABASE)
    try:
        import psycopg  # noqa: PLC0415 - an optional dependency

        from asset_worker.queue.postgres.connection import Link  # noqa: PLC0415
        from asset_worker.queue.postgres.opening import explained  # noqa: PLC0415
    except ImportError:
        fail(NO_DRIVER)
    secrets = Secrets()
    try:
        redact_database_password(settings.postgres, secrets)
        link = Link(database_url(settings.postgres), application="asset-worker command", idle_seconds=idle_seconds)
        try:
            return link.transact(work)
        except psycopg.Error as error:
            if (text := explain(error)) is not None:
                raise DatabaseError(text) from error
            raise explained(error) from error
        finally:
            link.close()
    except DatabaseError as error:
        _end(error, secrets)


def _end(error: DatabaseError, secrets: Secrets) -> NoReturn:
    code = Exit.TEMPORARY if isinstance(error, DatabaseUnavailableError) else Exit.USAGE
    fail(secrets.redact_text(str(error)), code=code)
