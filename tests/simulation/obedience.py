"""Whether a client obeys what answers tell it of rate limits."""

from __future__ import annotations

from typing import Final

import msgspec

from tests.simulation.rate_limits import LONGEST_PAUSE, Charge

CLOCK_SECONDS: Final = 1.5
"""How exactly a client knows the server's clock, whose dates have whole seconds."""
SAME_MOMENT: Final = 1e-3
"""Seconds: a request that was granted when an answer arrived may go out within them, and instants are rounded."""


class Told(msgspec.Struct, frozen=True):
    """An answer that told the client to send nothing for a while."""

    endpoint: str
    """Of the request that was answered: `retrieve` or `list`."""
    status: int
    made_at: float
    received_at: float
    until: float


class Violation(msgspec.Struct, frozen=True):
    """A request that came although the client had been told to send none."""

    sent_at: float
    endpoint: str
    told: Told

    @property
    def is_across(self) -> bool:
        """Whether the answer was to the other endpoint: a client may have taken it for limited alone."""
        return self.endpoint != self.told.endpoint


class Obedience:
    """Finds the requests that should not have been sent. Instants are in the loop's time."""

    def __init__(self) -> None:
        self.violations: list[Violation] = []
        self.only: str | None = None
        """The endpoint that is limited; None: all are, together."""
        self.knows_clock = True
        """Whether all dates that the client has seen were the server's: if not, it can't read an instant."""
        self._waits: list[Told] = []
        self._spent: Told | None = None

    def forget(self) -> None:
        """Note that another client has come, which was told nothing."""
        self._waits, self._spent, self.knows_clock = [], None, True

    def sent(self, endpoint: str, now: float) -> None:
        """Note that a request goes out now: whether it may."""
        self._waits = [each for each in self._waits if now < each.until]
        for told in [*self._waits, *([self._spent] if self._spent else [])]:
            if told.received_at + SAME_MOMENT < now < told.until - SAME_MOMENT and self._concerns(told, endpoint):
                self.violations.append(Violation(now, endpoint, told))
                return

    def told(self, endpoint: str, status: int, charge: Charge, *, made_at: float, now: float) -> None:
        """Note what an answer tells the client of the limits when its head arrives."""
        if charge.by_clock and not self.knows_clock:
            return
        if charge.wait is None:
            if charge.headers and (self._spent is None or made_at >= self._spent.made_at):
                self._spent = None
            return
        until = now + min(charge.wait, LONGEST_PAUSE) if charge.is_exact else made_at + charge.wait - CLOCK_SECONDS
        told = Told(endpoint, status, made_at, now, min(until, now + LONGEST_PAUSE))
        if status == 429:
            self._waits.append(told)
        elif self._spent is None or made_at >= self._spent.made_at:
            self._spent = told

    def _concerns(self, told: Told, endpoint: str) -> bool:
        return self.only is None or endpoint == told.endpoint
