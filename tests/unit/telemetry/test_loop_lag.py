"""How long the event loop was blocked: logged when it is long, and remembered for a minute."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from asset_worker.telemetry.loop_lag import CHECK_SECONDS, KEPT_SECONDS, LIMIT_SECONDS, LoopLag
from tests.doubles.virtual_time import VirtualTimeLoop

pytestmark = pytest.mark.virtual_time


@pytest.mark.parametrize(
    ("blocked_for", "lags"),
    [
        pytest.param(LIMIT_SECONDS - 0.05, [], id="a little"),
        pytest.param(LIMIT_SECONDS + 0.05, [0.3], id="too long"),
        pytest.param(10.0, [10.0], id="very long"),
    ],
)
async def test_a_blocked_loop_is_logged_once(blocked_for: float, lags: list[float]):
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    lag = LoopLag()
    with capture_logs() as logs:
        watching = asyncio.ensure_future(lag.watch())
        await asyncio.sleep(60 + CHECK_SECONDS / 2)
        loop._virtual.skipped += CHECK_SECONDS / 2 + blocked_for
        await asyncio.sleep(1)
        assert lag.worst == pytest.approx(blocked_for)
        await asyncio.sleep(KEPT_SECONDS - 2)
        assert lag.worst == pytest.approx(blocked_for)
        await asyncio.sleep(2)
        assert lag.worst == 0
    watching.cancel()
    assert [(log["event"], log["log_level"], log["lag"]) for log in logs] == [
        ("worker.lagging", "warning", each) for each in lags
    ]
