"""The command `asset-worker wait`: waits for given assets, once."""

from __future__ import annotations

from pathlib import Path

import click

from asset_worker.cli.running import run_service
from asset_worker.cli.usage import Duration, PathOption, end_with, fail, settings_from
from asset_worker.domain.assets import AssetId, asset_id
from asset_worker.domain.run_plan import RunPlan
from asset_worker.settings.account import Account
from asset_worker.settings.tree import Admin


@click.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@click.option(
    "--timeout", type=Duration(), metavar="T", help="How long: seconds, or text such as 10m; else poll.deadline."
)
@click.option("--config", type=PathOption(dir_okay=False), help="Settings file (TOML).")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="Default: warning.")
def wait(ids: tuple[str, ...], timeout: float | None, config: Path | None, log_level: str | None) -> None:
    """Wait for these assets, once: progress on a terminal, events on stdout, nothing kept.

    The settings of inputs (queue.file, queue.stdin), events and admin endpoints are for `run` and are ignored here.

    \b
    Examples:
      asset-worker wait 6298d673f1090f1100476d4c
      asset-worker wait ID1 ID2 --timeout 600 > events.jsonl && echo "all playable"

    \b
    Exit codes: 0 every asset is ready; 1 at least one is not; 2 bad usage or settings; 3 the key is refused; 75 the
    key file is not there yet. A signal that ends it ends it as any other command: a shell loop around it ends, too.
    """
    found: list[AssetId] = []
    for text in dict.fromkeys(ids):
        try:
            found.append(asset_id(text))
        except ValueError as error:
            fail(f"{text!r} is not an asset ID: {error}")
    settings = settings_from(
        config,
        {"poll": {"deadline": timeout}, "events": {"sinks": ["-"], "transitions": False}, "log": {"level": log_level}},
    )
    # The settings file may be a service's. Its inputs and admin endpoints are not for this command.
    queue = settings.queue.model_copy(update={"file": None, "stdin": False})
    settings = settings.model_copy(update={"queue": queue, "account": Account(), "admin": Admin()})
    plan = RunPlan(asset_ids=tuple(found), keeps_state=False, key_refused_limit=0.0, ends_by_itself=True)
    # A person or a script waits for the events: unless a level was chosen, the log is only for problems.
    level = settings.log.level if "level" in settings.log.model_fields_set else "warning"
    end_with(run_service(settings, plan, title="waiting", level=level))
