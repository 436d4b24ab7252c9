"""Helpers that all commands share: errors in usage, settings, log format."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, NoReturn

import click

from asset_worker.domain.run_plan import Exit
from asset_worker.runtime.durations import seconds_or_duration
from asset_worker.runtime.ending import SIGNAL_BASE, die_of_signal
from asset_worker.runtime.paths import path_of
from asset_worker.runtime.text import visible
from asset_worker.settings.loading import SettingsError, load
from asset_worker.settings.tree import NoStateDirectoryError, Settings, State
from asset_worker.settings.variables import KEY_VARIABLE, misnamed_key

UNIT_STATE: Final = Path("/var/lib/asset-worker")
"""The state directory of the systemd unit in `deploy/` (systemd.exec(5), `StateDirectory=`)."""


class PathOption(click.Path):
    """A path, checked as in the settings: `~` is expanded, and an empty text (an unset shell variable) is refused."""

    def __init__(self, *, dir_okay: bool = True, readable: bool = True) -> None:
        """`readable`: whether this user must have the right to read it now, if it exists."""
        super().__init__(path_type=Path, dir_okay=dir_okay, readable=readable)

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        """Return the path; end the command with what is wrong with it."""
        try:
            path = path_of(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return super().convert(path, param, ctx)


class Duration(click.ParamType[float]):
    """A duration: a number of seconds, or text with units."""

    name = "duration"

    def __init__(self, *, may_be_zero: bool = False) -> None:
        """`may_be_zero`: whether 0 seconds are accepted."""
        self._may_be_zero = may_be_zero

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the seconds; end the command with what is wrong with them."""
        try:
            seconds = seconds_or_duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if not 0 <= seconds < math.inf or (seconds == 0 and not self._may_be_zero):
            least = "0 seconds or more" if self._may_be_zero else "more than 0 seconds"
            self.fail(f"it must be {least}, and have an end", param, ctx)
        return seconds


def fail(*problems: str, code: Exit = Exit.USAGE) -> NoReturn:
    """Write the problems to stderr, one line each, and end the process with `code`."""
    for problem in problems:
        click.echo(f"asset-worker: {visible(problem)}", err=True)
    sys.exit(code)


def end_with(code: int) -> NoReturn:
    """End the process with this exit code; if it is 128 + the number of a signal, by that signal."""
    if code > SIGNAL_BASE:
        die_of_signal(code)
    sys.exit(code)


def settings_from(config: Path | None, overrides: Mapping[str, Any]) -> Settings:
    """Return the settings from file, environment and flags. If they are invalid, list why and end the process."""
    try:
        return load(config=config, environ=os.environ, overrides=overrides)
    except SettingsError as error:
        fail(*error.problems)


def misnamed_key_advice(environ: Mapping[str, str]) -> str:
    """Return what to add to the message that there is no API key: which variable probably holds it. Or nothing."""
    name = misnamed_key(environ)
    return "" if name is None else f" ({name} is set, but it is not read: did you mean {KEY_VARIABLE}?)"


def state_directory(settings: Settings) -> Path:
    """Return the state directory of the worker that a command is about. If there is none, say so and end the process.

    Where none is named, that of the systemd unit may be meant: see `of_unit`.
    """
    try:
        return of_unit(settings).state.directory
    except NoStateDirectoryError as error:
        fail(str(error))


def of_unit(settings: Settings) -> Settings:
    """Return the settings of the worker that a command is about, which only looks at it.

    Where no state directory is named and no worker of this user has kept its state, it is that of the systemd unit, if
    there is one.
    """
    is_named = "dir" in settings.state.model_fields_set
    own = settings.state.dir
    if is_named or (own is not None and os.path.lexists(own)) or not os.path.lexists(UNIT_STATE):
        return settings
    click.echo(f"asset-worker: this is about the worker that keeps its state in {UNIT_STATE}", err=True)
    return settings.model_copy(update={"state": State(dir=UNIT_STATE)})


def log_format(settings: Settings) -> Literal["json", "console"]:
    """Return the format that the settings name; by default `console` on a terminal, else `json`."""
    return settings.log.format or ("console" if sys.stderr.isatty() else "json")
