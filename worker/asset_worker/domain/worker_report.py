"""What a worker reports about itself while it runs, for `status`, `doctor --local` and health checks.

The worker writes it to `status.json` in its state directory. The names of the fields are public.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from asset_worker.runtime.steady_time import Reading

State = Literal["running", "stopped", "died"]
"""`died`: the process ended without stopping in order, as by kill -9 or a power failure."""
SILENT_SECONDS: Final = 60.0
"""A worker reports at least every ten seconds. On an overloaded machine it may be late, but not by more than this."""


class ProblemReport(msgspec.Struct, frozen=True):
    """Something that is wrong, as the heartbeat shows it. Instants are RFC 3339, UTC; None: not known."""

    problem: str
    """One sentence."""
    since: str | None = None
    last_error: str | None = None
    next_try: str | None = None
    reason: str | None = None
    """Its kind: a value of `telemetry.problems.Reason`; None: an earlier version wrote it."""
    runbook: str | None = None
    """The section of the runbook about it; None: an earlier version wrote it."""


class SinkReport(msgspec.Struct, frozen=True):
    """The events that one sink lacks."""

    backlog: int
    """Events that it has not taken yet, those that wait for a retry included."""
    dead_letters: int
    """Events that it refused for good, and that are kept."""


class InputReport(msgspec.Struct, frozen=True):
    """How far an input was read. None: that can't be said of this input."""

    position: int | None = None
    """Bytes of the file that were read."""
    behind: int | None = None
    """Bytes that are there and were not read yet, in rotated files as well."""


class QuotaReport(msgspec.Struct, frozen=True):
    """A quota that the API reports."""

    name: str
    limit: int
    """Requests in each of its windows."""
    remaining: int
    """Requests that are left, as far as is known."""
    resets_in: float
    """Seconds until the next window."""


class WorkerReport(msgspec.Struct, frozen=True):
    """A worker, as it was when it wrote this. Instants are RFC 3339, UTC, by the wall clock of that moment."""

    state: State
    pid: int | None
    """The process; None: not known."""
    version: str | None = None
    """The version of asset-worker."""
    host: str | None = None
    unit: str | None = None
    """The systemd unit that it runs in; None: in none."""
    started_at: str | None = None
    updated_at: str | None = None
    """When this was written."""
    stopped_at: str | None = None
    """None: it has not stopped in order."""
    stop_reason: str | None = None
    pending: int | None = None
    problems: list[ProblemReport] = []
    sinks: dict[str, SinkReport] = {}
    intakes: dict[str, InputReport] = {}
    quotas: list[QuotaReport] = []
    reading: Reading | None = None
    """The machine's clocks at `updated_at`."""
    updated_ago: float | None = None
    """Seconds since `updated_at`, by clocks that nobody can set, when this was read; None: not known."""

    @property
    def is_silent(self) -> bool:
        """Whether the worker runs, but has not reported for so long that something is wrong."""
        return self.state == "running" and self.updated_ago is not None and self.updated_ago > SILENT_SECONDS
