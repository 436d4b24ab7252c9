"""What the worker tells of itself: logs, a heartbeat, metrics, health.

Nothing here decides anything, and no part imports it but the service, which hands it functions to read.
"""

from __future__ import annotations

import msgspec


class AdminAddressError(Exception):
    """The admin endpoints can't be served there. The text tells the operator what to do."""


class Snapshot(msgspec.Struct, frozen=True):
    """The worker at one instant. Counts are since the start; ages are seconds."""

    pending: int
    due: int
    oldest_pending_age: float
    looks: int
    requests: int
    refusals: int
    retries: int
    """Attempts of a request made again."""
    completions: dict[str, int]
    """By outcome."""
    outbox_depth: int
    problems: tuple[str, ...] = ()
    """What keeps the worker from its job just now; none: it is ready."""
