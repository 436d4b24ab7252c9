"""The command `asset-worker status`: shows whether a worker runs, and what its state directory holds."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from asset_worker.cli.database import ask_database
from asset_worker.cli.systemd import unit_state
from asset_worker.cli.usage import PathOption, fail, settings_from, state_directory
from asset_worker.cli.watching import show_again_and_again
from asset_worker.cli.worker_lines import runbook_line, worker_lines
from asset_worker.domain.run_plan import RunPlan
from asset_worker.policies import expectations, typical_schedule
from asset_worker.poller.foresight import make_time_left
from asset_worker.queue.local.journal import JournalError
from asset_worker.queue.local.schedule_store import FILE_NAME, load
from asset_worker.queue.local.status_report import RetryLine, StatusReport, read_status
from asset_worker.queue.local.worker_status import read_worker
from asset_worker.runtime.clock import SystemClock
from asset_worker.runtime.text import visible, visible_json_bytes
from asset_worker.schedule.forecast import TimeLeft, never_known
from asset_worker.schedule.learned import LearnedState, UnreadableState
from asset_worker.settings.tree import Settings
from asset_worker.telemetry import words
from asset_worker.telemetry.problems import SINK_REASONS

if TYPE_CHECKING:
    from asset_worker.queue.postgres.connection import Connection

DEAD_LETTERS = "asset-worker dead-letters"
FLEET_STATUS = "asset-worker fleet status"
WATCH_SECONDS = 2.0
MAX_LIMIT = 1_000_000
"""The largest `--limit`: the default of `queue.max_pending`."""


@click.command()
@click.option("--state-dir", type=PathOption(), help="The state directory of the worker.")
@click.option("--config", type=PathOption(dir_okay=False), help="Settings file (TOML).")
@click.option(
    "--limit", type=click.IntRange(1, MAX_LIMIT), default=20, show_default=True, help="Assets shown of each kind."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for scripts.")
@click.option("--watch", is_flag=True, help="Show it again every two seconds, until Ctrl-C.")
def status(state_dir: Path | None, config: Path | None, limit: int, as_json: bool, watch: bool) -> None:
    """Show whether the worker runs, what is pending, and what completed lately.

    It reads the state directory of a worker, which need not be running: its present problems, what is pending for how
    long and waiting for what, how long it may still take, and the events that sinks lack. Of a worker of a fleet, what
    it owns is read from the database; `fleet status` shows the others.

    \b
    Examples:
      asset-worker status --watch
      asset-worker status --json | jq .worker.problems
    """
    settings = settings_from(config, {"state": {"dir": state_dir}})
    directory = state_directory(settings)

    def report() -> str:
        try:
            return _report(settings, directory, limit=limit, as_json=as_json)
        except JournalError as error:
            fail(str(error))

    if watch:
        show_again_and_again(report, every=WATCH_SECONDS, in_place=not as_json)
    click.echo(report().encode(), nl=False)


def _report(settings: Settings, directory: Path, *, limit: int, as_json: bool) -> str:
    """Return the report, with a newline at its end.

    Raises:
        JournalError: there is no journal, or it can't be read by this version.
    """
    is_of_fleet = settings.queue.engine == "postgres"
    if not is_of_fleet:
        found = read_status(directory, clock=SystemClock(), limit=limit, time_left=_time_left(settings, directory))
    try:
        worker = read_worker(directory)
    except OSError:
        worker = None
    unit = None if worker is None or worker.unit is None else unit_state(worker.unit)
    first, *others = worker_lines(worker, unit)
    lines = [first, f"state      {directory.absolute()}", *others]
    if is_of_fleet:
        lines.append(f"fleet      {settings.fleet.schema}, as {settings.fleet.name}: `{FLEET_STATUS}` shows all of it")
        try:
            found = _read_from_fleet(settings, limit=limit)
        except SystemExit:
            if not as_json:
                click.echo(_shown(lines), nl=False)  # what the worker itself says of it
            raise
    if as_json:
        document = {
            "worker": worker,
            "unit_state": unit,
            "state_dir": str(directory.absolute()),
            **msgspec.structs.asdict(found),
        }
        return visible_json_bytes(msgspec.json.encode(document)).decode() + "\n"
    is_reported = worker is not None and bool(worker.problems)
    is_named = "dir" in settings.state.model_fields_set
    option = f" --state-dir {shlex.quote(str(directory))}" if is_named else ""
    lines += [*_lines(found), *_webhook_lines(found, is_reported=is_reported, option=option)]
    return _shown(lines)


def _shown(lines: Iterable[str]) -> str:
    return "".join(f"{visible(line)}\n" for line in lines)


def _read_from_fleet(settings: Settings, *, limit: int) -> StatusReport:
    """Return what the database holds of the worker, or end the command."""
    schema = settings.fleet.schema

    def read(connection: Connection) -> StatusReport:
        from asset_worker.queue.postgres import status_report  # noqa: PLC0415 - an optional dependency
        from asset_worker.queue.postgres.opening import check_version  # noqa: PLC0415
        from asset_worker.queue.postgres.schedule_reading import read_learned  # noqa: PLC0415

        check_version(connection, schema)
        forecast = _forecast(settings, read_learned(connection, schema))
        return status_report.read_status(connection, schema, settings.fleet.name, limit=limit, time_left=forecast)

    return ask_database(settings, read)


def _time_left(settings: Settings, directory: Path) -> TimeLeft:
    """Return what forecasts waits, with what the worker had learned when it last saved that."""
    learned = load(directory / FILE_NAME)
    return _forecast(settings, None if isinstance(learned, UnreadableState) else learned)


def _forecast(settings: Settings, learned: LearnedState | None) -> TimeLeft:
    if learned is None:
        return never_known
    return make_time_left(expectations(settings, RunPlan()), typical_schedule(settings.poll, learned))


def _lines(report: StatusReport) -> list[str]:
    """Return the lines about assets, and about the events that sinks lack."""
    lines = [
        f"pending    {report.pending_count}"
        + (f"  (oldest {words.duration(report.oldest_age)})" if report.pending_count else "")
    ]
    lines += [f"  {words.stage([what]):<16} {count}" for what, count in sorted(report.waiting_on.items())]
    for line in report.pending:
        stage = words.stage(line.waiting_on)
        facts = [
            f"{line.asset_id:<24}",
            f"{words.duration(line.age):>11}",
            f"{line.status or '-':<10}",
            "" if stage == line.status else stage,
            "" if line.expected_left is None else f"left {words.time_left(line.expected_left)}",
            words.counted(line.polls, "look"),
            line.source,
        ]
        lines.append("    " + "  ".join(filter(None, facts)))
    lines.append(f"completed  {sum(report.completed_lately.values())} in the last 24 hours")
    lines += [f"  {outcome:<16} {count}" for outcome, count in sorted(report.completed_lately.items())]
    lines += [
        f"    {line.asset_id:<24}  {words.duration(line.ago):>11} ago  {line.outcome:<10}  "
        f"took {words.duration(line.elapsed)}"
        for line in report.completed
    ]
    lines += [f"outbox     {depth} to send to {sink}" for sink, depth in sorted(report.outbox_depth.items())]
    lines += [
        f"outbox     {count} kept for {sink}, which is not in the settings any more"
        for sink, count in sorted(report.outbox_kept.items())
    ]
    if report.outbox_new:
        lines.append(f"outbox     {report.outbox_new} to send to a sink that has had none yet")
    return lines


def _next_retry(line: RetryLine, trouble: str | None) -> str:
    """Return when events of a webhook are tried again. `trouble`: `down`, `paused`, or None: it takes events."""
    if trouble == "down":
        return "all of them once a probe is accepted: one is sent at least once a minute"
    if trouble == "paused":
        return "all of them once it is resumed"
    return "the next one " + (f"in {words.duration(line.next_in)}" if line.next_in > 0 else "now, if a worker runs")


def _webhook_lines(report: StatusReport, *, is_reported: bool, option: str) -> list[str]:
    """Return the lines about webhooks.

    `is_reported`: the worker itself has said what is wrong. `option`: what commands need to find the state directory.
    """
    lines = []
    for sink, line in sorted(report.waiting_for_retry.items()):
        condition = report.conditions.get(sink)
        lines.append(
            f"retries    {line.count} of {sink}, {_next_retry(line, None if condition is None else condition.kind)}"
        )
    retry = f"{DEAD_LETTERS} retry{option}"
    for sink, condition in () if is_reported else sorted(report.conditions.items()):
        advice = (
            "" if condition.kind == "down" else f": restart, SIGHUP or `{retry} --sink {shlex.quote(sink)}` resumes it"
        )
        reason = SINK_REASONS[condition.kind]
        text = f"{sink} is {condition.kind} since {condition.since} ({condition.error}){advice} [{reason.value}]"
        lines += [f"problem    {text}", *runbook_line(reason.runbook)]
    lines += [
        f"dead letters  {count} of {sink}: see `{DEAD_LETTERS} list{option}`"
        for sink, count in sorted(report.dead_letters_by_sink.items())
    ]
    return lines
