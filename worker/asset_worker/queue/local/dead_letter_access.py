"""Has a request about dead letters carried out, by the worker that runs, or else by this process."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from asset_worker.queue.dead_letters import Answer, Request
from asset_worker.queue.local.dead_letter_requests import carry_out
from asset_worker.queue.local.journal import FILE_NAME, Journal
from asset_worker.queue.local.lock import COMMAND, StateDirectory, StateDirectoryInUseError
from asset_worker.queue.local.reading import check_journal_exists
from asset_worker.queue.local.request_files import RequestFiles
from asset_worker.runtime.clock import Clock

LONGEST_WAIT_SECONDS: Final = 30.0
LOOK_SECONDS: Final = 0.05
"""The interval at which the answer is looked for."""
LOCK_SECONDS: Final = 1.0
"""The interval at which the lock is tried: the worker may have ended."""


class NoAnswerError(Exception):
    """The worker that holds the state directory has not answered. The message says what becomes of the request."""


def ask(
    directory: Path,
    request: Request,
    *,
    clock: Clock,
    sleep: Callable[[float], None] = time.sleep,
    monotonic: Callable[[], float] = time.monotonic,
) -> Answer:
    """Return the answer to a request about the dead letters in the state directory.

    Raises:
        NoAnswerError: a worker holds the directory, and has not answered in time.
        UnusableRequestsError: one holds it, and would not use the directory of requests.
        JournalError: there is no journal, or it can't be used; or an earlier version wrote it.
        StateDirectoryError: the state directory can't be used.
        OSError: the request can't be written.
    """
    check_journal_exists(directory)
    request_id, files = secrets.token_hex(16), RequestFiles(directory)
    try:
        return _carry_out_alone(directory, request_id, request, clock)
    except StateDirectoryInUseError as error:
        holder = error
    files.write(request_id, request)
    ends = monotonic() + LONGEST_WAIT_SECONDS
    lock_at = monotonic() + LOCK_SECONDS
    while (now := monotonic()) < ends:
        answer = files.read_answer(request_id)
        if answer is None and now >= lock_at:
            lock_at = now + LOCK_SECONDS
            try:
                answer = _carry_out_alone(directory, request_id, request, clock)
            except StateDirectoryInUseError as error:
                holder = error
        if answer is not None:
            files.delete(request_id)
            return answer
        sleep(LOOK_SECONDS)
    raise NoAnswerError(
        f"no answer within {LONGEST_WAIT_SECONDS:g} seconds ({holder.reason}). The request {request_id} stays in "
        f"{directory / 'requests'}, and is carried out by this worker, or by the next start of one; to withdraw it, "
        "delete its file"
    )


def _carry_out_alone(directory: Path, request_id: str, request: Request, clock: Clock) -> Answer:
    """Carry out a request while no worker runs. The lock is held for a moment; a worker that starts waits for it.

    The journal is not upgraded: the worker may be of an earlier version, which could not start again.
    """
    with StateDirectory(directory, holder=COMMAND) as held:
        journal = Journal(held.path / FILE_NAME, upgrades=False)
        try:
            clock.resume(journal.clock_mark())
            with journal.transaction():
                return carry_out(journal, request_id, request, receivers=None, now=clock.steady()).answer
        finally:
            journal.close()
