"""The command `asset-worker schedule`: shows what the adaptive schedule has learned, and when an asset is looked at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from asset_worker.cli.database import ask_database
from asset_worker.cli.usage import PathOption, fail, settings_from, state_directory
from asset_worker.domain.assets import ASSET_ID, AssetId
from asset_worker.domain.run_plan import RunPlan
from asset_worker.policies import expectations, typical_adaptive, typical_schedule
from asset_worker.poller.foresight import NextLook, as_lease, next_look, time_left
from asset_worker.queue.local.journal import JournalError
from asset_worker.queue.local.schedule_store import FILE_NAME, load
from asset_worker.queue.local.status_report import CompletedLine, PendingAsset, read_asset
from asset_worker.runtime.clock import SystemClock
from asset_worker.runtime.text import visible_json_bytes
from asset_worker.schedule.adaptive import AdaptiveSchedule
from asset_worker.schedule.classes import classify
from asset_worker.schedule.forecast import Forecast
from asset_worker.schedule.learned import LearnedState, UnreadableState
from asset_worker.schedule.ports import Schedule, WaitState
from asset_worker.schedule.report import plot, rows, seconds_text, table
from asset_worker.settings.tree import Poll, Settings
from asset_worker.telemetry import words

if TYPE_CHECKING:
    from asset_worker.queue.postgres.connection import Connection

PLOTTED = 6


class AssetLine(msgspec.Struct, frozen=True):
    """When a pending asset is looked at next, without jitter and backlog. Durations are seconds."""

    asset_id: str
    age: float
    """Since acceptance."""
    polls: int
    """Looks so far, as of the last save of its progress."""
    waiting_on: tuple[str, ...]
    due_in: float
    """Until the next look; 0 or less: it is due."""
    delay: float
    """From the look before to the next one."""
    why: str
    expected_left: Forecast | None
    """Until the wait is over; None: too little is known of such assets."""


@click.command()
@click.option("--state-dir", type=PathOption(), help="The state directory of the worker.")
@click.option("--config", type=PathOption(dir_okay=False), help="Settings file (TOML).")
@click.option("--asset", metavar="ID", help="Show when this pending asset is looked at next, and why then.")
@click.option("--json", "as_json", is_flag=True, help="One JSON array, or one object with --asset, for scripts.")
def schedule(state_dir: Path | None, config: Path | None, asset: str | None, as_json: bool) -> None:
    """Show what the adaptive schedule has learned: when assets finish, by class, and when a new one is looked at.

    A class is a step (the asset itself, from acceptance; a rendition, from `ready`), a file type and an upload method.
    The percentiles are followed by the interval in which they lie with a probability of 95 %. `looks` is the expected
    number of looks at one more asset of the class, `requests` what they cost while looks share lists as they did
    lately, `lag` the expected time from its end to the look that finds it. A running worker writes what it has learned
    once a minute; of a fleet, this is what all workers have learned together.

    With `--asset`, no look is shown earlier or later for the small random part of each delay, nor for a backlog. The
    exit code is 2 if the asset is not known here.

    \b
    Examples:
      asset-worker schedule
      asset-worker schedule --json | jq '.[] | [.name, .p50, .lag]'
      asset-worker schedule --asset 6298d673f1090f1100476d4c
    """
    settings = settings_from(config, {"state": {"dir": state_dir}})
    learned = _learned_by_fleet(settings) if settings.queue.engine == "postgres" else _learned_here(settings)
    if asset is not None:
        _show_asset(asset, settings, learned, as_json=as_json)
        return
    found = rows(typical_adaptive(settings.poll, learned))
    if as_json:
        click.echo(visible_json_bytes(msgspec.json.encode(found)))
        return
    click.echo("\n\n".join([table(found), *(plot(row) for row in found[:PLOTTED])]))
    if settings.poll.strategy != "adaptive":
        click.echo(f"\npoll.strategy is {settings.poll.strategy}, so none of this is used", err=True)


def _learned_here(settings: Settings) -> LearnedState | None:
    path = state_directory(settings) / FILE_NAME
    learned = load(path)
    if isinstance(learned, UnreadableState):
        fail(f"{path} can't be read ({learned.why}): the next start of the worker renames it and learns from scratch")
    return learned


def _learned_by_fleet(settings: Settings) -> LearnedState | None:
    def read(connection: Connection) -> LearnedState | None:
        from asset_worker.queue.postgres.opening import check_version  # noqa: PLC0415 - an optional dependency
        from asset_worker.queue.postgres.schedule_reading import read_learned  # noqa: PLC0415

        check_version(connection, settings.fleet.schema)
        return read_learned(connection, settings.fleet.schema)

    return ask_database(settings, read)


def _asset_of_fleet(asset: str, settings: Settings) -> PendingAsset | CompletedLine | None:
    def read(connection: Connection) -> PendingAsset | CompletedLine | None:
        from asset_worker.queue.postgres.schedule_reading import read_asset  # noqa: PLC0415 - an optional dependency

        return read_asset(connection, settings.fleet.schema, asset)

    return ask_database(settings, read)


def _asset_here(asset: str, directory: Path) -> PendingAsset | CompletedLine | None:
    try:
        return read_asset(directory, asset, clock=SystemClock())
    except JournalError as error:
        fail(str(error))


def _show_asset(asset: str, settings: Settings, learned: LearnedState | None, *, as_json: bool) -> None:
    if not ASSET_ID.fullmatch(asset):
        fail(f"--asset {asset}: an asset ID has 1 to 64 letters, digits, '-' or '_'")
    if settings.queue.engine == "postgres":
        where, kept = "the fleet", _asset_of_fleet(asset, settings)
    else:
        directory = state_directory(settings)
        where, kept = str(directory), _asset_here(asset, directory)
    if kept is None:
        fail(f"{asset} is not known in {where}: it was never accepted here, or it was settled long ago")
    if not isinstance(kept, PendingAsset):
        text = f"{asset} was settled {seconds_text(kept.ago)} ago as {kept.outcome}: it is not looked at again"
        click.echo(visible_json_bytes(msgspec.json.encode(kept)) if as_json else text)
        return
    line = _line(asset, kept, typical_schedule(settings.poll, learned), settings)
    if as_json:
        click.echo(visible_json_bytes(msgspec.json.encode(line)))
        return
    when = f"in {seconds_text(line.due_in)}" if line.due_in > 0 else "now, if a worker runs"
    left = "" if line.expected_left is None else f"; left {words.time_left(line.expected_left)}"
    click.echo(f"{asset}: next look {when}{left}\n{line.why}")


def _line(asset: str, kept: PendingAsset, chosen: Schedule, settings: Settings) -> AssetLine:
    lease = as_lease(
        AssetId(asset), options=kept.options, accepted_at=kept.accepted_at, progress=kept.progress, now=kept.now
    )
    expected = expectations(settings, RunPlan())
    found = next_look(lease, expectations=expected, schedule=chosen)
    left = time_left(lease, expectations=expected, schedule=chosen)
    return AssetLine(
        asset,
        lease.age,
        kept.progress.polls,
        kept.progress.waiting_on,
        found.due_in,
        found.delay,
        _why(found, chosen, settings.poll),
        None if left is None else left.rounded(),
    )


def _why(found: NextLook, chosen: Schedule, poll: Poll) -> str:
    wait = found.wait
    if wait is None:
        return "It has not been looked at: the first look comes at once."
    since = "acceptance" if wait.phase == "asset" else "`ready`"
    last = f"The last answer came {seconds_text(wait.age)} after {since}: waiting for {', '.join(wait.waiting_on)}. "
    if found.is_deadline:
        return f"{last}A deadline or a grace ends {seconds_text(found.delay)} later, before the schedule's next look."
    next_one = f"The next look comes {seconds_text(found.delay)} later"
    if not isinstance(chosen, AdaptiveSchedule):
        return f"{last}{next_one}: poll.strategy is `{poll.strategy}`."
    return f"{last}{next_one}: {_reason(wait, found.delay, chosen, poll)}"


def _reason(wait: WaitState, delay: float, chosen: AdaptiveSchedule, poll: Poll) -> str:
    classes = classify(wait.waiting_on, wait.file_type, wait.method)
    if not classes:
        return "how long this takes is not learned, and delays are those of `exponential`."
    names, plan = " and ".join(map(str, classes)), chosen.plan_for(classes).plan
    if plan.tail_age == 0:
        return f"nothing is known about `{names}` yet, and delays are those of `exponential`."
    if wait.age >= plan.tail_age:
        return (
            f"fewer than 1 in 200 of `{names}` took longer than {seconds_text(plan.tail_age)}, so nothing is known "
            f"about those that go on: each delay is {poll.multiplier:g} times the one before, up to that of "
            "`exponential`."
        )
    later = msgspec.structs.replace(wait, age=wait.age + delay)
    chance = chosen.chance_of_end(later, within=delay)
    longest = ", and no delay is longer than poll.max" if delay > 0.9 * poll.max else ""
    return f"of `{names}` that lasted so long, {chance:.0%} end within that time{longest}."
