"""Processes that run one job after another, each job in a fork of what is loaded: nothing survives a job."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

MEMORY_BYTES = 6 * 2**30
TOO_LONG = -signal.SIGKILL

_ours: list[Connection[Any, Any]] = []


class Job(NamedTuple):
    """What to do in a process of its own."""

    change: int
    """The number of the change that is tried."""
    tests: tuple[tuple[str, float], ...]
    """The IDs of the tests to run, in this order, each with how long it takes unchanged."""
    seconds: float
    """After this time, the job is killed."""
    output: str = ""
    """If not empty, nothing is tried: which test reaches which statement is recorded, in the file at this path."""


def open_slot() -> Connection[Any, Any] | Job:
    """Fork a process that takes jobs from the connection that is returned, and sends the exit code of each.

    Returns once more for each job, in a process of its own: with the job, which ends with `os._exit`.
    """
    here, there = Pipe()
    _ours.append(here)
    if os.fork():
        there.close()
        return here
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for each in _ours:
        each.close()
    while True:
        try:
            job = there.recv()
        except (EOFError, OSError):
            os._exit(0)
        directory = tempfile.mkdtemp(prefix="mutation-")
        if not (pid := os.fork()):
            there.close()
            _become_job(directory)
            assert isinstance(job, Job)
            return job
        code = _wait(pid, there, time.monotonic() + job.seconds)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)  # and what its tests have started
        shutil.rmtree(directory, ignore_errors=True)
        if code is None:
            os._exit(0)
        there.send(code)


def close_slots() -> None:
    """End all slots, and what runs in them."""
    while _ours:
        _ours.pop().close()


def _become_job(directory: str) -> None:
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    os.environ["PYTEST_DEBUG_TEMPROOT"] = directory
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (1, 2):
        os.dup2(nothing, number)
    sys.stdout.flush()


def _wait(pid: int, there: Connection[Any, Any], until: float) -> int | None:
    """Return the exit code of a process, which is killed if it runs too long; None: nobody waits for it any more."""
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        is_over = there.poll(0.005)  # nothing is sent before the answer: it is closed
        if is_over or time.monotonic() > until:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            return None if is_over else TOO_LONG
