"""What all commands share: errors of usage, settings, logs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NoReturn

import click

from worker.errand import Exit
from worker.settings import Settings
from worker.settings.loading import SettingsError, load


def fail(*problems: str) -> NoReturn:
    """Say what is wrong and what to do, and end with exit code 2."""
    for problem in problems:
        click.echo(f"asset-worker: {problem}", err=True)
    sys.exit(Exit.USAGE)


def settings_from(config: Path | None, overrides: Mapping[str, Any]) -> Settings:
    """The settings from file, environment and flags; ends the command with what is wrong with them."""
    import os  # noqa: PLC0415

    try:
        return load(config=config, environ=os.environ, overrides=overrides)
    except SettingsError as error:
        fail(*error.problems)


def log_format(settings: Settings) -> Literal["json", "console"]:
    """The format asked for; else JSON, unless a person reads along."""
    return settings.log.format or ("console" if sys.stderr.isatty() else "json")
