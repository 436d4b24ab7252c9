"""The metrics are a contract: names, help texts, types and labels."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

from prometheus_client import CollectorRegistry, generate_latest

from asset_worker.runtime.measures import Histogram
from asset_worker.telemetry.metrics import LONGEST_LABEL, SnapshotCollector
from asset_worker.telemetry.problems import Reason
from asset_worker.telemetry.snapshot import DECLARATIONS, Snapshot, take_snapshot
from tests.doubles.snapshots import NOTHING, snapshot
from tests.unit.telemetry.test_snapshot import QUEUE, SHARED_QUEUE, sources

EXPECTED = """\
# HELP asset_worker_pending_assets Assets accepted and not settled.
# TYPE asset_worker_pending_assets gauge
asset_worker_pending_assets 1.0
# HELP asset_worker_due_assets Pending assets that are due and not looked at yet (at most 1000, counted once a second).
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


FAMILIES = """\
asset_worker_waiting_assets gauge waiting_on
asset_worker_detection_lag_seconds histogram
asset_worker_backlog_factor gauge
asset_worker_lists_in_use gauge
asset_worker_requests_in_flight gauge
asset_worker_quota_limit_requests gauge quota
asset_worker_quota_remaining_requests gauge quota
asset_worker_quota_reset_seconds gauge quota
asset_worker_sink_backlog_events gauge sink
asset_worker_sink_oldest_event_age_seconds gauge sink
asset_worker_sink_dead_letters gauge sink
asset_worker_problem gauge reason
asset_worker_event_loop_lag_seconds gauge
asset_worker_looks_by_kind_total counter kind
asset_worker_settlements_total counter evidence
asset_worker_asset_duration_seconds histogram step,class
asset_worker_intake_lines_total counter source,result
asset_worker_api_requests_total counter endpoint,status
asset_worker_api_request_duration_seconds histogram endpoint,status
asset_worker_deliveries_total counter sink,result
asset_worker_delivery_duration_seconds histogram sink
asset_worker_journal_commits_total counter
asset_worker_journal_commit_duration_seconds histogram
asset_worker_last_success_timestamp_seconds gauge part
asset_worker_build_info gauge version,python
asset_worker_fleet_workers gauge
asset_worker_fleet_portion gauge
asset_worker_fleet_unowned_assets gauge
asset_worker_fleet_unowned_age_seconds gauge
asset_worker_fleet_leases_lost_total counter
"""
"""The other families, with their labels: renaming one breaks dashboards and alerts, too."""


def exported(now: Snapshot, redact: Callable[[str], str] = str) -> str:
    registry = CollectorRegistry()
    registry.register(SnapshotCollector(lambda: now, redact=redact))
    return generate_latest(registry).decode()


def test_the_first_metrics_stay_as_they_are():
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
    lines = exported(now).splitlines()
    assert [line for line in EXPECTED.splitlines() if line not in lines] == []


def test_every_family_is_a_public_promise():
    known = {line.split()[2] for line in EXPECTED.splitlines() if line.startswith("# TYPE")}
    found = {
        f"{each.metric_name} {each.kind} {','.join(each.labels)}".rstrip()
        for each in DECLARATIONS.values()
        if each.metric_name not in {None, *known}
    }
    assert found == set(FAMILIES.splitlines())


def test_a_family_without_a_sample_is_announced():
    text = exported(NOTHING)
    missing = [each.metric_name for each in DECLARATIONS.values() if f"# TYPE {each.metric_name or ''}" not in text]
    assert missing == []
    assert "asset_worker_sink_backlog_events{" not in text


def test_the_metrics_of_a_fleet_have_values_in_a_fleet_only():
    shown = exported(take_snapshot(sources(queue=SHARED_QUEUE))).splitlines()
    assert [line for line in shown if line.startswith("asset_worker_fleet")] == [
        "asset_worker_fleet_workers 3.0",
        "asset_worker_fleet_portion 0.25",
        "asset_worker_fleet_unowned_assets 7.0",
        "asset_worker_fleet_unowned_age_seconds 1.5",
        "asset_worker_fleet_leases_lost_total 2.0",
    ]
    assert "\nasset_worker_fleet" not in exported(take_snapshot(sources()))


def test_buckets_are_cumulative_and_end_in_infinity():
    lag = Histogram[tuple[()]]([0.5, 1])
    for value in (0.25, 0.5, 0.75, 8):
        lag.observe((), value)
    lines = exported(snapshot(detection_lags=lag.read())).splitlines()
    assert [line for line in lines if line.startswith("asset_worker_detection_lag")] == [
        'asset_worker_detection_lag_seconds_bucket{le="0.5"} 2.0',
        'asset_worker_detection_lag_seconds_bucket{le="1.0"} 3.0',
        'asset_worker_detection_lag_seconds_bucket{le="+Inf"} 4.0',
        "asset_worker_detection_lag_seconds_count 4.0",
        "asset_worker_detection_lag_seconds_sum 9.5",
    ]


def test_every_reason_is_shown_with_0_or_1():
    now = take_snapshot(
        sources(queue=SimpleNamespace(**(vars(QUEUE) | {"failure": SimpleNamespace(error="full", since=1.0)})))
    )
    shown = [line for line in exported(now).splitlines() if line.startswith("asset_worker_problem{")]
    assert shown == [
        f'asset_worker_problem{{reason="{each.value}"}} {float(each is Reason.JOURNAL_FAILING)}' for each in Reason
    ]


def test_labels_hold_no_secret_and_break_no_line():
    names = ['file:/SECRET/\n"\\x', "file:/\udcff", "hook", "x" * 5_000]
    text = exported(snapshot(sink_backlogs=dict.fromkeys(names, 1)), redact=lambda each: each.replace("SECRET", "***"))
    shown = [line for line in text.splitlines() if line.startswith("asset_worker_sink_backlog_events{")]
    cut = "x" * (LONGEST_LABEL - 1) + "…"
    assert shown == [
        r'asset_worker_sink_backlog_events{sink="file:/***/\n\"\\x"} 1.0',
        r'asset_worker_sink_backlog_events{sink="file:/\\udcff"} 1.0',
        'asset_worker_sink_backlog_events{sink="hook"} 1.0',
        f'asset_worker_sink_backlog_events{{sink="{cut}"}} 1.0',
    ]
