"""Checks whether what the settings name can be used: sinks, queue file, state directory. They leave no trace."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import msgspec

from asset_worker.cli.database import NO_DRIVER
from asset_worker.credentials import redact_database_password
from asset_worker.intake.file.queue_file import QueueFile
from asset_worker.queue.local.files import reason_not_to_open
from asset_worker.queue.local.journal import FILE_NAME
from asset_worker.queue.local.lock import find_distrust, find_lock_problem
from asset_worker.queue.local.reading import find_journal_problem
from asset_worker.queue.postgres.errors import DatabaseError, DatabaseUnavailableError
from asset_worker.runtime.links import UntrustedLinkError
from asset_worker.runtime.redaction import Secrets
from asset_worker.runtime.secret_files import exposure
from asset_worker.settings.fleet import Postgres
from asset_worker.settings.tree import NoStateDirectoryError, Settings, State
from asset_worker.sinks.registry import Target, find_problem
from asset_worker.sinks.registry import find_warnings as find_sink_warnings
from asset_worker.telemetry.bearer import check_token_file
from asset_worker.telemetry.errors import TokenFileError, TokenNotThereError


class Problem(msgspec.Struct, frozen=True):
    """Something that can't be used now."""

    text: str
    """What is wrong, and what to do."""
    is_final: bool = False
    """Whether a worker would never come to use it."""


def find_problems(settings: Settings) -> Iterator[Problem]:
    """Yield what a worker with these settings could not use now."""
    yield from sink_problems(settings.events.targets)
    if settings.queue.file is not None and (found := queue_file_problem(settings.queue.file)):
        yield found
    if settings.admin.token_file is not None and (found := token_file_problem(settings.admin.token_file)):
        yield found
    if (found := state_problem(settings.state)) is not None:
        yield found
    if settings.queue.engine == "postgres" and (found := database_problem(settings.postgres, Secrets())) is not None:
        yield found


def find_warnings(settings: Settings) -> Iterator[str]:
    """Yield what a worker with these settings would put up with, but somebody should correct."""
    for what, file in (
        ("key file", settings.api.key_file),
        ("file of tokens", settings.admin.token_file),
        ("file of the database's URL", settings.postgres.url_file),
    ):
        with suppress(OSError):  # a file that is not there yet is no problem
            if file is not None and (found := exposure(file)) is not None:
                yield f"the {what} {file} is exposed: {found}"
    for target in settings.events.targets:
        yield from find_sink_warnings(target)


def database_problem(postgres: Postgres, secrets: Secrets) -> Problem | None:
    """Return what keeps a fleet's database from being connected to, as far as the settings and their file show.

    `secrets` learns the passwords.
    """
    if find_spec("psycopg") is None:
        return Problem(NO_DRIVER, is_final=True)
    try:
        redact_database_password(postgres, secrets)
    except DatabaseError as error:
        return Problem(str(error), is_final=not isinstance(error, DatabaseUnavailableError))
    return None


def sink_problems(targets: tuple[Target, ...]) -> Iterator[Problem]:
    """Yield what keeps events from being sent to these targets now."""
    for target in targets:
        if (found := find_problem(target)) is not None:
            yield Problem(f"events can't be sent: {found.text}", found.is_final)


def token_file_problem(path: Path) -> Problem | None:
    """Return what keeps the file of tokens from being used now."""
    try:
        check_token_file(path)
    except TokenFileError as error:
        return Problem(str(error), is_final=not isinstance(error, TokenNotThereError))
    return None


def queue_file_problem(path: Path) -> Problem | None:
    """Return what keeps the queue file from being followed now.

    A file that is missing is no problem: it is followed from its creation.
    """
    if (found := _link_problem(path)) is not None:
        return found
    try:
        status = path.stat()
    except FileNotFoundError:
        return _queue_directory_problem(path, Path(os.path.realpath(path)).parent)
    except OSError as error:
        return Problem(
            f"{path} can't be read ({error.strerror}): check --queue-file, and the rights on the directories above it",
            is_final=True,
        )
    if not stat.S_ISREG(status.st_mode):
        return Problem(
            f"{path} is not a regular file, so it can't be followed: pipe it in with --stdin instead", is_final=True
        )
    if not os.access(path, os.R_OK):
        return Problem(f"{path} can't be read: give this user the right to read it")
    return None


def _link_problem(path: Path) -> Problem | None:
    try:
        QueueFile(path.absolute()).places()
    except UntrustedLinkError as error:
        return Problem(f"{path} can't be read: {error.strerror}")
    except OSError:
        return None
    return None


def _queue_directory_problem(path: Path, directory: Path) -> Problem | None:
    if not directory.is_dir():
        return Problem(f"{path} can't be followed: the directory {directory} does not exist: create it")
    if not os.access(directory, os.R_OK | os.X_OK):
        return Problem(
            f"{path} can't be followed: the directory {directory} can't be listed: give this user the rights"
        )
    return None


def state_problem(state: State, *, user: int | None = None) -> Problem | None:
    """Return what keeps the state directory from being used by a worker that is started now, were none running.

    `user`: the number of the user as whom it is started; None: that of this process.
    """
    text = _state_problem(state, user)
    return None if text is None else Problem(text, is_final=True)


def _state_problem(state: State, user: int | None) -> str | None:
    try:
        path = state.directory.absolute()
        place = next(each for each in (path, *path.parents) if each.exists())
        if not place.is_dir():
            return f"the state directory {path} can't be used: {place} is a file; name another with --state-dir"
        journal, exists = path / FILE_NAME, place == path
        if exists and (text := find_distrust(path, path.stat(), user=user) or find_lock_problem(path)) is not None:
            return text
        has_journal = exists and journal.exists()
    except NoStateDirectoryError as error:
        return str(error)
    except OSError as error:
        return f"the state directory {path} can't be used ({error.strerror}): name another with --state-dir"
    if not os.access(place, os.R_OK | os.W_OK | os.X_OK):
        return f"the state directory {path} can't be used: {place} can't be written; give this user the rights"
    if exists and (reason := reason_not_to_open(journal)) is not None:
        return f"the journal can't be opened: {reason}"
    if has_journal and not os.access(journal, os.R_OK | os.W_OK):
        return f"the journal in the state directory {path} can't be written: give this user the rights"
    return find_journal_problem(journal) if has_journal else None
