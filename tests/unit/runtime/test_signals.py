"""Signals as stops and reloads."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from asset_worker.runtime import signals
from asset_worker.runtime.ending import SERVICE, STOPPING
from asset_worker.runtime.signals import REPEAT_SECONDS, reloading_on_signals, stopping_on_signals
from asset_worker.runtime.stop import Stop


async def no_repeat() -> None:
    """Wait until a stop signal is no repeat, even if this process does not run for most of that time."""
    await asyncio.sleep(2 * signals.REPEAT_SECONDS)
    await asyncio.sleep(5 * signals.PASS_SECONDS)


@pytest.fixture(autouse=True)
def _signals_are_restored() -> Iterator[None]:
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    # Another test of this process may have run a service, which leaves them ignored.
    handlers = {number: signal.signal(number, signal.SIG_DFL) for number in (*STOPPING, *SERVICE)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, signal.SIG_IGN)  # forgets one that is pending
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_first_signal_sets_both_stops_and_the_second_ends_the_process(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
):
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    stop, forced_stop = Stop(), Stop()
    with stopping_on_signals(stop, forced_stop):
        os.kill(os.getpid(), number)
        await asyncio.wait_for(stop.wait(), 5)
        assert (stop.reason, forced_stop.reason, ended) == (number.name, number.name, [])
        await no_repeat()
        os.kill(os.getpid(), number)
        await asyncio.sleep(0.05)
    assert ended == [128 + number]


async def test_how_the_second_signal_ends_the_process_can_be_chosen():
    """It may be the other signal than the first."""
    ended: list[int] = []
    stop = Stop()
    with stopping_on_signals(stop, stop, end=ended.append):
        for number in STOPPING:
            os.kill(os.getpid(), number)
            await no_repeat()
    assert ended == [128 + STOPPING[1]]


@pytest.mark.parametrize("repeat", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_that_is_sent_twice_is_one(repeat: signal.Signals, monkeypatch: pytest.MonkeyPatch):
    """As by `timeout`, to the process and to its group; or SIGINT by the terminal, and SIGTERM by a supervisor."""
    monkeypatch.setattr(signals, "REPEAT_SECONDS", 60.0)  # a busy machine may take a while from one to the next
    ended: list[int] = []
    stop = Stop()
    with stopping_on_signals(stop, stop, end=ended.append):
        for number in (signal.SIGTERM, repeat, repeat):
            os.kill(os.getpid(), number)
            await asyncio.sleep(0.01)
    assert (stop.reason, ended) == ("SIGTERM", [])


async def test_a_repeat_is_recognised_although_the_process_did_not_run_in_between():
    """A container's CPU limit, or a busy machine, stops it for longer than the repeat may take."""
    ended: list[int] = []
    stop = Stop()
    with stopping_on_signals(stop, stop, end=ended.append):
        os.kill(os.getpid(), signal.SIGTERM)
        await stop.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(3 * REPEAT_SECONDS)  # noqa: ASYNC251 - the loop is held up on purpose
        await asyncio.sleep(0.05)
    assert ended == []


async def test_repeats_do_not_prolong_the_time_for_repeats():
    ended: list[int] = []
    stop = Stop()
    with stopping_on_signals(stop, stop, end=ended.append):
        for _ in range(8):
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(REPEAT_SECONDS / 2)
    assert ended


async def test_after_the_context_a_signal_changes_nothing():
    """Not even once the event loop is closed, which gives its signals back."""
    stop = Stop()
    with stopping_on_signals(stop, Stop()):
        pass
    for number in STOPPING:
        os.kill(os.getpid(), number)
    assert not stop.is_set()
    assert {signal.getsignal(number) for number in STOPPING} == {signal.SIG_IGN}


async def test_a_hangup_reloads_and_user_signals_are_ignored():
    reloads: list[str] = []
    ignored: list[str] = []
    with reloading_on_signals(lambda: reloads.append("SIGHUP"), ignored.append):
        for number in SERVICE:
            os.kill(os.getpid(), number)
            await asyncio.sleep(0.05)
    assert (reloads, ignored) == (["SIGHUP"], ["SIGUSR1", "SIGUSR2"])
    os.kill(os.getpid(), signal.SIGHUP)  # the run is over: nothing happens


async def test_a_hangup_that_was_ignored_at_the_start_stays_ignored():
    """`nohup`, or a shell's `trap '' HUP`."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    reloads: list[str] = []
    with reloading_on_signals(lambda: reloads.append("SIGHUP"), print):
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.sleep(0.05)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    assert reloads == []


SWAP = """
import asyncio, os, signal, time
from asset_worker.runtime.signals import stopping_on_signals
from asset_worker.runtime.stop import Stop
from asset_worker.runtime.threads import DaemonThread

async def main():
    loop, thread = asyncio.get_running_loop(), DaemonThread("other")
    await thread.run(time.sleep, 0)
    remove = loop.remove_signal_handler

    def remove_and_meet_one(number):
        remove(number)
        os.kill(os.getpid(), number)

    loop.remove_signal_handler = remove_and_meet_one
    with stopping_on_signals(Stop(), Stop()):
        pass

asyncio.run(main())
"""


def test_a_signal_in_the_moment_in_which_the_handlers_are_replaced_does_not_end_the_process():
    """The loop restores the default for it, and only then can it be ignored."""
    assert subprocess.run([sys.executable, "-c", SWAP], check=False).returncode == 0
