"""Sets up structlog: JSON lines for machines, coloured lines on a terminal, the key redacted in all of them."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Collection, Mapping, MutableMapping
from contextlib import suppress
from typing import Any, Final, Literal

import msgspec
import structlog
from structlog.typing import EventDict, Processor

from asset_worker.runtime.redaction import Secrets
from asset_worker.runtime.stderr import report_dropped_lines, styled_stderr
from asset_worker.runtime.terminals import wants_colours
from asset_worker.runtime.text import CUT, visible, visible_json_bytes, visible_lines
from asset_worker.telemetry.runbook import reason_of
from asset_worker.telemetry.spells import Spells

EVENT_NAME = re.compile(r"[a-z_]+\.[a-z_]+")
"""The form of our own events' names. They are constants, so they hold no key. Other libraries log sentences."""
_TRACEBACK: Final = "exception"
"""The field that is shown on lines of its own."""
LONGEST_LIST: Final = 10
LIST_SHOWN: Final = 3
"""People are shown so many values of a list that is longer than `LONGEST_LIST`; programs get all."""


class RedactSecrets:
    """A structlog processor that redacts every secret in an event."""

    def __init__(self, secrets: Secrets) -> None:
        self._redact = secrets.redact_text

    def __call__(self, _logger: Any, _method: str, event: EventDict) -> EventDict:
        """Return the event without secrets."""
        for name, value in event.items():
            is_ours = name in {"level", "timestamp"} or (name == "event" and EVENT_NAME.fullmatch(str(value)))
            event[name] = value if is_ours else self._redacted(value)
        return event

    def _redacted(self, value: Any) -> Any:
        match value:
            case str():
                return self._redact(value)
            case bool() | int() | float() | None:
                return value
            case Mapping():
                return {self._redacted(name): self._redacted(inner) for name, inner in value.items()}
            case list() | tuple() | set() | frozenset():
                return [self._redacted(inner) for inner in value]
            case _:
                return self._redact(str(value))


def add_runbook(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Return the event with the section of the runbook that helps, if there is one: a structlog processor."""
    if (reason := reason_of(event)) is not None:
        event["runbook"] = reason.runbook
    return event


def show_controls(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Return the event as people read it: a structlog processor for lines on a terminal.

    Every control character is an escape, so no value makes a second line. The lines of a traceback after the first are
    indented. Of a long list, the first values are shown.
    """
    shown = {name: _shown(value) for name, value in event.items()}
    if _TRACEBACK in event:
        shown[_TRACEBACK] = visible_lines(event[_TRACEBACK]).replace("\n", "\n  ")
    return shown


def _shown(value: Any) -> Any:
    match value:
        case str():
            return visible(value)
        case Mapping():
            return {_shown(name): _shown(inner) for name, inner in value.items()}
        case list() if len(value) > LONGEST_LIST:
            return [*map(_shown, value[:LIST_SHOWN]), f"{CUT} {len(value) - LIST_SHOWN} more"]
        case list():
            return [_shown(inner) for inner in value]
        case _:
            return value


class _Without:
    """A structlog processor that drops events at level info by their names."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = names

    def __call__(self, _logger: Any, method: str, event: EventDict) -> EventDict:
        if method == "info" and event["event"] in self._names:
            raise structlog.DropEvent
        return event


class _StderrLogger:
    """Writes rendered lines to standard error as it is now: a live display may have replaced it.

    A line that can't be written is dropped: a stderr that is closed or full must not stop the worker.
    """

    def msg(self, line: str) -> None:
        """Write a line."""
        with suppress(OSError, ValueError):
            stream = styled_stderr()
            stream.write(line + "\n")
            stream.flush()

    log = debug = info = warning = error = critical = msg


def _logger_factory(*_args: Any) -> _StderrLogger:
    return _StderrLogger()


def _log_dropped(lines: int) -> None:
    structlog.get_logger().warning("log.dropped", lines=lines)


def _to_json(event: MutableMapping[str, Any], **_options: Any) -> str:
    try:
        return visible_json_bytes(msgspec.json.encode(event, enc_hook=str)).decode()
    except UnicodeEncodeError:  # for example a path that is not UTF-8
        return json.dumps(event, default=str)


def configure(
    format_: Literal["json", "console"],
    level: str,
    secrets: Secrets,
    *,
    colours: bool = True,
    shown_elsewhere: Collection[str] = (),
) -> None:
    """Set up structlog and the standard library's logging (which aiohttp and asyncio use) for this process.

    It may be called again, to change format or level.

    Args:
        format_: the form of the lines.
        level: the lowest level that is logged; from other libraries, warnings and errors only.
        secrets: what is redacted.
        colours: lines on a terminal may have colours.
        shown_elsewhere: events that are not logged at level info, because people see them in another form.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    redact_secrets = RedactSecrets(secrets)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if format_ == "json":
        # Tracebacks are logged without local variables: one of them may hold a request with its key.
        rendering: list[Processor] = [
            structlog.processors.format_exc_info,
            redact_secrets,
            structlog.processors.JSONRenderer(serializer=_to_json),
        ]
    else:
        rendering = [
            structlog.processors.format_exc_info,
            redact_secrets,
            show_controls,
            structlog.dev.ConsoleRenderer(
                colors=colours and sys.stderr.isatty() and wants_colours(),
                exception_formatter=structlog.dev.plain_traceback,
            ),
        ]
    structlog.configure(
        processors=[_Without(shown_elsewhere), *shared, add_runbook, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=_logger_factory,
    )
    handler = _StderrHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                *shared,
                structlog.stdlib.add_logger_name,
                structlog.stdlib.ExtraAdder(allow=["unlogged"]),
            ],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)
    report_dropped_lines(_log_dropped)


class _StderrHandler(logging.Handler):
    """Writes what other libraries log: of equal lines, the first of each spell.

    Such lines are errors of the event loop or of a server, which a client may be able to cause as often as it likes.
    """

    def __init__(self) -> None:
        super().__init__()
        self._spells = Spells()

    def emit(self, record: logging.LogRecord) -> None:
        unlogged = self._spells.report(_kind_of(record), time.monotonic())
        if unlogged is not None:
            if unlogged:
                record.unlogged = unlogged
            _StderrLogger().msg(self.format(record))


def _kind_of(record: logging.LogRecord) -> str:
    """Return what lines have in common that report the same: the error and where it was raised, or else the text.

    The text before its arguments are filled in, and its first line: the event loop appends what differs each time.
    """
    error = record.exc_info[1] if record.exc_info else None
    if error is None:
        return f"{record.name}: {str(record.msg).partition(chr(10))[0]}"
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = "" if place is None else f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}"
    return f"{record.name}: {type(error).__name__} {where}"
