"""The command `asset-worker status`: shows what a worker's state directory holds."""

from __future__ import annotations

import shlex
from pathlib import Path

import click
import msgspec

from asset_worker.cli.usage import PathOption, fail, settings_from, state_directory
from asset_worker.domain.run_plan import RunPlan
from asset_worker.policies import expectations, typical_schedule
from asset_worker.poller.foresight import make_time_left
from asset_worker.queue.local.journal import JournalError
from asset_worker.queue.local.schedule_store import FILE_NAME, load
from asset_worker.queue.local.status_report import StatusReport, read_status
from asset_worker.runtime.clock import SystemClock
from asset_worker.runtime.text import visible, visible_json_bytes
from asset_worker.schedule.forecast import TimeLeft, never_known
from asset_worker.schedule.learned import UnreadableState
from asset_worker.settings.tree import Settings

RETRY = "asset-worker dead-letters retry"
MAX_LIMIT = 1_000_000
"""The largest `--limit`: the default of `queue.max_pending`."""


@click.command()
@click.option("--state-dir", type=PathOption(), help="The state directory of the worker.")
@click.option("--config", type=PathOption(dir_okay=False), help="Settings file (TOML).")
@click.option(
    "--limit", type=click.IntRange(1, MAX_LIMIT), default=20, show_default=True, help="Assets shown of each kind."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for scripts.")
def status(state_dir: Path | None, config: Path | None, limit: int, as_json: bool) -> None:
    """Show what is pending, for how long, waiting for what, and what completed lately.

    It reads the state directory of a worker, which need not be running.

    \b
    Examples:
      asset-worker status
      asset-worker status --json | jq .pending_count
    """
    settings = settings_from(config, {"state": {"dir": state_dir}})
    directory = state_directory(settings)
    try:
        report = read_status(directory, clock=SystemClock(), limit=limit, time_left=_time_left(settings, directory))
    except JournalError as error:
        fail(str(error))
    click.echo(visible_json_bytes(msgspec.json.encode(report)) if as_json else "\n".join(map(visible, _lines(report))))


def _time_left(settings: Settings, directory: Path) -> TimeLeft:
    """Return what forecasts waits, with what the worker had learned when it last saved that."""
    learned = load(directory / FILE_NAME)
    if learned is None or isinstance(learned, UnreadableState):
        return never_known
    return make_time_left(expectations(settings, RunPlan()), typical_schedule(settings.poll, learned))


def _lines(report: StatusReport) -> list[str]:
    lines = [
        f"pending    {report.pending_count}" + (f"  (oldest {_age(report.oldest_age)})" if report.pending_count else "")
    ]
    lines += [f"  {what:<12} {count}" for what, count in sorted(report.waiting_on.items())]
    for line in report.pending:
        waiting_on = ", ".join(line.waiting_on) or "first look"
        lines.append(
            f"    {line.asset_id:<24}  {_age(line.age):>8}  {line.status or '-':<10}  waiting for {waiting_on}  "
            f"{'' if line.expected_left is None else f'left {line.expected_left}  '}polls {line.polls}  {line.source}"
        )
    lines.append(f"completed  {sum(report.completed_lately.values())} in the last 24 hours")
    lines += [f"  {outcome:<12} {count}" for outcome, count in sorted(report.completed_lately.items())]
    lines += [
        f"    {line.asset_id:<24}  {_age(line.ago):>8} ago  {line.outcome:<10}  took {_age(line.elapsed)}"
        for line in report.completed
    ]
    lines += [f"outbox     {depth} to send to {sink}" for sink, depth in sorted(report.outbox_depth.items())]
    lines += [
        f"outbox     {count} kept for {sink}, which is not in the settings any more"
        for sink, count in sorted(report.outbox_kept.items())
    ]
    if report.outbox_new:
        lines.append(f"outbox     {report.outbox_new} to send to a sink that has had none yet")
    return lines + _webhook_lines(report)


def _webhook_lines(report: StatusReport) -> list[str]:
    lines = []
    for sink, line in sorted(report.waiting_for_retry.items()):
        when = f"in {_age(line.next_in)}" if line.next_in > 0 else "now, if a worker runs"
        lines.append(f"retries    {line.count} of {sink}, the next one {when}")
    for sink, condition in sorted(report.conditions.items()):
        advice = (
            "" if condition.kind == "down" else f": restart, SIGHUP or `{RETRY} --sink {shlex.quote(sink)}` resumes it"
        )
        lines.append(f"problem    {sink} is {condition.kind} since {condition.since} ({condition.error}){advice}")
    lines += [
        f"dead letters  {count} of {sink}: see `asset-worker dead-letters list`"
        for sink, count in sorted(report.dead_letters_by_sink.items())
    ]
    return lines


def _age(seconds: float) -> str:
    for limit, unit, size in ((120, "s", 1), (7200, "min", 60), (172_800, "h", 3600)):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"
