"""Requests to the assets API, and the quotas that it reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from asset_worker.domain.worker_report import QuotaReport
from asset_worker.runtime.measures import Distribution
from asset_worker.telemetry.values.declaring import counter, gauge, histogram


@dataclass(frozen=True, kw_only=True)
class Requests:
    """Requests to the assets API."""

    requests: int = counter(
        "requests",
        "Requests sent to the assets API.",
        lambda sources: sources.gate.traffic.sent,
        unit="requests",
        empty=int,
        in_heartbeat=True,
    )
    requests_in_flight: int = gauge(
        "requests_in_flight",
        "Requests to the assets API that are being made now.",
        lambda sources: sources.gate.traffic.in_flight,
        unit="requests",
        empty=int,
    )
    requests_ended: Mapping[tuple[str, str], int] = counter(
        "api_requests",
        "Requests to the assets API that have ended, by endpoint and HTTP status; `none`: no answer came, or the "
        "worker did not wait for it. A retry is a request.",
        lambda sources: sources.gate.traffic.ended,
        unit="requests",
        empty=dict,
        labels=("endpoint", "status"),
    )
    request_durations: Mapping[tuple[str, str], Distribution] = histogram(
        "api_request_duration_seconds",
        "From sending a request to the assets API to the end of the answer's body, without the wait for a limit, by "
        "endpoint and class of the status; `none`: no answer came, or the worker did not wait for it.",
        lambda sources: sources.gate.traffic.durations.read(),
        labels=("endpoint", "status"),
    )
    refusals: int = counter(
        "rate_limited",
        "Requests refused with 429.",
        lambda sources: sources.gate.traffic.refused,
        unit="requests",
        empty=int,
        in_heartbeat=True,
    )
    retries: int = counter(
        "retries",
        "Attempts that repeated a failed request.",
        lambda sources: sources.retries.count,
        unit="attempts",
        empty=int,
        in_heartbeat=True,
    )
    quotas: Sequence[QuotaReport] = gauge(
        None,
        "The quotas that the API reports.",
        lambda sources: sources.gate.quotas,
        unit="objects",
        empty=tuple,
    )
    quota_limits: Mapping[str, int] = gauge(
        "quota_limit_requests",
        "Requests in each window of a quota that the API reports.",
        lambda sources: {each.name: each.limit for each in sources.gate.quotas},
        unit="requests",
        empty=dict,
        labels=("quota",),
    )
    quota_remaining: Mapping[str, int] = gauge(
        "quota_remaining_requests",
        "Requests that are left in the present window of a quota, as far as is known. Others may use it, too.",
        lambda sources: {each.name: each.remaining for each in sources.gate.quotas},
        unit="requests",
        empty=dict,
        labels=("quota",),
    )
    quota_resets: Mapping[str, float] = gauge(
        "quota_reset_seconds",
        "Time to the next window of a quota.",
        lambda sources: {each.name: each.resets_in for each in sources.gate.quotas},
        unit="seconds",
        empty=dict,
        labels=("quota",),
    )
