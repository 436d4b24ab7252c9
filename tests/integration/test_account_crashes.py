"""A crash at durable steps of reading an account from its beginning: no asset is lost, none comes twice."""

from __future__ import annotations

import json
import signal
from collections import Counter

import pytest

from asset_worker.simulator.lifecycles import Lifecycle

POINTS = [
    "position:after:1",  # when following begins
    "position:after:4",  # the pages of the backfill
    "accept:after:5",
    "position:after:6",
    "commit:after:9",
]
COUNT = 180


@pytest.mark.parametrize("point", POINTS)
async def test_a_crash_at_any_step_loses_and_repeats_nothing(serve, worker, point):
    simulator = await serve()
    ids = [simulator.store.add(Lifecycle(), age=5000.0 - number // 2) for number in range(COUNT)]
    options = {"base_url": simulator.base_url, "ACCOUNT__SINCE": "all", "LIMITS__REQUESTS_PER_SECOND": "0"}
    arguments = ("run", "--account", "--once", "--state-dir", worker.state, "--events", worker.events_file)
    crashing = worker.start(*arguments, program=("tests.integration.failpoints", point), **options)
    assert await crashing.end() == -signal.SIGKILL, crashing.stderr
    ids += [simulator.store.add(Lifecycle()) for _ in range(3)]
    again = worker.start(*arguments, **options)
    assert await again.end() == 0, again.stderr
    found = Counter(json.loads(line)["subject"] for line in worker.events_file.read_bytes().splitlines())
    assert found == Counter(ids)
