"""What a scrape costs: it visits no pending assets but a few of those that are due."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from asset_worker.domain.assets import AssetId
from asset_worker.domain.submissions import Submission
from asset_worker.queue.local.engine import LocalQueue
from asset_worker.queue.memory import MemoryQueue
from asset_worker.telemetry.metrics import SnapshotCollector
from asset_worker.telemetry.snapshot import take_snapshot
from tests.doubles.clocks import ManualClock
from tests.unit.telemetry.test_snapshot import sources

MANY = 20_000


class Unvisited(dict[AssetId, Any]):
    """Finds single assets, and fails for whoever visits them all."""

    looked_up = 0

    def get(self, *key):
        self.looked_up += 1
        return super().get(*key)

    def _fail(self):
        raise AssertionError("somebody visits every pending asset")

    __iter__ = items = values = keys = _fail


async def test_a_scrape_visits_a_few_of_what_is_due():
    clock = ManualClock()
    queue = MemoryQueue(clock, sinks=["stdout"], dedupe_window=60.0, max_pending=10**6)
    await queue.put(
        [Submission(f"{each:024x}", "stdin", 1) for each in range(MANY)], events=[], intake="i", position=None
    )
    pending = queue._pending = Unvisited(queue._pending)
    registry = CollectorRegistry()
    registry.register(SnapshotCollector(lambda: take_snapshot(sources(queue=queue))))
    text = generate_latest(registry).decode()
    assert f"asset_worker_pending_assets {float(MANY)}" in text
    assert f'asset_worker_waiting_assets{{waiting_on="first look"}} {float(MANY)}' in text
    assert "asset_worker_due_assets 1000.0" in text
    assert pending.looked_up < 3_000
    for _ in range(10):
        generate_latest(registry)
    assert pending.looked_up < 3_000, "a moment later, it is not counted again"


def test_both_engines_are_read_in_the_same_way():
    """What a scrape reads is that of their common base, or was measured at a change."""
    for name in ("pending_count", "recent_due_count", "oldest_age", "waiting_on"):
        assert getattr(LocalQueue, name) is getattr(MemoryQueue, name)
