"""Running the service from a command: the event loop, the logs, the live display, the errors."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import structlog

from asset_worker.api.key import BadKeyError
from asset_worker.api.session import BadProxyError
from asset_worker.cli.usage import fail, log_format
from asset_worker.domain.run_plan import Exit, RunPlan
from asset_worker.queue.local.journal import JournalError, JournalUnavailableError
from asset_worker.queue.local.lock import StateDirectoryError
from asset_worker.runtime.redaction import Secrets
from asset_worker.service import Service
from asset_worker.settings.tree import Settings
from asset_worker.telemetry.errors import AdminAddressError
from asset_worker.telemetry.logs import configure

_log = structlog.get_logger()


def run_service(settings: Settings, plan: RunPlan, *, title: str, level: str | None = None) -> int:
    """Run an plan to its end, with progress where stderr is a terminal; the exit code.

    Bad settings and a state directory that can't be used end the process with exit code 2.
    """
    secrets = Secrets()
    configure(log_format(settings), level or settings.log.level, secrets)

    async def work() -> int:
        return await watched(Service(settings, plan, secrets=secrets), title=title, sinks=settings.events.sinks)

    return run_to_the_end(work())


def run_to_the_end(work: Coroutine[Any, Any, int]) -> int:
    """Run on the event loop; the exit code. What keeps a service from its start ends the process with exit code 2."""
    try:
        return run_loop(work)
    except JournalUnavailableError as error:  # no error of usage: whoever started this may try again
        fail(str(error), code=Exit.NOT_READY)
    except (AdminAddressError, BadKeyError, BadProxyError, StateDirectoryError, JournalError) as error:
        fail(str(error))
    except Exception:  # noqa: BLE001 - the last resort: it must reach the log
        # The traceback goes into the log, where the key is masked, and not to the interpreter's own handler.
        _log.exception("worker.stopped", exit_code=int(Exit.NOT_READY))
        return Exit.NOT_READY


async def watched(service: Service, *, title: str, sinks: tuple[str, ...]) -> int:
    """Run the service, and show on stderr how far it is, where that is a terminal; its exit code."""
    if not sys.stderr.isatty():
        return await service.run()
    from asset_worker.cli import progress  # noqa: PLC0415 - rich, only for a terminal

    has_events = any(map(_may_reach_a_terminal, sinks))
    run = progress.run_with_progress_lines if has_events else progress.run_with_live_display
    return await run(service, title=title)


def _may_reach_a_terminal(target: str) -> bool:
    """Whether events may come to the terminal, where a live display would overwrite them; through `| jq`, too."""
    try:
        status = os.fstat(1) if target == "-" else Path(target).stat()
        return not stat.S_ISREG(status.st_mode) and not os.path.samestat(status, Path(os.devnull).stat())
    except OSError:
        return False


def run_loop(work: Coroutine[Any, Any, int]) -> int:
    """Run on uvloop where it is installed, else on asyncio's own loop."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(work)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - an extra
    except ImportError:
        return None
    return uvloop.new_event_loop
