"""The renditions that the API makes of an asset: one table, and how their statuses are to be read.

To support another rendition, add a row here, a setting (`settings/tree.py`) and a lifecycle in the simulator. All other
code goes through `RENDITIONS`, which it reads at each call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec


class Rendition(msgspec.Struct, frozen=True, kw_only=True):
    """How one rendition's status is to be read. A status that none of these sets holds is new, and not terminal."""

    unfinished: frozenset[str]
    """Statuses before the end."""
    succeeded: frozenset[str]
    """Terminal statuses of a rendition that can be used."""
    failed: frozenset[str]
    """Terminal statuses of a rendition that will never come."""

    def is_known(self, status: str) -> bool:
        """Whether the status is documented."""
        return status in self.unfinished or self.has_ended(status)

    def has_ended(self, status: str | None) -> bool:
        """Whether the status is terminal. None: the API does not show the rendition."""
        return status in self.succeeded or status in self.failed


RENDITIONS: Final[Mapping[str, Rendition]] = {
    "hls": Rendition(
        unfinished=frozenset({"pending", "processing"}), succeeded=frozenset({"ready"}), failed=frozenset({"error"})
    ),
    "thumbnail": Rendition(
        unfinished=frozenset({"pending", "processing"}), succeeded=frozenset({"ready"}), failed=frozenset({"error"})
    ),
}
"""By the key of the rendition in the API's answer (vendor's reference page "Retrieve an asset", v1.3).

The order is that of the names in events, logs and messages.
"""
