"""One page of the list of all assets of an account."""

from __future__ import annotations

from typing import Final

import msgspec

from asset_worker.domain.assets import Asset

PAGE_LENGTH: Final = 50
"""Assets on one page: the maximum of `page_limit` (vendor's reference page "List assets", v1.3)."""


class Page(msgspec.Struct, frozen=True):
    """One page, as the API answered it: newest assets first."""

    assets: tuple[Asset, ...]
    """The assets that can be read, in the order of the page."""
    unreadable: int
    """How many elements of the page can't be read as an asset."""
    total: int | None
    """How many assets all pages have (`total_results`); None: the answer does not say."""
    served_at: float | None
    """When the page was answered, by the server's clock, in seconds since the epoch, UTC; None: it has no usable
    `Date`."""


class NoPage(msgspec.Struct, frozen=True):
    """The page could not be read."""

    why: str
    """The reason, for people."""
    retry_after: float = 0.0
    """Seconds that the server asked to wait; 0: it asked for none."""
