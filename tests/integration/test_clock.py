"""The real command on clocks that are wrong, are set, or stand still: no false outcome, and no submission swallowed."""

from __future__ import annotations

import json
import math
import shutil
import signal
import subprocess
import time
from collections import Counter
from datetime import datetime

import pytest

from asset_worker.simulator.lifecycles import Lifecycle
from tests.integration.holding import change
from tests.integration.processes import eventually

HOURS = 3600.0
FAILPOINTS = "tests.integration.failpoints"


async def looked_at_again(simulator, asset_id, run):
    before = Counter(simulator.stats.looks)[asset_id]
    await eventually(lambda: simulator.stats.looks[asset_id] >= before + 3, otherwise=lambda: run.stderr)


def instant(event, name):
    return datetime.fromisoformat(event["data"][name]).timestamp()


async def test_a_clock_that_was_five_hours_behind_and_is_corrected_makes_no_false_outcome(serve, worker):
    """With the default deadline of four hours. Here, the machine's own clock is the one that is behind."""
    simulator, corrected = await serve(), worker.folder / "corrected"
    asset = simulator.store.add(Lifecycle(math.inf))
    worker.submit(asset)
    program = (FAILPOINTS, f"clock:{5 * HOURS}:{corrected}")
    run = worker.run(base_url=simulator.base_url, program=program)
    await looked_at_again(simulator, asset, run)
    corrected.touch()
    assert (await run.until("clock.stepped"))["seconds"] == pytest.approx(5 * HOURS, abs=1)
    await looked_at_again(simulator, asset, run)
    run.send(signal.SIGTERM)
    assert await run.end() == 0

    run = worker.run("--once", base_url=simulator.base_url, program=program)
    await looked_at_again(simulator, asset, run)
    status = worker.start("status", "--state-dir", worker.state, "--json", program=program)
    assert await status.end() == 0
    report = json.loads(status.stdout)
    assert report["pending_count"] == 1
    assert 0 < report["oldest_age"] < 600
    change(simulator, asset)
    assert await run.end() == 0, run.stderr
    [event] = worker.events()
    assert event["data"]["outcome"] == "ready"
    now = time.time() + 5 * HOURS
    assert now - 60 < instant(event, "completed_at") < now + 1
    submitted, waiting, ready = (instant(event, name) for name in ("submitted_at", "last_seen_waiting_at", "ready_at"))
    assert now - 600 < submitted <= waiting <= ready <= instant(event, "completed_at")
    assert run.logs("asset.completed")[0]["elapsed"] < 600


async def test_a_clock_that_was_a_year_ahead_swallows_no_later_submission(serve, worker):
    simulator = await serve()
    asset = simulator.store.add(Lifecycle())
    window = {"QUEUE__DEDUPE_WINDOW": "0.5"}
    worker.submit(asset)
    ahead = worker.run("--once", base_url=simulator.base_url, program=(FAILPOINTS, f"clock:{8760 * HOURS}:"), **window)
    assert await ahead.end() == 0, ahead.stderr
    time.sleep(0.5)  # noqa: ASYNC251 - the window passes
    worker.submit(asset)
    run = worker.run("--once", base_url=simulator.base_url, **window)
    assert await run.end() == 0, run.stderr
    assert [event["id"] for event in worker.events()] == [f"{asset}.1", f"{asset}.2"]


async def test_hours_in_suspend_count_toward_the_deadline(serve, worker):
    simulator, suspended = await serve(), worker.folder / "suspended"
    asset = simulator.store.add(Lifecycle(math.inf))
    worker.submit(asset)
    run = worker.run("--once", base_url=simulator.base_url, program=(FAILPOINTS, f"suspend:{5 * HOURS}:{suspended}"))
    await looked_at_again(simulator, asset, run)
    assert worker.events() == []
    suspended.touch()
    assert await run.end() == 4, run.stderr
    [event] = worker.events()
    assert event["data"]["outcome"] == "timed_out"
    assert run.logs("asset.completed")[0]["elapsed"] == pytest.approx(5 * HOURS, abs=600)
    assert not run.logs("clock.stepped")


def may_unshare() -> bool:
    """Whether a process may have a time namespace of its own: Linux, and as root."""
    unshare = shutil.which("unshare")
    return (
        unshare is not None and not subprocess.run([unshare, "-T", "true"], check=False, capture_output=True).returncode
    )


@pytest.mark.skipif(not may_unshare(), reason="no time namespaces, or not permitted")
@pytest.mark.parametrize("offset", ["36000", "-1000"])
async def test_a_container_with_another_time_since_boot_makes_no_false_outcome(serve, worker, offset):
    """As a container runtime may set it for each start; the boot's ID is that of the machine."""
    simulator = await serve()
    asset = simulator.store.add(Lifecycle(math.inf))
    worker.submit(asset)
    run = worker.run(base_url=simulator.base_url)
    await looked_at_again(simulator, asset, run)
    run.send(signal.SIGTERM)
    assert await run.end() == 0
    unshared = f'set -- unshare -T --boottime {offset} "$@";'
    run = worker.run("--once", base_url=simulator.base_url, before=unshared)
    await looked_at_again(simulator, asset, run)
    change(simulator, asset)
    assert await run.end() == 0, run.stderr
    [event] = worker.events()
    assert event["data"]["outcome"] == "ready"
    assert 0 < run.logs("asset.completed")[0]["elapsed"] < 600
