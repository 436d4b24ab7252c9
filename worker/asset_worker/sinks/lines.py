"""Events as lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from asset_worker.domain.events import Stored

ToLines = Callable[[Sequence[Stored]], list[bytes]]
"""Returns events as one line each, with its newline."""


def lines_of(events: Sequence[Stored]) -> list[bytes]:
    """Return the events' bodies, each as one line, with its newline."""
    return [event.body + b"\n" for event in events]


def encode(events: Sequence[Stored]) -> bytes:
    """Return the events' bodies, each as one line."""
    return b"".join(lines_of(events))


def first_bytes(events: Sequence[Stored], limit: int) -> Sequence[Stored]:
    """Return the first events that have at most `limit` bytes together as lines, but at least one if there are any."""
    total = 0
    for index, event in enumerate(events):
        total += len(event.body) + 1
        if total > limit and index:
            return events[:index]
    return events
