"""The panels of the dashboard, row by row: what each shows, and how to read it. `generate.py` makes the dashboard."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

GREEN, ORANGE, RED = "green", "orange", "red"


@dataclass(frozen=True)
class Panel:
    """A panel: a title, how to read it, and queries, each with the legend of its series."""

    title: str
    description: str
    unit: str
    """One of Grafana's units: `s`, `short`, `bytes` …"""
    queries: dict[str, str]
    """PromQL, by legend. OURS stands for what selects the workers."""
    kind: str = "timeseries"
    width: int = 8
    height: int = 8
    limits: dict[float, str] = field(default_factory=dict)
    """From which value on which colour counts, above green."""
    texts: dict[int, tuple[str, str]] = field(default_factory=dict)
    """Text and colour to show instead of a value."""
    is_stacked: bool = False
    shows_name: bool = False
    """A single value: the legend is shown, instead of the value."""


def quantiles(metric: str, *, by: str = "", over: str = "$__rate_interval") -> dict[str, str]:
    """Return queries for the median and the 95th percentile of a histogram, for each value of the label `by`."""
    labels, legend = (f"le, {by}", f" {{{{{by}}}}}") if by else ("le", "")
    return {
        f"{name}{legend}": f"histogram_quantile({share}, sum by ({labels}) (rate({metric}_bucket{{OURS}}[{over}])))"
        for name, share in (("median", 0.5), ("95 %", 0.95))
    }


def rates(metric: str, *, by: str, legend: str, per_minute: bool = False) -> dict[str, str]:
    """Return a query for how fast a counter grows, in a second or a minute."""
    query = f"sum by ({by}) (rate({metric}{{OURS}}[$__rate_interval]))"
    return {legend: f"{query} * 60" if per_minute else query}


def of_each(metric: str, legend: str = "{{instance}}") -> dict[str, str]:
    """Return a query for the values of a gauge."""
    return {legend: f"{metric}{{OURS}}"}


