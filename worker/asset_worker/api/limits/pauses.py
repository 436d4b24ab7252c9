"""Which requests a refusal (429) pauses: all of them, or those of one endpoint alone.

The limit is the organisation's, so a refusal pauses everything. But a server may also limit lists alone, or retrieves.
That shows after a pause: one endpoint is answered, and the other is refused without having been answered. To find out,
the endpoint that was not refused goes first after a pause. If this happens `FIRST_STRIKES` times running, to the same
endpoint, the pause is that endpoint's, until it is answered again. A refusal of the other one shows that the limit was
common after all; then twice as many are needed.
"""

from __future__ import annotations

from typing import Final

from asset_worker.api.subjects import Endpoint

FIRST_STRIKES: Final = 2
MOST_STRIKES: Final = 64


class Pauses:
    """Whose the pauses are."""

    def __init__(self) -> None:
        self.alone: Endpoint | None = None
        """The endpoint that is limited alone; None: the limit is common, as far as is known."""
        self.first: Endpoint | None = None
        """The endpoint that goes first after the pause; None: either may."""
        self._lists_are_used = False
        self._answered: set[Endpoint] = set(Endpoint)
        """Those answered since the latest pause."""
        self._suspect: Endpoint | None = None
        self._strikes = 0  # rounds running in which only the suspect was refused
        self._needed = FIRST_STRIKES

    def sent(self, endpoint: Endpoint) -> None:
        """Record that a request goes out."""
        self._lists_are_used = self._lists_are_used or endpoint is Endpoint.LIST

    def answered(self, endpoint: Endpoint) -> None:
        """Record that a request that was sent after the latest pause was not refused."""
        self._answered.add(endpoint)
        self.first = None
        if self.alone is endpoint:
            self.alone = None

    def refused(self, endpoint: Endpoint) -> bool:
        """Record that a request that was sent after the latest pause was refused. Return whether all others pause."""
        if self.alone is endpoint:
            return False
        if self.alone is not None:
            self.alone = None
            self._needed = min(2 * self._needed, MOST_STRIKES)
            self._strikes = 0
        elif endpoint in self._answered or self._suspect is not endpoint:
            self._strikes = int(endpoint not in self._answered and endpoint.other in self._answered)
        elif endpoint.other in self._answered:
            self._strikes += 1
        # Otherwise only this endpoint was tried again, which says nothing about the other one.
        self._suspect = endpoint
        self._answered.clear()
        if self._strikes >= self._needed:
            self.alone = endpoint
            return False
        # With `poll.batch = "off"`, no list would ever come.
        self.first = endpoint.other if self._lists_are_used else None
        return True
