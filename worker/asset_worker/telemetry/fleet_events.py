"""The log events of a fleet, and of its database; see `events`."""

from __future__ import annotations

from typing import Final

from asset_worker.telemetry.log_event import LogEvent

FLEET_EVENTS: Final = (
    LogEvent(
        "database.failed",
        "error",
        "The fleet's database can't be used: it is away, restarts or is full, and is tried again every `retry_in` "
        "seconds; or it does not answer. Work that needs it waits, and no look begins once the lease is over.",
        ("error", "retry_in"),
    ),
    LogEvent("database.recovered", "info", "The fleet's database can be used again."),
    LogEvent(
        "fleet.lease_lost",
        "error",
        "The worker could not extend its lease in time, and looks at nothing until it can.",
        ("error",),
    ),
    LogEvent(
        "fleet.retired",
        "error",
        "The others have taken over what this worker owned, because it had not been heard of for a lease. It goes on "
        "under another id (`new_life`); what it was about to settle as `life` is settled by others.",
        ("life", "new_life"),
    ),
    LogEvent(
        "fleet.worker_died",
        "warning",
        "The worker `name` has not been heard of for a lease. What it owned is taken over.",
        ("name", "life"),
    ),
    LogEvent(
        "fleet.asset_moved",
        "info",
        "An asset that this worker owned is another's now: this one had found it in the account, and somebody has "
        "asked for it there.",
        ("asset_id",),
    ),
)
