"""The files of a webhook, which may change while the worker runs: the secrets that sign, or the value of a header."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from asset_worker.runtime import watched_file
from asset_worker.runtime.log import get_logger
from asset_worker.runtime.watched_file import FileNotReadyError, UnusableFileError, WatchedFile
from asset_worker.sinks.ports import TargetNotReadyError, UnusableTargetError

T = TypeVar("T")
_log = get_logger()


class FileReports:
    """Logs what happens to a file of one sink."""

    def __init__(self, sink: str) -> None:
        self._sink = sink

    def unreadable(self, path: Path, why: str) -> None:
        """Log that the file can't be read again."""
        _log.warning("sink.file_unreadable", sink=self._sink, path=str(path), error=why)

    def changed(self, path: Path) -> None:
        """Log that the file holds something else now."""
        _log.info("sink.file_changed", sink=self._sink, path=str(path))

    def exposed(self, path: Path, detail: str) -> None:
        """Log that others may read the file."""
        _log.warning("sink.file_exposed", sink=self._sink, path=str(path), detail=detail)


def read(path: Path, parse: Callable[[str], T]) -> T:
    """Return what a file holds now.

    Raises:
        TargetNotReadyError: it is missing or empty, or can't be read now.
        UnusableTargetError: it can't be read, or `parse` refuses its content with a ValueError.
    """
    with _as_errors_of_targets():
        return watched_file.read(path, parse)


def watch(
    path: Path, parse: Callable[[str], T], *, sink: str, on_read: Callable[[T], None] = lambda _: None
) -> WatchedFile[T]:
    """Read a file, and return it as one that is read again when it has changed; see `WatchedFile`.

    Raises:
        TargetNotReadyError, UnusableTargetError: see `read`.
    """
    with _as_errors_of_targets():
        return WatchedFile(path, parse, reports=FileReports(sink), on_read=on_read)


@contextmanager
def _as_errors_of_targets() -> Iterator[None]:
    try:
        yield
    except FileNotReadyError as error:
        raise TargetNotReadyError(str(error)) from error
    except UnusableFileError as error:
        raise UnusableTargetError(str(error)) from error
