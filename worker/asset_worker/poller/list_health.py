"""Whether the documents in lists are trusted: a value that is updated with each document and each confirmation.

Trust is earned per *shape* of a document that ends a wait (`evidence.Shape`). While a shape is unproven, such an asset
is confirmed by a retrieve before it is settled. Enough confirmations in a row that agree prove the shape. From then on,
its assets are settled from the list's own document, and some of them are still confirmed first: an *audit*. One
disagreement, about whatever shape, makes all shapes unproven.

An asset is *held* while confirmations of others decide what becomes of it: in an unproven shape, while as many
confirmations are in flight as the shape still needs; in a proven one, while an audit is overdue. So lists that begin to
lie can settle at most `UNAUDITED` assets of a shape.

Nothing here waits or reads a clock; instants are monotonic seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from enum import Enum
from typing import Final

import msgspec

from asset_worker.domain.assets import AssetId
from asset_worker.poller.evidence import Shape
from asset_worker.runtime.randomness import Uniform

CONFIRMATIONS: Final = 3
"""So many confirmations in a row that agree prove a shape, at first."""
MOST_CONFIRMATIONS: Final = 96
"""Each disagreement doubles how many are needed, up to this number."""
SETTLEMENTS_TO_HALVE: Final = 1000
"""How many are needed halves after so many settlements from lists without a disagreement."""
UNAUDITED: Final = 50
"""At most so many assets of one shape are settled from lists after the start of the last audit that agreed."""
EARLIEST_AUDIT: Final = 40
"""The next audit starts at a random place between this number of settlements and `UNAUDITED`."""
AUDIT_EVERY_SECONDS: Final = 60.0
"""Besides, one audit is made in this time, of the shape whose last audit was longest ago. Rare shapes need it."""
OVERDUE_SECONDS: Final = 2.0
"""While assets are held and no confirmation of their shape has started for this time, further ones start. A single
retrieve may hang."""
FAILURES_TO_RELEASE: Final = 10
"""After so many confirmations in a row that showed nothing, what is held is released: the API may be down."""
MAX_SHAPES: Final = 256
"""Assets of further shapes are always confirmed."""


class Treatment(Enum):
    """What to do with an asset that a list shows in a state that ends its wait."""

    SETTLE = "settle"
    """Settle it from the list's document."""
    CONFIRM = "confirm"
    """Retrieve it, then call `compared` or `not_compared`."""
    HOLD = "hold"
    """Keep it until a later `Step` names it, or until it is withdrawn."""


class Proven(msgspec.Struct, frozen=True):
    """A shape is trusted from now on."""

    shape: Shape
    confirmations: int
    """How many confirmations in a row have agreed."""


class Disagreed(msgspec.Struct, frozen=True):
    """A retrieve disagreed with a list, so all shapes are unproven now."""

    shape: Shape
    needed: int
    """How many confirmations prove a shape from now on."""
    unaudited: tuple[AssetId, ...] | None
    """The assets of this shape that were settled from lists since a retrieve last agreed; None: the shape has not been
    trusted since then."""


class Step(msgspec.Struct, frozen=True):
    """What follows from the end of a confirmation. It names assets that were held."""

    settle: tuple[AssetId, ...] = ()
    """To be settled from the list's document."""
    confirm: tuple[AssetId, ...] = ()
    """To be retrieved; then call `compared` or `not_compared`."""
    change: Proven | Disagreed | None = None
    """What is to be logged."""


NOTHING: Final = Step()


class _Confirmation(msgspec.Struct, frozen=True):
    shape: Shape
    generation: int
    """How many disagreements there had been when it started."""
    settled: int
    """How many assets of the shape had been settled from lists when it started."""


class _Record:
    """What is known about one shape."""

    __slots__ = (
        "agreed",
        "audit_at",
        "failures",
        "held",
        "in_flight",
        "is_proven",
        "settled",
        "started_at",
        "turn_at",
        "unaudited",
    )

    def __init__(self) -> None:
        self.held: dict[AssetId, None] = {}
        """In the order in which they came."""
        self.turn_at = 0.0
        """When it was last audited, or was passed over when it was its turn."""
        self.started_at = 0.0
        """When the latest confirmation started."""
        self.failures = 0
        """Confirmations in a row that showed nothing."""
        self.settled = 0
        """Settlements from lists so far."""
        self.unaudited: deque[AssetId] = deque()
        """The latest of the settlements from lists: those since the last confirmation that agreed started."""
        self.reset()

    def reset(self) -> None:
        """Make the shape unproven. What is held stays held, and what is unaudited remains to be vouched for."""
        self.is_proven = False
        self.agreed = 0
        """Confirmations in a row that agreed, while it is unproven."""
        self.in_flight = 0
        """Confirmations in flight that began after the last disagreement."""
        self.audit_at = 0
        """The value of `settled` at which the next audit starts."""


