"""Where `dead-letters` finds them: in the journal of a worker, or in the database of a fleet."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from asset_worker.cli.database import ask_database
from asset_worker.cli.usage import fail, settings_from, state_directory
from asset_worker.domain.run_plan import Exit
from asset_worker.queue.dead_letters import Answer, DeadLetter, Found, Request
from asset_worker.queue.local.dead_letter_access import NoAnswerError, ask
from asset_worker.queue.local.dead_letter_report import EVERY, read_dead_letter, read_dead_letters
from asset_worker.queue.local.journal import JournalError, JournalUnavailableError
from asset_worker.queue.local.lock import StateDirectoryError, StateDirectoryUnavailableError
from asset_worker.queue.local.request_files import UnusableRequestsError
from asset_worker.runtime.clock import SystemClock
from asset_worker.runtime.os_errors import may_pass
from asset_worker.settings.tree import Settings

if TYPE_CHECKING:
    from asset_worker.queue.postgres.connection import Connection
    from asset_worker.queue.postgres.dead_letter_rows import FleetDeadLetters

T = TypeVar("T")

READER_SECONDS = 3_600.0
"""How long whoever reads a list may rest, before the database ends the transaction that the list is read in."""


class Store(Protocol):
    """Dead letters somewhere. Every method ends the command if they can't be reached."""

    where: str
    """For people."""

    def read(self, show: Callable[[Found], None], *, sink: str | None, limit: int | None) -> None:
        """Pass dead letters to `show`: those of one sink (None: of all), at most `limit` (None: all)."""
        ...

    def find(self, event_id: str, *, sink: str | None) -> list[DeadLetter]:
        """Return the dead letters of one event, with the event: of one sink; None: of all."""
        ...

    def carry_out(self, request: Request) -> Answer:
        """Return the answer to a request."""
        ...


def store_of(state_dir: Path | None, config: Path | None) -> Store:
    """Return the dead letters that the flags and the settings name. A state directory that is named has its own."""
    settings = settings_from(config, {"state": {"dir": state_dir}})
    if settings.queue.engine == "postgres" and state_dir is None:
        return _InDatabase(settings)
    return _InJournal(state_directory(settings))


class _InJournal:
    """Those in a state directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.where = str(directory.absolute())

    def read(self, show: Callable[[Found], None], *, sink: str | None, limit: int | None) -> None:
        try:
            read_dead_letters(
                self._directory, show, clock=SystemClock(), sink=sink, limit=EVERY if limit is None else limit
            )
        except JournalError as error:
            fail(str(error))

    def find(self, event_id: str, *, sink: str | None) -> list[DeadLetter]:
        try:
            return read_dead_letter(self._directory, event_id, clock=SystemClock(), sink=sink)
        except JournalError as error:
            fail(str(error))

    def carry_out(self, request: Request) -> Answer:
        directory = self._directory
        try:
            return ask(directory, request, clock=SystemClock())
        except NoAnswerError as error:
            fail(str(error), code=Exit.NOT_READY)
        except (JournalUnavailableError, StateDirectoryUnavailableError) as error:
            fail(str(error), code=Exit.TEMPORARY)
        except (JournalError, StateDirectoryError, UnusableRequestsError) as error:
            fail(str(error))
        except sqlite3.Error as error:
            fail(f"the journal in {directory} can't be written ({error}): nothing was done", code=Exit.TEMPORARY)
        except OSError as error:
            passes = may_pass(error)
            what_to_do = "check the disk, and try again" if passes else "run this command as the user of the worker"
            fail(
                f"no request can be left for the worker in {directory / 'requests'} ({error.strerror}): {what_to_do}",
                code=Exit.TEMPORARY if passes else Exit.USAGE,
            )


class _InDatabase:
    """Those of a fleet."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.where = f"the fleet {settings.fleet.schema}"

    def read(self, show: Callable[[Found], None], *, sink: str | None, limit: int | None) -> None:
        self._asked(lambda letters, _: letters.read(show, sink=sink, limit=limit), idle_seconds=READER_SECONDS)

    def find(self, event_id: str, *, sink: str | None) -> list[DeadLetter]:
        return self._asked(lambda letters, _: letters.find(event_id, sink=sink))

    def carry_out(self, request: Request) -> Answer:
        webhooks = [each.name for each in self._settings.events.targets if not isinstance(each, str)]
        return self._asked(lambda letters, now: letters.carry_out(request, known=webhooks, now=now))

    def _asked(self, work: Callable[[FleetDeadLetters, float], T], *, idle_seconds: float = 60.0) -> T:
        schema = self._settings.fleet.schema

        def with_rows(connection: Connection) -> T:
            from asset_worker.queue.postgres.dead_letter_rows import FleetDeadLetters  # noqa: PLC0415 - optional
            from asset_worker.queue.postgres.membership import read_time  # noqa: PLC0415
            from asset_worker.queue.postgres.opening import check_version  # noqa: PLC0415 - an optional dependency

            check_version(connection, schema)
            return work(FleetDeadLetters(connection, schema), read_time(connection))

        return ask_database(self._settings, with_rows, idle_seconds=idle_seconds)
