"""Where the worker's log goes: to structlog, as the command sets it up, or to the log of the program that embeds it.

A library must not print, and structlog prints while nobody has set it up. So an embedded worker, and only that, logs to
the standard library's logger `asset_worker`, which is silent until the host gives it (or the root logger) a handler.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Final

import structlog

from asset_worker.runtime.text import visible, visible_lines

HOST_LOGGER: Final = "asset_worker"
"""The name of the logger in the host's program."""

_redact: ContextVar[Callable[[str], str] | None] = ContextVar("redact", default=None)
"""Removes secrets from a line for the host's log; None: this is not an embedded worker."""


class Logger:
    """Logs events by their names, with fields."""

    def __init__(self) -> None:
        self._structlog = structlog.get_logger()

    def debug(self, event: str, **fields: Any) -> None:
        """Log an event for developers."""
        self._log(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: Any) -> None:
        """Log an event of the normal course."""
        self._log(logging.INFO, event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Log an event that somebody should know of."""
        self._log(logging.WARNING, event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """Log an event that somebody should act on."""
        self._log(logging.ERROR, event, fields)

    def exception(self, event: str, **fields: Any) -> None:
        """Log an error with the traceback of the exception that is being handled."""
        self._log(logging.ERROR, event, {**fields, "exc_info": True})

    def _log(self, level: int, event: str, fields: dict[str, Any]) -> None:
        if (redact := _redact.get()) is None:
            # A call by name, and not `log`: structlog's own filter by level applies, and `capture_logs` sees it.
            getattr(self._structlog, logging.getLevelName(level).lower())(event, **fields)
            return
        host = logging.getLogger(HOST_LOGGER)
        if host.isEnabledFor(level):
            # The traceback is a part of the text: a handler would show it with secrets in it.
            trace = f"\n{visible_lines(traceback.format_exc())}" if fields.pop("exc_info", False) else ""
            host.log(level, "%s", redact(line_of(event, fields) + trace))


def get_logger() -> Logger:
    """Return the logger of a module."""
    return Logger()


def line_of(event: str, fields: Mapping[str, Any]) -> str:
    """Return an event and its fields on one line of text: `api.retry attempt=1 error='no answer in time'`."""
    return visible(" ".join([event, *(f"{name}={value!r}" for name, value in fields.items())]))


def log_to_host(redact: Callable[[str], str]) -> None:
    """From now on, in this thread or task and those that it starts, log to the host. `redact` removes secrets."""
    host = logging.getLogger(HOST_LOGGER)
    if not any(isinstance(handler, logging.NullHandler) for handler in host.handlers):
        host.addHandler(logging.NullHandler())  # without any handler, `logging` would print warnings to stderr
    _redact.set(redact)
