"""The command `asset-worker doctor`: checks whether a worker with these settings can work, and the one that runs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final

import click

from asset_worker.cli.diagnosis import Check, State, advised, as_json, exit_code_for, line_of
from asset_worker.cli.doctor_database import check_database, check_settings
from asset_worker.cli.doctor_local import KeyReader, check_sink, local_checks
from asset_worker.cli.usage import PathOption, end_with, of_unit
from asset_worker.domain.run_plan import Exit
from asset_worker.runtime.redaction import Secrets
from asset_worker.runtime.text import visible, visible_json_bytes
from asset_worker.runtime.threads import DaemonThread
from asset_worker.settings.loading import SettingsError, load
from asset_worker.settings.tree import Settings
from asset_worker.sinks.registry import Target
from asset_worker.telemetry.logs import configure

LOCAL_SECONDS: Final = 3.0
"""For a check that makes no request. Only a file system that hangs takes as long."""
DATABASE_SECONDS: Final = 15.0
"""For all questions to a database: two of its hosts may hang."""


@click.command()
@click.option("--local", is_flag=True, help="Make no request; as a health check.")
@click.option("--json", "as_json_", is_flag=True, help="One JSON object, for scripts.")
@click.option("--config", type=PathOption(dir_okay=False), help="Settings file (TOML).")
@click.option("--state-dir", type=PathOption(), help="The state directory of the worker.")
@click.option("--queue-file", type=PathOption(readable=False), help="As for `run`.")
@click.option("--events", metavar="TARGET", multiple=True, help="As for `run`; may be repeated.")
def doctor(
    local: bool,
    as_json_: bool,
    config: Path | None,
    state_dir: Path | None,
    queue_file: Path | None,
    events: tuple[str, ...],
) -> None:
    """Check settings, key, network, clock, sinks, files and the worker.

    Each check is one line, with what to do. The key is tried with one request,
    and receivers of webhooks are connected to; no event is sent.
    With queue.engine = postgres, the database of the fleet is asked, too.

    \b
    Examples:
      asset-worker doctor --config worker.toml
      asset-worker doctor --local || echo "look at it"

    \b
    Exit codes: 0 no problem (there may be warnings); 1 a problem; 2 the
    settings, or what they name, must be corrected; 3 the API refuses the key.
    """
    overrides = {"queue": {"file": queue_file}, "state": {"dir": state_dir}, "events": {"sinks": list(events) or None}}
    secrets, checks = Secrets(), list[Check]()
    configure("console", "error", secrets)

    def report(check: Check) -> None:
        checks.append(check)
        if not as_json_:
            click.echo(visible(secrets.redact_text(line_of(check))))

    try:
        settings = of_unit(load(config=config, environ=os.environ, overrides=overrides))
    except SettingsError as error:
        for text in error.problems:
            report(advised("settings", text, code=Exit.USAGE))
        click.echo("asset-worker: nothing else was checked, as all else depends on the settings", err=True)
    else:
        report(Check("settings", State.OK, "the settings are good" if config is None else f"{config} is good"))
        asyncio.run(_examine(settings, secrets, report, is_local=local))
    if as_json_:
        click.echo(visible_json_bytes(secrets.redact(as_json(checks))))
    end_with(exit_code_for(checks))


async def _examine(settings: Settings, secrets: Secrets, report: Callable[[Check], None], *, is_local: bool) -> None:
    """Make all checks at once, and report them in their order."""
    parts = [
        *(_in_thread(name, call) for name, call in local_checks(settings)),
        *([_check_database(settings, secrets, is_local=is_local)] if settings.queue.engine == "postgres" else []),
        *(_check_sink(target, is_local=is_local) for target in settings.events.targets),
        _check_key(settings, secrets, is_local=is_local),
    ]
    for part in [asyncio.ensure_future(each) for each in parts]:
        for check in await part:
            report(check)


async def _check_key(settings: Settings, secrets: Secrets, *, is_local: bool) -> list[Check]:
    """Return what can be seen of the key; unless `is_local`, also what the API answers to one request with it."""
    read = KeyReader(settings.api, secrets)
    checks = await _in_thread("key", read)
    if is_local:
        return checks or [Check("key", State.OK, "there is a key; it was not tried")]
    from asset_worker.cli.doctor_network import check_api  # noqa: PLC0415 - an HTTP client, which --local needs not

    return checks + await _guarded("api", check_api(settings, read.key, secrets.redact_text))


async def _check_database(settings: Settings, secrets: Secrets, *, is_local: bool) -> list[Check]:
    """Return what can be seen of a fleet's database; unless `is_local`, also what it answers."""
    checks = await _in_thread("database", partial(check_settings, settings, secrets))
    if is_local:
        return checks or [Check("database", State.OK, "its URL can be read; it was not connected to")]
    if any(check.state is State.PROBLEM for check in checks):
        return checks
    return checks + await _in_thread("database", partial(check_database, settings), seconds=DATABASE_SECONDS)


async def _check_sink(target: Target, *, is_local: bool) -> list[Check]:
    """Return what can be seen of a sink; unless `is_local`, also whether the receiver of a webhook can be reached."""
    checks = await _in_thread("sink", partial(check_sink, target))
    if is_local or isinstance(target, str) or any(check.state is State.PROBLEM for check in checks):
        return checks
    from asset_worker.cli.doctor_network import check_receiver  # noqa: PLC0415 - as above

    warnings = [check for check in checks if check.state is State.WARNING]
    return warnings + await _guarded("sink", check_receiver(target))


async def _in_thread(name: str, call: Callable[[], list[Check]], *, seconds: float = LOCAL_SECONDS) -> list[Check]:
    """Return what a call returns that may block."""
    thread = DaemonThread(name)

    async def run() -> list[Check]:
        try:
            async with asyncio.timeout(seconds):
                return await thread.run(call)
        except TimeoutError:
            what = "a file system hangs" if seconds == LOCAL_SECONDS else "the server and the network work"
            text, fix = f"not examined within {seconds:g} s", f"look whether {what}"
            return [Check(name, State.PROBLEM, text, fix)]
        finally:
            thread.close()

    return await _guarded(name, run())


async def _guarded(name: str, part: Awaitable[list[Check]]) -> list[Check]:
    """Return what a part finds. An error in it is a problem of its own: the other parts must be seen.

    The text of an unexpected error is not shown: it may hold a URL with a secret.
    """
    try:
        return await part
    except Exception as error:  # noqa: BLE001 - see above
        return [
            Check(
                name, State.PROBLEM, f"this check failed unexpectedly ({type(error).__name__})", "report this as a bug"
            )
        ]
