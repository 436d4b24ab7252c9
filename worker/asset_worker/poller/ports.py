"""The assets API as the poller uses it: the protocol that `api.client` satisfies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from asset_worker.domain.assets import Asset, AssetId


class Api(Protocol):
    """The assets API, as the poller uses it."""

    @property
    def latest_failure(self) -> str | None:
        """The text of the latest transient failure of a request, for people; None: there was none."""
        ...

    @property
    def stalled_for(self) -> float:
        """Seconds for which no request could be sent, or each one failed; 0: neither."""
        ...

    @property
    def may_list(self) -> bool:
        """Whether lists are sent now; if not, retrieves are."""
        ...

    @property
    def lists_are_limited(self) -> bool:
        """Whether lists alone are limited, so that retrieves can be sent instead."""
        ...

    @property
    def has_capacity(self) -> bool:
        """Whether a request would not have to queue behind others now."""
        ...

    async def wait_for_capacity(self) -> None:
        """Wait until a request would not have to queue behind others."""
        ...

    async def retrieve(self, asset_id: AssetId) -> Asset:
        """Return the asset as the API shows it now.

        Raises:
            ApiError: the request failed.
        """
        ...

    async def list_assets(self, asset_ids: Sequence[AssetId]) -> dict[AssetId, Asset | None]:
        """Return the assets that a list shows, by the IDs asked for; one that it leaves out is missing.

        None: the list shows the asset, but not so that it can be read; a retrieve may.

        Raises:
            ApiError: the request failed.
        """
        ...
