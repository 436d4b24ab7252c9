"""The command `asset-worker submit`: appends assets to a queue file, or puts them into the inbox of a fleet."""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from asset_worker.cli.database import ask_database
from asset_worker.cli.usage import PathOption, fail, settings_from
from asset_worker.domain.assets import asset_id
from asset_worker.intake.splitter import LINE_BYTES_LIMIT
from asset_worker.runtime.links import Place, UntrustedLinkError, refuse_untrusted, walked
from asset_worker.runtime.text import visible
from asset_worker.settings.tree import Settings

if TYPE_CHECKING:
    import psycopg

    from asset_worker.queue.postgres.connection import Connection

NEW_FILE_MODE = 0o640
"""Rights of a new queue file, before the umask: the worker reads it as a member of its group, and nobody else does."""


@click.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@click.option("--queue-file", type=PathOption(dir_okay=False), help="The file that `run` follows.")
@click.option("--config", type=PathOption(dir_okay=False), help="Settings file (TOML) of the worker or the fleet.")
@click.option("--metadata", metavar="K=V", multiple=True, help="Added to the event of each asset; may be repeated.")
def submit(ids: tuple[str, ...], queue_file: Path | None, config: Path | None, metadata: tuple[str, ...]) -> None:
    """Hand assets to a worker: all of them, or none if it fails.

    Without --queue-file, they go where the settings say: with queue.engine = postgres into the inbox of the fleet, in
    one transaction, for which the role SCHEMA_producer suffices; else to queue.file.

    To a queue file they are appended the safe way: one write, on disk when the command returns. Many processes may
    submit to one file at once, and a file that is missing is created.

    A repeat (pending, or done within queue.dedupe_window) gives no second event, and its metadata is ignored.

    \b
    Examples:
      asset-worker submit 6298d673f1090f1100476d4c --queue-file queue
      asset-worker submit ID1 ID2 --queue-file queue --metadata user=ada
      asset-worker submit ID1 ID2 --config fleet.toml

    \b
    Exit codes: 0 submitted; 2 it was not, and something must be corrected; 75
    the database can't be used now, try again.
    """
    pairs = _pairs(metadata)
    lines = [_line(text, pairs) for text in ids]
    if queue_file is None:
        settings = settings_from(config, {})
        if settings.queue.engine == "postgres":
            _put_into_inbox(settings, ids, pairs)
            return
        queue_file = settings.queue.file
    if queue_file is None:
        fail("where to? name the queue file, with --queue-file or queue.file in the settings")
    try:
        with walked(queue_file.absolute()) as place:
            is_new = _append(place, "".join(lines).encode())
    except UntrustedLinkError as error:
        fail(f"nothing was written to {queue_file}: {error.strerror}")
    except OSError as error:
        fail(f"{queue_file} can't be written ({error.strerror}): check the path, its rights and the disk")
    if is_new:
        click.echo(f"asset-worker: {visible(str(queue_file))} was not there, and was created", err=True)


def _put_into_inbox(settings: Settings, ids: tuple[str, ...], metadata: dict[str, str]) -> None:
    """Submit assets to a fleet, in one transaction. If its answer is lost, a repeat does no harm."""
    schema = settings.fleet.schema
    options = msgspec.json.encode({"metadata": metadata}).decode() if metadata else None

    def put(connection: Connection) -> None:
        query = f"SELECT {schema}.submit(id, %s::jsonb) FROM unnest(%s::text[]) AS id"  # noqa: S608 - a checked name
        connection.execute(query, (options, list(ids)))

    ask_database(settings, put, explain=partial(_why_not_submitted, schema))


def _why_not_submitted(schema: str, error: psycopg.Error) -> str | None:
    """Return what keeps this user from submitting; None: another error."""
    match error.sqlstate:
        case "3F000" | "42883":  # no such schema, no such function
            return f"the database has no inbox of a fleet in {schema}: run `asset-worker fleet init`"
        case "42501":
            return f"this user of the database may not submit: grant it the role {schema}_producer"
        case _:
            return None


def _pairs(metadata: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for pair in metadata:
        name, equals, value = pair.partition("=")
        if not (equals and name):
            fail(f"--metadata {pair!r}: write it as K=V")
        pairs[name] = value
    return pairs


def _line(text: str, metadata: dict[str, str]) -> str:
    try:
        found = asset_id(text)
    except ValueError as error:
        fail(f"{text!r} is not an asset ID: {error}")
    line: dict[str, Any] = {"asset_id": found, "metadata": metadata}
    try:
        rendered = msgspec.json.encode(line).decode() if metadata else found
    except UnicodeEncodeError:
        fail("--metadata: a name or value is not UTF-8 text")
    if len(rendered.encode()) > LINE_BYTES_LIMIT:
        fail("--metadata: a line of the queue file may have 64 KiB at most")
    return rendered + "\n"


def _append(place: Place, lines: bytes) -> bool:
    """Append all lines or none, in one write with O_APPEND: no other writer's bytes come between (POSIX, `write`).

    Return whether the file was missing, and was created.

    Raises:
        UntrustedLinkError: another user's link leads here; nothing was appended.
        OSError: nothing was appended, or it is not known whether the lines are on the disk.
    """
    descriptor, is_new = _open(place)
    try:
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # submitters hold it, so that one can remove its partial write
        before = os.fstat(descriptor).st_size
        if before and os.pread(descriptor, 1, before - 1) != b"\n":
            lines = b"\n" + lines  # the first line must not become part of another writer's partial line
        if (written := os.write(descriptor, lines)) != len(lines):
            _remove_partial_write(descriptor, written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if is_new:
        directory = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=place.directory)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    return is_new


def _open(place: Place) -> tuple[int, bool]:
    """Open the file for appending, and create it if it is missing. Return the descriptor, and whether it was missing.

    The links that lead to it must be trusted, as for the worker: other writers may have put them there.
    """
    try:
        descriptor, is_new = place.open(os.O_RDWR | os.O_APPEND), False
    except FileNotFoundError:
        refuse_untrusted(place.path, place.links, target_owner=None)
        descriptor, is_new = place.open(os.O_RDWR | os.O_APPEND | os.O_CREAT, NEW_FILE_MODE), True
    try:
        refuse_untrusted(place.path, place.links, target_owner=os.fstat(descriptor).st_uid)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor, is_new


def _remove_partial_write(descriptor: int, written: int) -> None:
    """Remove a partial write, because half an ID may look like a whole one. If others have appended since, it stays."""
    end = os.lseek(descriptor, 0, os.SEEK_CUR)
    if os.fstat(descriptor).st_size == end:
        os.ftruncate(descriptor, end - written)
