"""Walks down the list of assets, page by page: pure.

The list has no cursor: a page is a number of places from the newest asset on. An upload moves everything down, so the
next page repeats assets. A deletion moves everything up, past a reader who has read the page above: the list is then
shorter (`total_results`), and the reader goes back by as many pages. Each page is compared with the one before it, not
with the first: an upload before a deletion would hide it.

Assets that were created at the same time may be listed in another order each time. Then a page repeats some of those
above it in place of others, though the list has not become longer: both pages are read again.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

from asset_worker.domain.assets import Asset
from asset_worker.domain.instants import seconds_of
from asset_worker.domain.listings import PAGE_LENGTH, Page

MOST_AGAIN: Final = 5
"""How often two pages are read again at most because the second repeats assets of the first. Where two assets of the
same time change places at random, one is then missed once in four thousand times."""


class Listed(msgspec.Struct, frozen=True):
    """An asset, and its place in the list."""

    asset: Asset
    at: float
    """When it was created, by the server's clock, in seconds since the epoch, UTC; see `placed`."""


class Walk(msgspec.Struct, frozen=True):
    """How far a reader has come."""

    page: int = 1
    """The next page."""
    total: int | None = None
    """How many assets the list had at the last page; None: unknown."""
    low: float = math.inf
    """Every asset that was created later than this has been read, as far as it was listed."""
    ids: frozenset[str] = frozenset()
    """The assets of the page above the next one, if that was read last."""
    again: int = 0
    """How often the page above was read again since the list repeated assets of it."""


class Step(msgspec.Struct, frozen=True):
    """What one page means for a walk."""

    listed: tuple[Listed, ...]
    walk: Walk
    """The walk after this page."""
    has_shifted: bool = False
    """Whether assets may have moved past the reader, who now goes back."""
    is_end: bool = False
    """Whether there are no older assets."""


def read_on(walk: Walk, page: Page, *, newest: float) -> Step:
    """Return what a page means, which is the one that the walk asked for.

    `newest` is where an asset belongs that has no readable creation time and no newer neighbour.
    """
    listed = placed(page, above=newest if walk.low == math.inf else walk.low)
    before, count = (walk.page - 1) * PAGE_LENGTH, len(page.assets) + page.unreadable
    total = walk.total if page.total is None else page.total
    if walk.page > 1 and walk.total is not None and total is not None and total < walk.total:
        back = -(-(walk.total - total) // PAGE_LENGTH)
        return Step(listed, Walk(max(1, walk.page - back), total, walk.low), has_shifted=True)
    ids = frozenset(asset.id for asset in page.assets)
    if walk.again < MOST_AGAIN and total is not None and total == walk.total and not ids.isdisjoint(walk.ids):
        return Step(listed, Walk(walk.page - 1, total, walk.low, again=walk.again + 1), has_shifted=True)
    # A total may be capped: only an empty page, or a short one that agrees with it, is the last one.
    is_last = count < PAGE_LENGTH and page.total is not None and before + count <= page.total <= before + PAGE_LENGTH
    is_past_end = not page.assets and page.total is not None and before >= page.total  # junk goes on for ever
    is_end = not count or is_last or is_past_end
    # One asset with a false time, in the last place, must not end a walk.
    low = min([walk.low, *([max(each.at for each in listed[-2:])] if listed else [])])
    again = 0 if walk.ids else walk.again
    return Step(listed, Walk(walk.page + 1, total, low, ids, again), is_end=is_end)


def flaw_in(page: Page, number: int, above: Page | None) -> str | None:
    """Return why a page can't be the one of this number, for people; None: it can be. `above` is the one before it.

    A walk must end at no page that is empty although the list goes on, and go on for ever in no list whose server, or
    a cache before it, takes no notice of the number. A short page and an empty one end it: a list may count more assets
    than it shows.
    """
    total = above.total if page.total is None and above is not None else page.total
    has_ended = above is not None and len(above.assets) + above.unreadable < PAGE_LENGTH
    is_empty = not page.assets and not page.unreadable
    if is_empty and not has_ended and total is not None and total > (number - 1) * PAGE_LENGTH:
        return f"page {number} of the list of assets is empty, although the list has {total} assets"
    if page.assets and above is not None and page.assets == above.assets and page.total == above.total:
        return f"page {number} of the list of assets is the same as page {number - 1}"
    return None


def lacks_assets(page: Page, number: int) -> bool:
    """Return whether a page has fewer assets than it must have, going by how many the list has (`total_results`)."""
    count, before = len(page.assets) + page.unreadable, (number - 1) * PAGE_LENGTH
    return page.total is not None and count < min(PAGE_LENGTH, page.total - before)


def united(first: Page, again: Page) -> Page:
    """Return a page that was read twice, with the assets that either reading shows, newest first."""
    found = {asset.id: asset for asset in again.assets}
    order = [asset.id for asset in first.assets]
    place = 0
    for asset_id in found:
        if asset_id in order:
            place = max(place, order.index(asset_id) + 1)
        else:
            order.insert(place, asset_id)
            place += 1
    found = {asset.id: asset for asset in first.assets} | found
    return msgspec.structs.replace(again, assets=tuple(found[asset_id] for asset_id in order))


def placed(page: Page, *, above: float) -> tuple[Listed, ...]:
    """Return the assets of a page with their places in time, by their own `created_at` and those of their neighbours.

    An asset without a readable time gets that of the newer neighbour. A single time that is out of order, such as 1970
    among those of today, is replaced by the nearer of its neighbours' times. `above` is the time of the asset above the
    page; but the list may have changed since that was read, so the first asset may be newer.
    """
    times: list[float] = []
    for asset in page.assets:
        created = seconds_of(asset.document.get("created_at"))
        times.append(created if created is not None else times[-1] if times else above)
    newer_ones = [max(above, *times[:1]), *times] if times else []
    older_ones = [*times[1:], *times[-1:]]
    found = map(_median, zip(newer_ones, times, older_ones, strict=False))
    return tuple(Listed(asset, at) for asset, at in zip(page.assets, found, strict=True))


def _median(three: tuple[float, float, float]) -> float:
    return sorted(three)[1]
