"""What is kept for a sink that was removed from the settings while it was owed events: pure.

Somebody may have removed it by mistake, or for a while. Its events, and those that come after them, are kept for the
dedupe window, counted from the first start without it. If it is put back within that time, it misses none; after it,
the events are dropped.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

import msgspec

from asset_worker.queue.outbox_readers import is_reader

PUT_IT_BACK: Final = "put it back into events.sinks within that time, and it gets them; or else they are dropped"
"""What to do about a sink that is absent, for the log."""


class SinkState(msgspec.Struct, frozen=True):
    """What an engine keeps about a sink."""

    position: int
    """The position in the outbox up to which it has all events, or a record of each that it lacks."""
    checkpoint: bytes | None = None
    """Its own checkpoint, recorded with the position."""
    absent_since: float | None = None
    """The time of the first start without it, in steady time; None: it was there at the last start."""
    is_released: bool = False
    """Whether nothing is kept for it any more: it is absent, and was owed nothing, or the time is over."""

    @property
    def is_held(self) -> bool:
        """Whether events are kept for it although it is absent."""
        return self.absent_since is not None and not self.is_released


def states_at_start(
    known: Mapping[str, SinkState],
    sinks: Iterable[str],
    *,
    first: int,
    last: int,
    now: float,
    with_records: Collection[str] = (),
) -> dict[str, SinkState]:
    """Return the states of the sinks of this start, and of those of earlier starts that are absent.

    `known` are the states that were kept; `sinks` are those in the settings; `first` is the position of the first event
    that a sink has not passed, and `last` that of the last event; `now` is in steady time; `with_records` are the sinks
    that have records of events that they lack. A sink that is new, or was not in use while events were deleted, starts
    with the event at `first`: the ones before it are kept only for the sinks whose records name them. A reader that is
    new starts after the last event, and nothing is kept for one that is absent.
    """
    first_of_sinks = max(first, _passed_by_sinks(known) + 1)
    states = {}
    for name in sinks:
        kept = known.get(name, SinkState(0, is_released=True))
        if is_reader(name):
            states[name] = SinkState(last if kept.is_released else max(kept.position, first - 1))
        else:
            states[name] = SinkState(max(kept.position, first_of_sinks - 1), kept.checkpoint)
    for name in (known.keys() | set(with_records)) - states.keys():
        state = known.get(name, SinkState(last))
        if state.absent_since is None:
            # Before `first`, an earlier version has dropped its events.
            is_owed = (first - 1 <= state.position < last and not is_reader(name)) or name in with_records
            state = msgspec.structs.replace(state, absent_since=now, is_released=not is_owed)
        elif state.is_released and name in with_records:  # put back from its dead letters while it was absent
            state = SinkState(last, state.checkpoint, absent_since=now)
        states[name] = state
    return states


def _passed_by_sinks(known: Mapping[str, SinkState]) -> int:
    """Return up to which position events are kept for readers alone: they are no news to a sink that is new."""
    if not any(map(is_reader, known)):
        return 0
    return min((each.position for name, each in known.items() if not (is_reader(name) or each.is_released)), default=0)


def seconds_left(state: SinkState, *, now: float, window: float) -> float:
    """Return for how many more seconds events are kept for an absent sink; 0 or less: the time is over."""
    return 0.0 if state.absent_since is None else state.absent_since + window - now
