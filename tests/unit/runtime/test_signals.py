"""SIGTERM and SIGINT as stops."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from asset_worker.runtime.signals import stopping_on_signals
from asset_worker.runtime.stop import Stop


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
        os.kill(os.getpid(), number)
        await asyncio.sleep(0.05)
    assert ended == [128 + number]


async def test_the_end_of_the_context_gives_the_signals_back():
    before = signal.getsignal(signal.SIGTERM)
    with stopping_on_signals(Stop(), Stop()):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
