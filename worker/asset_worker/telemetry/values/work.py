"""What is pending, how it is looked at, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Final

from asset_worker.domain.assets import Outcome
from asset_worker.runtime.measures import Distribution
from asset_worker.telemetry.sources import Sources
from asset_worker.telemetry.values.declaring import counter, gauge, histogram

NO_LINES: Final[Mapping[tuple[str, str], int]] = dict.fromkeys(
    product(("file", "stdin", "account", "http", "inbox"), ("accepted", "repeat", "rejected")), 0
)
"""Shown from the start: `increase()` of Prometheus does not see the value with which a time series begins."""


def _completions(sources: Sources) -> Mapping[str, int]:
    # Lines that hold no submission never reach the poller.
    rejected = {Outcome.REJECTED.value: sources.lines.rejected} if sources.lines.rejected else {}
    return {**sources.poller.counts.completions, **rejected}


@dataclass(frozen=True, kw_only=True)
class Work:
    """Assets and looks at them."""

    pending: int = gauge(
        "pending_assets",
        "Assets accepted and not settled.",
        lambda sources: sources.queue.pending_count(),
        unit="assets",
        empty=int,
        in_heartbeat=True,
    )
    due: int = gauge(
        "due_assets",
        "Pending assets that are due and not looked at yet (at most 1000, counted once a second).",
        lambda sources: sources.queue.recent_due_count(),
        unit="assets",
        empty=int,
        in_heartbeat=True,
    )
    oldest_pending_age: float = gauge(
        "oldest_pending_age_seconds",
        "Age of the asset that has been pending longest.",
        lambda sources: sources.queue.oldest_age(),
        unit="seconds",
        empty=float,
        in_heartbeat=True,
    )
    waiting_on: Mapping[str, int] = gauge(
        "waiting_assets",
        "Pending assets by what they wait for: `asset` (its processing), renditions, `visibility` (the API doesn't "
        "know it yet), `answer` (the last look got none), `first look`. One that waits for several counts for each.",
        lambda sources: sources.queue.waiting_on(),
        unit="assets",
        empty=dict,
        labels=("waiting_on",),
    )
    looks: int = counter(
        "looks",
        "Looks made, including those without an answer.",
        lambda sources: sources.poller.looks,
        unit="looks",
        empty=int,
        in_heartbeat=True,
    )
    looks_by_kind: Mapping[str, int] = counter(
        "looks_by_kind",
        "Looks by how they were made: `list` (a request about several assets, or a page of the account), `retrieve`, "
        "or `none` (no request could be sent before the asset's deadline). A retrieve that confirms a list is a look.",
        lambda sources: sources.poller.counts.looks,
        unit="looks",
        empty=dict,
        labels=("kind",),
    )
    settlements: Mapping[str, int] = counter(
        "settlements",
        "Assets settled by what showed their end: `list`, `retrieve`, or `none` (a deadline passed without an answer).",
        lambda sources: sources.poller.counts.settlements,
        unit="assets",
        empty=dict,
        labels=("evidence",),
    )
    completions: Mapping[str, int] = counter(
        "completions",
        "Assets settled.",
        _completions,
        unit="assets",
        empty=dict,
        labels=("outcome",),
        in_heartbeat=True,
    )
    completions_from_lists: int = counter(
        "completions_from_lists",
        "Assets settled from what a list showed, without a retrieve.",
        lambda sources: sources.poller.completions_from_lists,
        unit="assets",
        empty=int,
        in_heartbeat=True,
    )
    detection_lags: Mapping[tuple[()], Distribution] = histogram(
        "detection_lag_seconds",
        "From the last look that showed an asset waiting (`last_seen_waiting_at` of its event) to its completion: it "
        "ended at some time in between, so the API's end was noticed at most so much later. Completions without such "
        "a look are left out, and so are rejected lines.",
        lambda sources: sources.poller.counts.detection_lags.read(),
    )
    asset_durations: Mapping[tuple[str, str], Distribution] = histogram(
        "asset_duration_seconds",
        "How long steps take: the asset's processing, from its acceptance, and renditions, from `ready`, to the look "
        "that found them ended. By step, and by MIME type and upload method (`other`: those beyond the first 16). "
        "Left out is what had ended before the first look.",
        lambda sources: sources.poller.counts.durations.read(),
        labels=("step", "class"),
    )
    lines: Mapping[tuple[str, str], int] = counter(
        "intake_lines",
        "Lines and other submissions by source (`file`, `stdin`, `account`, `http`) and result: `accepted`, `repeat` "
        "(pending already, or completed lately) or `rejected`.",
        lambda sources: {**NO_LINES, **sources.lines.lines},
        unit="lines",
        empty=dict,
        labels=("source", "result"),
    )
    backlog_factor: float = gauge(
        "backlog_factor",
        "By how much the adaptive schedule stretches delays, because more looks are due than can be made; 1: it "
        "doesn't.",
        lambda sources: sources.poller.backlog_factor,
        unit="ratio",
        empty=lambda: 1.0,
    )
    lists_in_use: bool = gauge(
        "lists_in_use",
        "1 while looks share list requests; 0 while each is a retrieve: lists are switched off, refused, limited or "
        "doubted, or the API is unavailable.",
        lambda sources: sources.poller.lists_in_use,
        unit="0 or 1",
        empty=bool,
    )
    proven_list_shapes: int = gauge(
        "proven_list_shapes",
        "Shapes of documents in lists that are trusted now.",
        lambda sources: sources.poller.proven_list_shapes,
        unit="shapes",
        empty=int,
        in_heartbeat=True,
    )
    list_disagreements: int = counter(
        "list_disagreements",
        "Retrieves that disagreed with a list that showed the asset done.",
        lambda sources: sources.poller.list_disagreements,
        unit="retrieves",
        empty=int,
        in_heartbeat=True,
    )
