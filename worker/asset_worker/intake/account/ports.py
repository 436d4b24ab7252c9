"""What the intake of the account needs from others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import msgspec

from asset_worker.domain.assets import Asset
from asset_worker.domain.listings import NoPage, Page
from asset_worker.intake.account.filters import Filters


class AccountPages(Protocol):
    """The list of all assets of the account."""

    async def page(self, number: int, *, types: Sequence[str], filename: str) -> Page | NoPage:
        """Return a page of the assets of these types with this text in their names; empty: any. Pages count from 1.

        `NoPage` says why it can't be read now.
        """
        ...

    async def wait_for_capacity(self) -> None:
        """Wait until a request would not have to queue behind others."""
        ...


class Viewer(Protocol):
    """Who watches pending assets."""

    def shown(self, assets: Sequence[Asset], *, asked_at: float) -> None:
        """Learn what a page shows of pending assets. It was requested at `asked_at`, in steady time."""
        ...


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """Which account is followed, and how."""

    pages: AccountPages
    viewer: Viewer
    address: str
    """The URL of the API: positions belong to it."""
    interval: float
    """Seconds between two requests for the newest page."""
    overlap: float
    """For so many seconds after its creation, an asset may be missing in the list."""
    since: float | None
    """Assets that were created earlier are not watched, by the server's clock; None: not before following began."""
    filters: Filters
    patience: float = math.inf
    """A run that reads the account once gives up when it could read nothing for so many seconds."""