ROWS: Final[dict[str, list[Panel]]] = {
    "Is it well": [
        Panel(
            "Ready",
            "Red: something keeps the worker from working, and a problem says what. "
            "docs/runbook.md#assetworkerproblem says what to do.",
            "short",
            of_each("asset_worker_ready"),
            "stat",
            width=6,
            height=5,
            texts={0: ("not ready", RED), 1: ("ready", GREEN)},
        ),
        Panel(
            "Up for",
            "Time since the process started. Often near 0: docs/runbook.md#assetworkerrestarting.",
            "s",
            {"{{instance}}": "time() - process_start_time_seconds{OURS}"},
            "stat",
            width=6,
            height=5,
        ),
        Panel(
            "Dead letters",
            "Events that a webhook accepted in no attempt, and that are kept: docs/runbook.md#assetworkerdeadletters. "
            "Superseded steps count, too; they are not sent again.",
            "short",
            of_each("asset_worker_sink_dead_letters", "{{sink}}"),
            "stat",
            width=6,
            height=5,
            limits={1: ORANGE},
        ),
        Panel(
            "Version",
            "Of asset-worker and of Python. Several while a deployment is under way.",
            "short",
            {"{{version}} on Python {{python}}": "count by (version, python) (asset_worker_build_info{OURS})"},
            "stat",
            width=6,
            height=5,
            shows_name=True,
        ),
        Panel(
            "Problems",
            "What the workers report, by reason, while it lasts. Each reason is a section of docs/runbook.md. "
            "Empty: there was none.",
            "short",
            {"{{reason}} ({{instance}})": "max by (reason, instance) (asset_worker_problem{OURS}) == 1"},
            "state-timeline",
            width=12,
            texts={1: ("problem", RED)},
        ),
        Panel(
            "Alerts",
            "Those of deploy/alerts.yaml that fire, of all workers. Each is a section of docs/runbook.md.",
            "short",
            {
                "{{alertname}} ({{severity}}) {{instance}}": "max by (alertname, severity, instance) "
                '(ALERTS{alertname=~"AssetWorker.+", alertstate="firing"})'
            },
            "state-timeline",
            width=12,
            texts={1: ("fires", RED)},
        ),
    ],
    "Assets": [
        Panel(
            "Pending, by what they wait for",
            "Accepted and not settled. `answer`: the last look got none; `visibility`: the API does not know them yet. "
            "An asset that waits for several renditions counts for each.",
            "short",
            {"{{waiting_on}}": "sum by (waiting_on) (asset_worker_waiting_assets{OURS})"},
            is_stacked=True,
        ),
        Panel(
            "Oldest pending",
            "Age of the asset that has been pending longest. Above poll.deadline (4 h): "
            "docs/runbook.md#assetworkerpastdeadline.",
            "s",
            of_each("asset_worker_oldest_pending_age_seconds"),
            limits={14_400: RED},
        ),
        Panel(
            "Completions a minute, by outcome",
            "Assets that ended, and rejected lines. Many `failed` or `timed_out`: their events say why.",
            "cpm",
            rates("asset_worker_completions_total", by="outcome", legend="{{outcome}}", per_minute=True),
            is_stacked=True,
        ),
        Panel(
            "Detection lag",
            "By how much at most ends were noticed late, over half an hour. Above a minute: "
            "docs/runbook.md#assetworkerslowdetection.",
            "s",
            quantiles("asset_worker_detection_lag_seconds", over="30m"),
            limits={60: ORANGE},
        ),
        Panel(
            "Time to ready, by step",
            "How long assets take, from acceptance to ready, and renditions from there, over half an hour. "
            "This is the API's own time.",
            "s",
            quantiles("asset_worker_asset_duration_seconds", by="step", over="30m"),
        ),
        Panel(
            "Submissions a minute",
            "By input and result. `repeat`: pending already, or completed lately. `rejected`: "
            "docs/runbook.md#assetworkerrejectedlines.",
            "cpm",
            rates(
                "asset_worker_intake_lines_total",
                by="source, result",
                legend="{{source}} {{result}}",
                per_minute=True,
            ),
            is_stacked=True,
        ),
    ],
    "API": [
        Panel(
            "Requests, by endpoint and status",
            "`none`: no answer came. A retry is a request. Nothing but 401, 403, 5xx or `none`: see Problems.",
            "reqps",
            rates("asset_worker_api_requests_total", by="endpoint, status", legend="{{endpoint}} {{status}}"),
            is_stacked=True,
        ),
        Panel(
            "429s and retries",
            "Requests refused with 429, and attempts that repeated a failed request. 429s that go on: "
            "docs/runbook.md#rate_limited.",
            "reqps",
            {
                "429": "sum(rate(asset_worker_rate_limited_total{OURS}[$__rate_interval]))",
                "retries": "sum(rate(asset_worker_retries_total{OURS}[$__rate_interval]))",
            },
        ),
        Panel(
            "Latency, by endpoint",
            "From sending a request to the end of its answer, without the wait for a limit.",
            "s",
            quantiles("asset_worker_api_request_duration_seconds", by="endpoint"),
        ),
        Panel(
            "Quota left",
            "Requests that are left in the present window, and the limit. Near 0 while Requests is low: others use it "
            "(docs/runbook.md#rate_limited).",
            "short",
            {
                "{{quota}} left ({{instance}})": "asset_worker_quota_remaining_requests{OURS}",
                "{{quota}} limit ({{instance}})": "asset_worker_quota_limit_requests{OURS}",
            },
        ),
        Panel(
            "Looks, by kind",
            "Looks at assets. `list`: one request about up to fifty; `retrieve`: one about one asset. Few from lists: "
            "`api.list_doubted` in the log says why.",
            "ops",
            rates("asset_worker_looks_by_kind_total", by="kind", legend="{{kind}}"),
            is_stacked=True,
        ),
        Panel(
            "Backlog",
            "`factor` above 1: more looks are due than requests may be sent, so delays are stretched by that much. "
            "`due` is counted up to 1000.",
            "short",
            {
                "factor ({{instance}})": "asset_worker_backlog_factor{OURS}",
                "due ({{instance}})": "asset_worker_due_assets{OURS}",
            },
        ),
    ],
    "Delivery": [
        Panel(
            "Events to send, by sink",
            "Events that a sink lacks, those that wait for a retry as well. Growing: it fails, or is too slow.",
            "short",
            of_each("asset_worker_sink_backlog_events", "{{sink}} ({{instance}})"),
        ),
        Panel(
            "Oldest event, by sink",
            "Age of the oldest event that a sink lacks. Above a quarter of an hour: "
            "docs/runbook.md#assetworkersinkbehind.",
            "s",
            of_each("asset_worker_sink_oldest_event_age_seconds", "{{sink}} ({{instance}})"),
            limits={900: ORANGE},
        ),
        Panel(
            "Deliveries a minute, by result",
            "`delivered` and `dead_letter` count events, `failed` counts attempts. `superseded`: steps that gave way "
            "to their completion.",
            "cpm",
            rates("asset_worker_deliveries_total", by="sink, result", legend="{{sink}} {{result}}", per_minute=True),
        ),
        Panel(
            "Dead letters, by sink",
            "Those that are kept. They go when they are sent again or dropped, or after events.dead_letter_retention.",
            "short",
            of_each("asset_worker_sink_dead_letters", "{{sink}} ({{instance}})"),
        ),
        Panel(
            "Time of a delivery, by sink",
            "How long attempts take, failed ones included. A receiver should answer first, and work later.",
            "s",
            quantiles("asset_worker_delivery_duration_seconds", by="sink"),
        ),
        Panel(
            "Time of a commit",
            "How long the disk of the state directory takes, or the database of a fleet. Above a second: "
            "docs/runbook.md#assetworkerslowjournal.",
            "s",
            quantiles("asset_worker_journal_commit_duration_seconds"),
            limits={1: ORANGE},
        ),
    ],
    "Fleet": [
        Panel(
            "Workers, as each sees them",
            "Those whose lease is valid. All show the same number, unless one is cut off: "
            "docs/runbook.md#assetworkerdatabaseaway. Empty: no worker has queue.engine = postgres.",
            "short",
            of_each("asset_worker_fleet_workers"),
            width=6,
        ),
        Panel(
            "Portion of the quota",
            "Of what the fleet may send, by worker: that of the assets that it owns. They add up to 1 at most.",
            "short",
            of_each("asset_worker_fleet_portion"),
            width=6,
            is_stacked=True,
        ),
        Panel(
            "Assets that nobody owns",
            "As the workers see them, counted up to 50,000, and for how many seconds there have been some. For more "
            "than two minutes: docs/runbook.md#assetworkerunowned.",
            "short",
            {
                "assets": "max(asset_worker_fleet_unowned_assets{OURS})",
                "seconds": "max(asset_worker_fleet_unowned_age_seconds{OURS})",
            },
            width=6,
        ),
        Panel(
            "Leases lost in an hour",
            "How often the database did not hear of a worker in time. More than two: "
            "docs/runbook.md#assetworkerleaseslost.",
            "short",
            {"{{instance}}": "increase(asset_worker_fleet_leases_lost_total{OURS}[1h])"},
            width=6,
            limits={3: ORANGE},
        ),
    ],
    "Process": [
        Panel(
            "Event loop held up",
            "The longest time of the last minute: everything was late by that much. Above a second: "
            "docs/runbook.md#assetworkerblocked.",
            "s",
            of_each("asset_worker_event_loop_lag_seconds"),
            width=6,
            limits={1: ORANGE},
        ),
        Panel(
            "Processor",
            "Cores in use. The worker uses one at most, and little of it.",
            "short",
            {"{{instance}}": "rate(process_cpu_seconds_total{OURS}[$__rate_interval])"},
            width=6,
        ),
        Panel(
            "Memory",
            "Resident. A million pending assets take about half a gigabyte.",
            "bytes",
            of_each("process_resident_memory_bytes"),
            width=6,
        ),
        Panel(
            "File descriptors",
            "Open, and the limit. The admin port takes some for each client.",
            "short",
            {
                "open ({{instance}})": "process_open_fds{OURS}",
                "limit ({{instance}})": "process_max_fds{OURS}",
            },
            width=6,
        ),
    ],
}
