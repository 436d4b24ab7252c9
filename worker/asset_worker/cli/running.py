"""Runs the service for a command: event loop, logs, progress, errors."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import structlog

from asset_worker.api.key import BadKeyError, KeyNotThereError, NoKeyError
from asset_worker.cli.form import USUAL, Form
from asset_worker.cli.usage import fail, log_format, misnamed_key_advice
from asset_worker.domain.run_plan import Exit, RunPlan
from asset_worker.poller.observing import Observe, ignore
from asset_worker.queue.local.journal import JournalError, JournalUnavailableError
from asset_worker.queue.local.lock import StateDirectoryError, StateDirectoryUnavailableError
from asset_worker.reloading import Reloading
from asset_worker.runtime.proxy import BadProxyError
from asset_worker.runtime.redaction import Secrets
from asset_worker.service import Service
from asset_worker.settings.tree import NoStateDirectoryError, Settings
from asset_worker.sinks.ports import TargetNotReadyError, UnusableTargetError
from asset_worker.telemetry.errors import AdminAddressError, AdminAddressInUseError, TokenFileError, TokenNotThereError
from asset_worker.telemetry.logs import configure

_log = structlog.get_logger()

_MAY_PASS = (
    AdminAddressInUseError,
    JournalUnavailableError,
    KeyNotThereError,
    StateDirectoryUnavailableError,
    TargetNotReadyError,
    TokenNotThereError,
)
"""The errors that keep the service from starting now, but perhaps not later."""
_MUST_BE_CORRECTED = (
    AdminAddressError,
    BadKeyError,
    BadProxyError,
    JournalError,
    NoStateDirectoryError,
    StateDirectoryError,
    TokenFileError,
    UnusableTargetError,
)
"""Those that keep it from starting until somebody corrects what they name."""


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
) -> int:
    """Run a plan to its end and return the exit code. Progress is shown if stderr is a terminal, as `form` says.

    An error that keeps the service from starting ends the process; see `run_to_the_end`. `level` replaces the log level
    of the settings. `read_again` returns the settings as they are at a SIGHUP; it is called in a thread.
    `on_start` is called when the log is set up, `observe` after each look.
    """
    secrets = Secrets()

    def apply_log(settings: Settings) -> None:
        configure(log_format(settings), level or settings.log.level, secrets)

    apply_log(settings)
    on_start()

    async def work() -> int:
        reloading = None
        if read_again is not None and not plan.is_one_off:
            reloading = Reloading(settings, read=read_again, apply_log=apply_log)
        service = Service(settings, plan, secrets=secrets, reloading=reloading, observe=observe)
        return await watched(service, title=title, sinks=settings.events.local_targets, form=form)

    return run_to_the_end(work())


def run_to_the_end(work: Coroutine[Any, Any, int]) -> int:
    """Run `work` on the event loop and return its exit code.

    An error that keeps the service from starting ends the process, with a sentence on stderr and exit code 2, or 75 if
    it may pass. Any other error is logged, and the exit code is 1.
    """
    try:
        return run_loop(work)
    except _MAY_PASS as error:
        fail(str(error), code=Exit.TEMPORARY)
    except NoKeyError as error:
        fail(f"{error}{misnamed_key_advice(os.environ)}")
    except _MUST_BE_CORRECTED as error:
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


async def watched(service: Service, *, title: str, sinks: tuple[str, ...], form: Form = USUAL) -> int:
    """Run the service and return its exit code. Progress is shown if stderr is a terminal."""
    if form.quiet or not sys.stderr.isatty():
        return await service.run()
    from asset_worker.cli import progress  # noqa: PLC0415 - rich, only for a terminal

    has_events = any(map(_may_reach_a_terminal, sinks))
    run = progress.run_with_progress_lines if has_events or form.plain else progress.run_with_live_display
    return await run(service, title=title)


def _may_reach_a_terminal(target: str) -> bool:
    """Return whether events may appear on the terminal, where a live display would overwrite them.

    A pipe counts as well: its reader may write to the terminal, as in `| jq`.
    """
    try:
        status = os.fstat(1) if target == "-" else Path(target).stat()
        return not stat.S_ISREG(status.st_mode) and not os.path.samestat(status, Path(os.devnull).stat())
    except OSError:
        return False


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
