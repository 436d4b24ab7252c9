"""An account, and the queue that keeps what the intake hands over."""

from __future__ import annotations

import asyncio

import pytest

from tests.doubles.account import FakeAccount, KeptQueue
from tests.doubles.clocks import LoopClock


@pytest.fixture
async def account():
    return FakeAccount(LoopClock(asyncio.get_running_loop()))


@pytest.fixture
async def queue():
    return KeptQueue()