class ListHealth:
    """Which shapes are proven, which assets are being confirmed, and which are held meanwhile."""

    def __init__(self, uniform: Uniform) -> None:
        """`uniform` chooses the places of audits."""
        self._uniform = uniform
        self._records: dict[Shape, _Record] = {}
        self._confirmations: dict[AssetId, _Confirmation] = {}
        self._generation = 0
        self._needed = CONFIRMATIONS
        self._settled_in_agreement = 0
        self._next_turn_at: float | None = None
        """When the next audit of the shape audited longest ago is due; None: no shape has been proven yet."""
        self._turn: Shape | None = None
        """The shape whose turn it is, until its next asset is shown; None: the audit is not due."""

    @property
    def proven(self) -> int:
        """How many shapes are trusted now."""
        return sum(record.is_proven for record in self._records.values())

    def shown(self, asset_id: AssetId, shape: Shape | None, now: float) -> Treatment:
        """Return what to do with an asset that a list shows in this shape. None: a shape that can't be proven."""
        record = self._record(shape)
        if shape is None or record is None:
            return Treatment.CONFIRM
        return self._treat(asset_id, shape, record, now)

    def doubted(self, asset_id: AssetId, shape: Shape | None, now: float) -> None:
        """Record that an asset shown in this shape is retrieved in any case.

        Either this contradicts what was seen of it before, or it was held for too long.
        """
        record = self._record(shape)
        if shape is not None and record is not None:
            self._confirm(asset_id, shape, record, now)

    def overdue(self, shape: Shape, now: float) -> Step:
        """Return what follows when an asset of this shape has been held for a while."""
        record = self._records[shape]
        if now < record.started_at + OVERDUE_SECONDS:
            return NOTHING
        return Step(confirm=tuple(self._confirm_held(shape, record, now, 1 if record.is_proven else self._needed)))

    def withdrawn(self, asset_id: AssetId, shape: Shape) -> None:
        """Record that an asset that was shown in this shape is not to be held any longer."""
        self._records[shape].held.pop(asset_id, None)

    def compared(self, asset_id: AssetId, now: float, *, agreed: bool) -> Step:
        """Record whether the retrieve of an asset agreed with the list. Return what follows."""
        confirmation = self._confirmations.pop(asset_id, None)
        if confirmation is None:
            return NOTHING
        record = self._records[confirmation.shape]
        if agreed:
            _drop_audited(record, up_to=confirmation.settled)
        if confirmation.generation != self._generation:
            is_contradicted = not agreed and record.unaudited
            return Step(change=self._contradicted(confirmation.shape, record)) if is_contradicted else NOTHING
        record.in_flight -= 1
        if not agreed:
            return self._disagreed(confirmation.shape, record, now)
        record.failures = 0
        change = None
        if not record.is_proven:
            record.agreed += 1
            if record.agreed < self._needed:
                return NOTHING
            change = Proven(confirmation.shape, record.agreed)
            self._prove(record, now)
        return self._release(confirmation.shape, record, now, change)

    def not_compared(self, asset_id: AssetId, now: float) -> Step:
        """Record that the retrieve of an asset showed nothing that could agree or disagree. Return what follows.

        That says nothing about lists. Another asset takes its place, but if that goes on, nothing is held any longer.
        """
        confirmation = self._confirmations.pop(asset_id, None)
        if confirmation is None or confirmation.generation != self._generation:
            return NOTHING
        record = self._records[confirmation.shape]
        record.in_flight -= 1
        record.failures += 1
        if not record.held:
            record.audit_at = record.settled  # if it was an audit, it is still to be made
        limit = 1 if record.failures < FAILURES_TO_RELEASE else None
        return Step(confirm=tuple(self._confirm_held(confirmation.shape, record, now, limit)))

    def _record(self, shape: Shape | None) -> _Record | None:
        if shape is None:
            return None
        record = self._records.get(shape)
        if record is None and len(self._records) < MAX_SHAPES:
            record = self._records[shape] = _Record()
        return record

    def _treat(self, asset_id: AssetId, shape: Shape, record: _Record, now: float) -> Treatment:
        if not record.is_proven:
            if record.in_flight and record.agreed + record.in_flight >= self._needed:
                record.held[asset_id] = None
                return Treatment.HOLD
        elif record.settled < record.audit_at and not self._is_turn_of(shape, now):
            if len(record.unaudited) >= UNAUDITED:
                record.held[asset_id] = None
                return Treatment.HOLD
            self._settle(asset_id, record)
            return Treatment.SETTLE
        else:
            self._schedule_audit(record, now)
        self._confirm(asset_id, shape, record, now)
        return Treatment.CONFIRM

    def _settle(self, asset_id: AssetId, record: _Record) -> None:
        record.settled += 1
        record.unaudited.append(asset_id)
        self._settled_in_agreement += 1
        if self._settled_in_agreement >= SETTLEMENTS_TO_HALVE:
            self._settled_in_agreement = 0
            self._needed = max(self._needed // 2, CONFIRMATIONS)

    def _confirm(self, asset_id: AssetId, shape: Shape, record: _Record, now: float) -> None:
        record.in_flight += 1
        record.started_at = now
        self._confirmations[asset_id] = _Confirmation(shape, self._generation, record.settled)

    def _confirm_held(self, shape: Shape, record: _Record, now: float, limit: int | None) -> Iterator[AssetId]:
        """Release up to `limit` of the held assets to be confirmed; None: all of them."""
        for asset_id in list(record.held)[:limit]:
            del record.held[asset_id]
            self._confirm(asset_id, shape, record, now)
            yield asset_id

    def _prove(self, record: _Record, now: float) -> None:
        record.is_proven = True
        self._schedule_audit(record, now)
        if self._next_turn_at is None:
            self._next_turn_at = now + AUDIT_EVERY_SECONDS

    def _schedule_audit(self, record: _Record, now: float) -> None:
        places = UNAUDITED - EARLIEST_AUDIT + 1
        record.audit_at = record.settled + min(EARLIEST_AUDIT + int(self._uniform() * places), UNAUDITED)
        record.turn_at = now

    def _release(self, shape: Shape, record: _Record, now: float, change: Proven | None) -> Step:
        """Treat the held assets of a proven shape, as if they were shown now."""
        treated: dict[Treatment, list[AssetId]] = {each: [] for each in Treatment}
        held, record.held = record.held, {}
        for asset_id in held:
            treated[self._treat(asset_id, shape, record, now)].append(asset_id)
        return Step(tuple(treated[Treatment.SETTLE]), tuple(treated[Treatment.CONFIRM]), change)

    def _disagreed(self, shape: Shape, record: _Record, now: float) -> Step:
        records = self._records.items()
        is_news = self._needed < MOST_CONFIRMATIONS or any(each.agreed for _, each in records)
        was_trusted = record.is_proven or bool(record.unaudited)
        self._generation += 1
        self._settled_in_agreement = 0
        self._needed = min(2 * self._needed, MOST_CONFIRMATIONS)
        for each in self._records.values():
            each.reset()
        released: list[AssetId] = []
        for other, each in records:
            released += self._confirm_held(other, each, now, None if other == shape else self._needed)
        if was_trusted:
            change: Disagreed | None = self._contradicted(shape, record)
        else:
            change = Disagreed(shape, self._needed, None) if is_news else None
        return Step(confirm=tuple(released), change=change)

    def _contradicted(self, shape: Shape, record: _Record) -> Disagreed:
        unaudited = tuple(record.unaudited)
        record.unaudited.clear()
        return Disagreed(shape, self._needed, unaudited)

    def _is_turn_of(self, shape: Shape, now: float) -> bool:
        """Return whether this proven shape is the one to audit in this minute. Its turn ends with that."""
        if self._next_turn_at is None or now < self._next_turn_at:
            return False
        if self._turn is not None and now >= self._next_turn_at + AUDIT_EVERY_SECONDS:
            self._records[self._turn].turn_at = now  # no asset of that shape was shown: the next one's turn
            self._turn = None
            self._next_turn_at = now
        if self._turn is None or not self._records[self._turn].is_proven:
            proven = (each for each, record in self._records.items() if record.is_proven)
            self._turn = min(proven, key=lambda each: self._records[each].turn_at)
        if shape != self._turn:
            return False
        self._turn = None
        self._next_turn_at = now + AUDIT_EVERY_SECONDS
        return True


def _drop_audited(record: _Record, *, up_to: int) -> None:
    """Drop the settlements before the start of a confirmation that agreed; there were `up_to` of them in all."""
    while record.settled - len(record.unaudited) < up_to:
        record.unaudited.popleft()
