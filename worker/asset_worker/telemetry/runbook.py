"""Which log lines tell of a problem, and so name its section in the runbook."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from asset_worker.telemetry.problems import SINK_REASONS, Reason

SINK_FAILED: Final = "sink.failed"
"""Its field `trouble` says which of `SINK_REASONS` it is."""
REASONS: Final[Mapping[str, Reason]] = {
    "api.key_refused": Reason.KEY_REFUSED,
    "api.unavailable": Reason.API_UNAVAILABLE,
    "api.proxy_or_key": Reason.PROXY_OR_KEY,
    "api.rate_limited": Reason.RATE_LIMITED,
    "intake.unreadable": Reason.INPUT_UNREADABLE,
    "intake.failed": Reason.INPUT_UNREADABLE,
    "account.unreadable": Reason.INPUT_UNREADABLE,
    "intake.rejected": Reason.INPUT_REJECTED,
    "intake.waiting": Reason.INPUTS_WAITING,
    "journal.failed": Reason.JOURNAL_FAILING,
    "database.failed": Reason.DATABASE_FAILING,
    "fleet.lease_lost": Reason.LEASE_LOST,
    "sink.paused": Reason.SINK_PAUSED,
}
"""The problem that a log event tells of."""
EVENTS_WITH_SECTION: Final = frozenset({*REASONS, SINK_FAILED})


def reason_of(event: Mapping[str, Any]) -> Reason | None:
    """Return the problem that a log line tells of; None: it tells of none."""
    name = event["event"]
    return SINK_REASONS.get(event["trouble"]) if name == SINK_FAILED else REASONS.get(name)
