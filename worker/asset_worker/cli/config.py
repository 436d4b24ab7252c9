"""The command `asset-worker config`: shows, checks or describes the settings."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from asset_worker.cli.checks import find_problems, find_warnings
from asset_worker.cli.usage import PathOption, fail, settings_from
from asset_worker.runtime.text import visible
from asset_worker.settings.showing import as_toml, json_schema
from asset_worker.settings.starter import starter


@click.command()
@click.option("--config", type=PathOption(dir_okay=False), help="Settings file (TOML).")
@click.option(
    "--check",
    is_flag=True,
    help="Only check whether the settings are good, and what they name can be used: exit code 0 or 2.",
)
@click.option("--schema", is_flag=True, help="Print the JSON Schema of the settings file.")
@click.option("--init", is_flag=True, help="Print a settings file to start from: every setting, as a comment.")
def config(config: Path | None, check: bool, schema: bool, init: bool) -> None:
    """Show the effective settings, from file, environment and defaults; secrets are redacted.

    \b
    Examples:
      asset-worker config --config worker.toml --check
      ASSET_WORKER_POLL__MAX=60 asset-worker config
      asset-worker config --init > worker.toml
      asset-worker config --schema > schema.json
    """
    if check + schema + init > 1:
        raise click.UsageError("--check, --schema and --init exclude one another")
    if init:
        click.echo(starter().encode(), nl=False)
        if sys.stdout.isatty():
            click.echo("# to write it to a file: asset-worker config --init > worker.toml", err=True)
        return
    if schema:
        click.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False).encode())
        return
    settings = settings_from(config, {})
    if check:
        for text in find_warnings(settings):
            click.echo(f"asset-worker: warning: {visible(text)}", err=True)
        if problems := [problem.text for problem in find_problems(settings)]:
            fail(*problems)
        click.echo("the settings are good", err=True)
    else:
        click.echo(as_toml(settings).encode(), nl=False)
