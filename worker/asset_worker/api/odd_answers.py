"""Logs answers that are not as documented, but can be read: once for each kind."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from asset_worker.domain.assets import AssetId
from asset_worker.runtime.log import get_logger

_log = get_logger()

MAX_KINDS: Final = 100
"""Kinds that are logged at most, because they are kept in memory. There are far fewer."""


class OddAnswers:
    """The kinds of odd answers that were logged."""

    def __init__(self) -> None:
        self._logged: set[str] = set()

    def report(self, kinds: Iterable[str], asset_id: AssetId | None = None) -> None:
        """Log the kinds that are new. `asset_id` is the asset in question; None: there are several."""
        for what in kinds:
            if what in self._logged or len(self._logged) >= MAX_KINDS:
                continue
            self._logged.add(what)
            if asset_id is None:
                _log.warning("api.odd_answer", what=what)
            else:
                _log.warning("api.odd_answer", what=what, asset_id=asset_id)
