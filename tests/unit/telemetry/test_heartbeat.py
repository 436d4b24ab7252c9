"""The line in the log every minute, and the one when the event loop was blocked."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from asset_worker.telemetry.heartbeat import log_heartbeat
from asset_worker.telemetry.problems import Problem, Reason
from asset_worker.telemetry.snapshot import Snapshot
from tests.doubles.snapshots import snapshot

pytestmark = pytest.mark.virtual_time


def busy(pending: int) -> Snapshot:
    return snapshot(
        pending=pending,
        due=2,
        oldest_pending_age=3.14159,
        looks=4,
        requests=5,
        refusals=6,
        retries=7,
        completions={"ready": 8, "rejected": 9},
        completions_from_lists=1,
        proven_list_shapes=2,
        list_disagreements=3,
        outbox_depth=10,
        dead_letters=11,
        problems=(
            Problem(Reason.SINK_FAILING, "a sink fails"),
            Problem(Reason.KEY_REFUSED, "the API refuses the key", 100.0, "401"),
        ),
    )


async def test_the_state_of_the_worker_is_logged_every_minute():
    read = iter(range(11, 99))
    with capture_logs() as logs:
        heartbeat = asyncio.ensure_future(log_heartbeat(lambda: busy(next(read))))
        await asyncio.sleep(59)
        assert logs == []
        await asyncio.sleep(2)
        assert logs == [
            {
                "event": "worker.heartbeat",
                "log_level": "warning",
                "pending": 11,
                "due": 2,
                "oldest_pending_age": 3.1,
                "looks": 4,
                "requests": 5,
                "refusals": 6,
                "retries": 7,
                "completions": {"ready": 8, "rejected": 9},
                "completions_from_lists": 1,
                "proven_list_shapes": 2,
                "list_disagreements": 3,
                "outbox_depth": 10,
                "dead_letters": 11,
                "problems": [
                    {
                        "reason": "sink_failing",
                        "problem": "a sink fails",
                        "runbook": "docs/runbook.md#sink_failing",
                    },
                    {
                        "reason": "key_refused",
                        "problem": "the API refuses the key",
                        "since": "1970-01-01T00:01:40.000Z",
                        "last_error": "401",
                        "runbook": "docs/runbook.md#key_refused",
                    },
                ],
            }
        ]
        await asyncio.sleep(120)
    heartbeat.cancel()
    assert [log["pending"] for log in logs] == [11, 12, 13]


async def test_without_a_problem_it_is_no_warning():
    with capture_logs() as logs:
        heartbeat = asyncio.ensure_future(log_heartbeat(snapshot))
        await asyncio.sleep(61)
    heartbeat.cancel()
    assert [(log["log_level"], log["problems"]) for log in logs] == [("info", [])]
