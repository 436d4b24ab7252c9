"""Running the service from a command: the event loop, the logs, the live display, the errors."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from worker.api.key import BadKeyError
from worker.api.session import BadProxyError
from worker.cli.usage import fail, log_format
from worker.errand import Errand, Exit
from worker.queue.journal import JournalError
from worker.queue.lock import StateDirectoryError
from worker.secrets import Secrets
from worker.service import Service
from worker.settings import Settings
from worker.telemetry.logs import configure

_log = structlog.get_logger()


def run_service(settings: Settings, errand: Errand, *, title: str, level: str | None = None) -> int:
    """Run an errand to its end, with a live display where stderr is a terminal; the exit code.

    Bad settings and a state directory that can't be used end the process with exit code 2.
    """
    secrets = Secrets()
    configure(log_format(settings), level or settings.log.level, secrets)
    try:
        service = Service(settings, errand, secrets=secrets)
        if sys.stderr.isatty():
            from worker.cli.progress import shown  # noqa: PLC0415 - rich, only for a terminal

            return run_loop(shown(service, title=title))
        return run_loop(service.run())
    except (BadKeyError, BadProxyError, StateDirectoryError, JournalError) as error:
        fail(str(error))
    except OSError as error:  # of what is opened at the start: what fails later comes in a group from the parts
        fail(f"the admin endpoints can't be served ({error.strerror}): give another admin.host or admin.port")
    except Exception:  # noqa: BLE001 - the last resort: it must reach the log
        # The traceback goes into the log, where the key is masked, and not to the interpreter's own handler.
        _log.exception("worker.stopped", exit_code=int(Exit.NOT_READY))
        return Exit.NOT_READY


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
