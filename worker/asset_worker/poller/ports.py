"""What the poller asks of the assets API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from asset_worker.domain.assets import Asset, AssetId


class Api(Protocol):
    """The assets API, as the poller uses it."""

    @property
    def latest_failure(self) -> str | None:
        """Why the latest transient failure of a request happened, for people; None: no request has failed so."""
        ...

    async def wait_for_capacity(self) -> None:
        """Return when a request would not have to wait behind others."""
        ...

    async def retrieve(self, asset_id: AssetId) -> Asset:
        """The asset as the API shows it now.

        Raises:
            ApiError: the request failed.
        """
        ...

    async def list_assets(self, asset_ids: Sequence[AssetId]) -> dict[AssetId, Asset]:
        """Those of the assets that a list shows.

        Raises:
            ApiError: the request failed.
        """
        ...
