"""What is known of deliveries to independent sinks: values that the outbox keeps and the deliveries use.

An *independent* sink (a webhook) takes or refuses each event by itself, and one that fails is tried again later. All
instants are in steady time (`runtime.steady_time`).
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from asset_worker.domain.events import Stored

LONGEST_RETRY_DELAY: Final = 31 * 86_400
"""The longest delay that a retry plan may have, in seconds. A longer one is a mistake."""


class Owed(msgspec.Struct, frozen=True):
    """An event that an independent sink has not accepted yet, with its record."""

    event: Stored
    asset_id: str | None
    """The asset that it is about; None: a rejected line."""
    attempts: int
    """The attempts that count, made so far."""
    first_at: float | None
    """When the first of them failed; None: there was none."""
    next_at: float
    """When the next attempt is due."""
    is_transition: bool = False
    """Whether it reports a step, so that it must not hold up the completion of its asset."""


class Taken(msgspec.Struct, frozen=True):
    """The result of `IndependentOutbox.take`."""

    events: list[Owed]
    next_at: float | None
    """When the next event is due of those that have a record and were not due, those left out aside; None: there is
    none. The event may then still have to wait for an earlier one of its asset."""
    superseded: tuple[str, ...] = ()
    """The IDs of the transitions that became dead letters, because they held up a completion."""
    holding_up: tuple[int, ...] = ()
    """The positions, of those left out, of transitions whose completion has a record, and has to wait for them."""


class SinkProblem(msgspec.Struct, frozen=True):
    """What is wrong with a sink, for people."""

    trouble: Literal["failing", "down", "paused"]
    """`failing`: an ordered sink takes nothing, and is retried. For the others, see `Condition.kind`."""
    text: str
    """One sentence."""


class Condition(msgspec.Struct, frozen=True):
    """What is wrong with an independent sink as a whole."""

    kind: Literal["down", "paused"]
    """`down`: it fails for several events in a row, and is probed. `paused`: it wants no more events until a restart, a
    SIGHUP or `dead-letters retry`."""
    since: float
    """When it began."""
    error: str
    """The latest failure, for people."""
