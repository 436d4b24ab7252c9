"""The command `asset-worker schedule`: shows what the adaptive schedule has learned."""

from __future__ import annotations

import random
from pathlib import Path

import click
import msgspec

from asset_worker.cli.usage import PathOption, fail, settings_from, state_directory
from asset_worker.queue.local.schedule_store import FILE_NAME, load
from asset_worker.runtime.text import visible_json_bytes
from asset_worker.schedule.adaptive import AdaptiveSchedule
from asset_worker.schedule.learned import UnreadableState
from asset_worker.schedule.report import plot, rows, table

PLOTTED = 6


@click.command()
@click.option("--state-dir", type=PathOption(), help="The state directory of the worker.")
@click.option("--config", type=PathOption(dir_okay=False), help="Settings file (TOML).")
@click.option("--json", "as_json", is_flag=True, help="One JSON array, for scripts.")
def schedule(state_dir: Path | None, config: Path | None, as_json: bool) -> None:
    """Show what the adaptive schedule has learned: when assets finish, by class, and when a new one is looked at.

    A class is a step (the asset itself, from acceptance; a rendition, from `ready`), a file type and an upload method.
    `looks` is the expected number of looks at one more asset of the class, `lag` the expected time from its end to the
    look that finds it. A running worker writes what it has learned once a minute.

    \b
    Examples:
      asset-worker schedule
      asset-worker schedule --state-dir /var/lib/asset-worker --json | jq '.[] | [.name, .p50, .lag]'
    """
    settings = settings_from(config, {"state": {"dir": state_dir}})
    poll, path = settings.poll, state_directory(settings) / FILE_NAME
    learned = load(path)
    if isinstance(learned, UnreadableState):
        fail(f"{path} can't be read ({learned.why}): the next start of the worker renames it and learns from scratch")
    found = rows(
        AdaptiveSchedule(
            learned,
            initial=poll.initial,
            multiplier=poll.multiplier,
            maximum=poll.max,
            looks=poll.looks,
            uniform=random.random,
        )
    )
    if as_json:
        click.echo(visible_json_bytes(msgspec.json.encode(found)))
        return
    click.echo("\n\n".join([table(found), *(plot(row) for row in found[:PLOTTED])]))
    if poll.strategy != "adaptive":
        click.echo(f"\npoll.strategy is {poll.strategy}, so none of this is used", err=True)
