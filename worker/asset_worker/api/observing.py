"""The interface for those who watch the requests to the API."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from yarl import URL

from asset_worker.domain.assets import AssetId
from asset_worker.runtime.calls import UNWATCHED, Call

WatchRequest = Callable[[URL, Sequence[AssetId]], AbstractContextManager[Call]]
"""Takes the URL of a request and the assets that it is about (none: a page of all assets). Returns the context in which
it is made, once for each attempt. It must return quickly and raise nothing."""


def unwatched(url: URL, asset_ids: Sequence[AssetId]) -> AbstractContextManager[Call]:
    """Watch nothing."""
    del url, asset_ids
    return UNWATCHED
