"""The metrics are a contract: names, help texts, types and labels."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from asset_worker.telemetry.metrics import SnapshotCollector
from tests.doubles.snapshots import snapshot

EXPECTED = """\
# HELP asset_worker_pending_assets Assets accepted and not settled.
# TYPE asset_worker_pending_assets gauge
asset_worker_pending_assets 1.0
# HELP asset_worker_due_assets Pending assets that are due and not looked at yet (at most 1000 are counted).
# TYPE asset_worker_due_assets gauge
asset_worker_due_assets 2.0
# HELP asset_worker_oldest_pending_age_seconds Age of the asset that has been pending longest.
# TYPE asset_worker_oldest_pending_age_seconds gauge
asset_worker_oldest_pending_age_seconds 3.25
# HELP asset_worker_looks_total Looks made, including those without an answer.
# TYPE asset_worker_looks_total counter
asset_worker_looks_total 4.0
# HELP asset_worker_requests_total Requests sent to the assets API.
# TYPE asset_worker_requests_total counter
asset_worker_requests_total 5.0
# HELP asset_worker_rate_limited_total Requests refused with 429.
# TYPE asset_worker_rate_limited_total counter
asset_worker_rate_limited_total 6.0
# HELP asset_worker_retries_total Attempts that repeated a failed request.
# TYPE asset_worker_retries_total counter
asset_worker_retries_total 7.0
# HELP asset_worker_completions_total Assets settled.
# TYPE asset_worker_completions_total counter
asset_worker_completions_total{outcome="ready"} 8.0
asset_worker_completions_total{outcome="rejected"} 9.0
# HELP asset_worker_completions_from_lists_total Assets settled from what a list showed, without a retrieve.
# TYPE asset_worker_completions_from_lists_total counter
asset_worker_completions_from_lists_total 11.0
# HELP asset_worker_proven_list_shapes Shapes of documents in lists that are trusted now.
# TYPE asset_worker_proven_list_shapes gauge
asset_worker_proven_list_shapes 12.0
# HELP asset_worker_list_disagreements_total Retrieves that disagreed with a list that showed the asset done.
# TYPE asset_worker_list_disagreements_total counter
asset_worker_list_disagreements_total 13.0
# HELP asset_worker_outbox_events Events that the sink furthest behind still lacks, those that wait for a retry as well.
# TYPE asset_worker_outbox_events gauge
asset_worker_outbox_events 10.0
# HELP asset_worker_dead_letters Events that a webhook accepted in no attempt of its retry plan, and that are kept.
# TYPE asset_worker_dead_letters gauge
asset_worker_dead_letters 11.0
# HELP asset_worker_ready 1 while nothing keeps the worker from working, else 0.
# TYPE asset_worker_ready gauge
asset_worker_ready 1.0
"""


def test_every_metric_is_a_public_promise():
    registry = CollectorRegistry()
    now = snapshot(
        pending=1,
        due=2,
        oldest_pending_age=3.25,
        looks=4,
        requests=5,
        refusals=6,
        retries=7,
        completions={"ready": 8, "rejected": 9},
        completions_from_lists=11,
        proven_list_shapes=12,
        list_disagreements=13,
        outbox_depth=10,
        dead_letters=11,
    )
    registry.register(SnapshotCollector(lambda: now))
    assert generate_latest(registry).decode() == EXPECTED
