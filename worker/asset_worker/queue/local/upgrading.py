"""What is said of a journal that an earlier version has written: in the log, when it is upgraded, or why it is not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from asset_worker.queue.local.migrations import SCHEMA_VERSION
from asset_worker.runtime.log import get_logger

_log = get_logger()


def is_earlier(version: int) -> bool:
    """Return whether a journal of this version must be upgraded. A new one, of version 0, is created instead."""
    return 0 < version < SCHEMA_VERSION


def earlier_version_text(path: Path, version: int) -> str:
    """Return, for people, that a command does not read a journal of this version, and what to do."""
    return (
        f"{path} is of an earlier version (schema {version}, this asset-worker reads {SCHEMA_VERSION}): start the "
        "worker once with this version, which upgrades it, or ask with the version that the worker has"
    )


def newer_version_text(path: Path, version: int) -> str:
    """Return, for people, that a newer version has written the journal, and what to do."""
    return (
        f"the journal {path} was written by a newer asset-worker (schema {version}, this one knows {SCHEMA_VERSION}) "
        "and is left as it is: run that version, or put back the copy of the state directory that was made before the "
        "upgrade (docs/upgrading.md#going-back), or name another directory with --state-dir"
    )


@contextmanager
def logging_upgrade(path: Path, version: int) -> Iterator[None]:
    """Log that a journal of this version is being upgraded, and that it was. A million pending assets take a minute."""
    if not is_earlier(version):
        yield
        return
    _log.info("journal.upgrading", path=str(path), schema=version, to=SCHEMA_VERSION)
    began = time.monotonic()
    yield
    _log.info("journal.upgraded", path=str(path), schema=SCHEMA_VERSION, seconds=round(time.monotonic() - began, 3))
