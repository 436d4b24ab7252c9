"""Runs the service for a command: event loop, logs, progress, errors."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Final

import click
import structlog

from asset_worker.api.key import BadKeyError, KeyNotThereError, NoKeyError
from asset_worker.cli.farewell import IDS_NAMED, kept, not_kept
from asset_worker.cli.form import USUAL, Form
from asset_worker.cli.showing import Showing, shows_lines_above_display
from asset_worker.cli.usage import fail, log_format, misnamed_key_advice
from asset_worker.domain.run_plan import Exit, RunPlan
from asset_worker.poller.observing import Observe, both, ignore
from asset_worker.queue.local.journal import JournalError, JournalUnavailableError
from asset_worker.queue.local.lock import StateDirectoryError, StateDirectoryUnavailableError
from asset_worker.queue.postgres.errors import DatabaseError, DatabaseUnavailableError
from asset_worker.reloading import Reloading
from asset_worker.runtime.proxy import BadProxyError
from asset_worker.runtime.redaction import Secrets
from asset_worker.runtime.systemd_notify import Notifier
from asset_worker.service import Service
from asset_worker.settings.tree import NoStateDirectoryError, Settings
from asset_worker.sinks.ports import TargetNotReadyError, UnusableTargetError
from asset_worker.telemetry.errors import AdminAddressError, AdminAddressInUseError, TokenFileError, TokenNotThereError
from asset_worker.telemetry.logs import configure

_log = structlog.get_logger()

MAY_PASS = (
    AdminAddressInUseError,
    DatabaseUnavailableError,
    JournalUnavailableError,
    KeyNotThereError,
    StateDirectoryUnavailableError,
    TargetNotReadyError,
    TokenNotThereError,
)
"""The errors that keep the service from starting now, but perhaps not later."""
MUST_BE_CORRECTED = (
    AdminAddressError,
    BadKeyError,
    BadProxyError,
    DatabaseError,
    JournalError,
    NoStateDirectoryError,
    StateDirectoryError,
    TokenFileError,
    UnusableTargetError,
)
"""Those that keep it from starting until somebody corrects what they name."""
SHOWN_ELSEWHERE: Final = frozenset({"asset.completed", "intake.accepted", "worker.heartbeat"})
"""Where people see a line for each event, and progress below, the log need not say the same. Those who choose the level
or the format of the log get all of it."""


def run_service(
    settings: Settings,
    plan: RunPlan,
    *,
    title: str,
    level: str | None = None,
    read_again: Callable[[], Settings] | None = None,
    on_start: Callable[[], None] = lambda: None,
    observe: Observe = ignore,
    form: Form = USUAL,
    notifier: Notifier | None = None,
) -> int:
    """Run a plan to its end and return the exit code. Progress is shown if stderr is a terminal, as `form` says.

    An error that keeps the service from starting ends the process; see `run_to_the_end`. `level` replaces the log level
    of the settings. `read_again` returns the settings as they are at a SIGHUP; it is called in a thread.
    `on_start` is called when the log is set up, `observe` after each look. `notifier` reports to the service manager.
    """
    secrets = Secrets()

    def apply_log(settings: Settings) -> None:
        is_chosen = level is not None or bool(settings.log.model_fields_set)
        is_shown = "-" in settings.events.local_targets and shows_lines_above_display(form)
        configure(
            log_format(settings),
            level or settings.log.level,
            secrets,
            colours=not form.plain,
            shown_elsewhere=SHOWN_ELSEWHERE if is_shown and not is_chosen else (),
        )

    apply_log(settings)
    on_start()
    if notifier is not None and notifier.watchdog is not None:
        # The watchdog ends a process that hangs by SIGABRT: the log then shows where each thread was, without values.
        faulthandler.enable(2)

    async def work() -> int:
        reloading = None
        if read_again is not None and not plan.is_one_off:
            reloading = Reloading(settings, read=read_again, apply_log=apply_log)
        showing = Showing(settings, plan, title=title, form=form)
        service = Service(
            settings,
            plan,
            secrets=secrets,
            reloading=reloading,
            observe=both(observe, showing.observe),
            lines_on_stdout=showing.lines_of,
            notifier=notifier,
        )
        code = await showing.run(service)
        if service.is_interrupted and sys.stderr.isatty() and not form.quiet:
            click.echo(f"asset-worker: {_what_is_left(service, settings, plan)}", err=True)
        return code

    return run_to_the_end(work())


def run_to_the_end(work: Coroutine[Any, Any, int]) -> int:
    """Run `work` on the event loop and return its exit code.

    An error that keeps the service from starting ends the process, with a sentence on stderr and exit code 2, or 75 if
    it may pass. Any other error is logged, and the exit code is 1.
    """
    try:
        return run_loop(work)
    except MAY_PASS as error:
        fail(str(error), code=Exit.TEMPORARY)
    except NoKeyError as error:
        fail(f"{error}{misnamed_key_advice(os.environ)}")
    except MUST_BE_CORRECTED as error:
        fail(str(error))
    except Exception as error:  # noqa: BLE001 - every other error must reach the log
        # The traceback goes to the log, where the key is redacted, and not to the interpreter's own handler.
        if (lost := _lost_state(error)) is not None:
            _log.error("worker.stopped", exit_code=int(Exit.NOT_READY), error=str(lost))
        else:
            _log.exception("worker.stopped", exit_code=int(Exit.NOT_READY))
        return Exit.NOT_READY


def _lost_state(error: Exception) -> Exception | None:
    """Return the error, in a group, that says that the state was moved away or taken; None: it is another error."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error if isinstance(error, StateDirectoryError | JournalError) else None


def _what_is_left(service: Service, settings: Settings, plan: RunPlan) -> str:
    """Return, in words, what a run that was interrupted leaves behind, and how to go on."""
    pending = service.snapshot().pending if service.is_built else 0
    if plan.keeps_state:
        return kept(pending, settings.state.directory)
    ids = [each.asset_id for each in service.waiting(IDS_NAMED)] if service.is_built else []
    return not_kept(pending, ids)


def run_loop(work: Coroutine[Any, Any, int]) -> int:
    """Run `work` on uvloop if it is installed, else on asyncio's own loop, and return its exit code."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(work)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - an optional dependency
    except ImportError:
        return None
    return uvloop.new_event_loop
