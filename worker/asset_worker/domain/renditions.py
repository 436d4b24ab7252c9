"""The renditions that the API makes of an asset, and what their statuses mean: one table.

To support another rendition, add a row here, a setting (`settings/tree.py`) and a lifecycle in the simulator. All other
code reads the names and statuses from `RENDITIONS`, each time it needs them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec


class Rendition(msgspec.Struct, frozen=True, kw_only=True):
    """What the statuses of one rendition mean. A status in none of these sets is unknown, and not terminal."""

    unfinished: frozenset[str]
    """Statuses that are not terminal."""
    succeeded: frozenset[str]
    """Terminal statuses of a rendition that can be used."""
    failed: frozenset[str]
    """Terminal statuses of a rendition that will never come."""
    ready_event: str | None = None
    """The name of the transition that reports it ready (`domain.transitions`); None: there is none."""
    address: str | None = None
    """The key of its address in the API's answer, within that of the rendition; None: there is none."""

    def is_known(self, status: str) -> bool:
        """Return whether the status is documented."""
        return status in self.unfinished or self.has_ended(status)

    def has_ended(self, status: str | None) -> bool:
        """Return whether the status is terminal. None: the API does not show the rendition."""
        return status in self.succeeded or status in self.failed


RENDITIONS: Final[Mapping[str, Rendition]] = {
    "hls": Rendition(
        unfinished=frozenset({"pending", "processing"}),
        succeeded=frozenset({"ready"}),
        failed=frozenset({"error"}),
        ready_event="playable",
        address="manifest_url",
    ),
    "thumbnail": Rendition(
        unfinished=frozenset({"pending", "processing"}),
        succeeded=frozenset({"ready"}),
        failed=frozenset({"error"}),
        ready_event="thumbnail_ready",
        address="representative_url",
    ),
}
"""By the key of the rendition in the API's answer (vendor's reference page "Retrieve an asset", v1.3).

Events, logs and messages list the renditions in this order.
"""
