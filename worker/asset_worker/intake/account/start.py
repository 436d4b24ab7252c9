"""When following began, by the server's clock: pure."""

from __future__ import annotations

from typing import Final

from asset_worker.domain.instants import seconds_of
from asset_worker.domain.listings import Page

RESOLUTION: Final = 1.0
"""Seconds to which the time in an answer's head, and perhaps `created_at`, are rounded down."""
_AFTER: Final = 0.001


def start_of(page: Page, *, passed: float, own_start: float) -> float:
    """Return when following began, by the server's clock, in seconds since the epoch, UTC.

    No asset that was uploaded since is older than the result, though its time may be rounded down. Without a date our
    own clock must do; should it be ahead, the newest asset shows it.

    Args:
        page: the newest page, in the first answer.
        passed: seconds since following began.
        own_start: when it began by our own wall clock, in seconds since the epoch, UTC.
    """
    if page.served_at is not None:
        return page.served_at - passed - RESOLUTION
    created = [seconds_of(asset.document.get("created_at")) for asset in page.assets]
    newest = max((at for at in created if at is not None), default=own_start)
    return min(own_start - RESOLUTION, newest + _AFTER)
