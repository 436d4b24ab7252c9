"""Decides what the follower does with the newest pages: pure, but for the position that it keeps."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import msgspec

from asset_worker.domain.listings import PAGE_LENGTH, Page
from asset_worker.intake.account.filters import Filters
from asset_worker.intake.account.position import BEFORE_ALL, Earlier, Gap, Position
from asset_worker.intake.account.walk import Listed, Step, Walk, read_on

MOST_PAGES: Final = 20
"""Pages of one walk. After an outage there may be thousands: the rest is left to the backfill, so that assets uploaded
meanwhile don't wait for it. 500 assets within an interval are 10 pages."""


class Found(msgspec.Struct, frozen=True):
    """What to do after a page."""

    new: tuple[Listed, ...]
    """The assets to be handed over."""
    position: Position | None = None
    """The position to be stored with them; None: it stays."""
    next_page: int | None = None
    """The page to be read now; None: the walk is over."""
    gap: Gap | None = None
    """What the walk has left to the backfill; to be stored before the position."""


class _Seen(msgspec.Struct, frozen=True):
    """The newest page: while it stays the same, it alone is read."""

    ids: tuple[str, ...]
    total: int | None


class Follower:
    """Reads the newest page, and after a change all pages down to the floor.

    The floor is `overlap` below the checkpoint of the walk before the last, so that each part of the list is read by
    two whole walks at least: what one of them might miss, since assets moved up past it while others appeared below,
    the next one finds.
    """

    def __init__(self, position: Position, *, overlap: float, since: float | None, filters: Filters) -> None:
        """Continue from a position. `overlap` is in seconds; `since` None: from the start of following on."""
        if position.filters != filters:
            earlier = Earlier(position.filters, position.seen_until)
            position = msgspec.structs.replace(position, filters=filters, earlier=earlier)
        self.position = position
        self.total: int | None = None
        """How many assets the list had when the newest page was read last; None: unknown."""
        self._known = dict(position.known)
        self._keep_from = min([position.floor, *position.known.values()])
        """Known are the assets that were created since."""
        self._overlap = overlap
        self._since = since
        self._seen: _Seen | None = None
        """The newest page of the last walk that came to its end; None: the next page begins a walk."""
        self._walk_again_at: float | None = None
        """When the list is walked again although it has not changed: late assets have appeared by then."""
        self._walk: Walk | None = None
        self._first = _Seen((), None)
        self._pages = 0
        self._newest = BEFORE_ALL
        self._server_now = BEFORE_ALL

    def begin(self, start: float) -> Position:
        """Record when following began, by the server's clock. Return the position to be stored."""
        floor = start if self._since is None else start - self._overlap  # what came just before it may still appear
        self.position = msgspec.structs.replace(self.position, start=start, checkpoint=start, floor=floor)
        return self.position

    @property
    def since(self) -> float:
        """Assets that were created earlier are not watched."""
        start = self.position.start
        return self._since if self._since is not None else BEFORE_ALL if start is None else start

    def take_unknown(self, listed: Iterable[Listed]) -> tuple[Listed, ...]:
        """Return those of the assets that were not handed over before, and record that they now are."""
        new = tuple(each for each in listed if each.asset.id not in self._known)
        self._known.update((each.asset.id, each.at) for each in new if each.at >= self._keep_from)
        return new

    def give_up(self) -> None:
        """Record that the next page of the walk can't be read: the walk begins again with the newest page."""
        self._walk = None

    def read(
        self, page: Page, *, now: float, server_now: float, unread_from: float = math.inf, is_behind: bool = False
    ) -> Found:
        """Return what to do with a page: the newest one, or the one that the result before asked for.

        Args:
            page: the page.
            now: in monotonic seconds.
            server_now: the server's clock, in seconds since the epoch, UTC, perhaps rounded down to a second.
            unread_from: the assets known from here on are kept, as the backfill still reads there.
            is_behind: whether the backfill still reads what an earlier walk has left to it. Then a long walk adds no
                gap, and the floor stays: a gap added to its own would make the backfill begin anew each time.
        """
        if self._walk is None:
            self._first = _Seen(tuple(asset.id for asset in page.assets), page.total)
            self.total, self._server_now = page.total, server_now
            self._pages, self._newest = 0, BEFORE_ALL
        has_changed = self._first != self._seen or self._first.total is None
        if self._walk is None and has_changed:
            self._walk_again_at = now + self._overlap
        step = read_on(self._walk or Walk(), page, newest=server_now)
        self._pages += 1
        new = self._take_new(step)
        is_due = self._walk_again_at is not None and now >= self._walk_again_at
        if not has_changed and not is_due and self._walk is None:
            return Found(new)
        floor = self.position.floor
        is_whole = not step.has_shifted and (step.is_end or step.walk.low < floor)
        if is_whole:
            floor = max(floor, self.position.checkpoint - self._overlap)
            return Found(new, self._finish(now, floor=floor, keep_from=min(floor, unread_from)))
        if self._pages >= MOST_PAGES and is_behind:
            return Found(new, self._finish(now, floor=floor, keep_from=min(floor, unread_from)))
        if self._pages >= MOST_PAGES:
            high = server_now if step.walk.low == math.inf else step.walk.low
            gap = Gap(floor, high, (step.walk.page - 1) * PAGE_LENGTH, step.walk.total)
            floor = max(floor, max(self.position.checkpoint, self._newest) - self._overlap)  # all below is in the gap
            return Found(new, self._finish(now, floor=floor, keep_from=min(gap.low, unread_from)), gap=gap)
        self._walk = step.walk
        return Found(new, next_page=step.walk.page)

    def _take_new(self, step: Step) -> tuple[Listed, ...]:
        floor, since = self.position.floor, self.since
        for each in step.listed:
            if each.at <= self._server_now + 1.0:  # one of the future must not become the checkpoint
                self._newest = max(self._newest, each.at)
        return self.take_unknown(each for each in step.listed if each.at >= max(floor, since) and self._admits(each))

    def _admits(self, listed: Listed) -> bool:
        asset, earlier = listed.asset, self.position.earlier
        if earlier is not None and listed.at < earlier.until:
            filters = earlier.filters
            if not (filters.would_list(asset) and filters.admit(asset)):
                return False
        return self.position.filters.admit(asset)

    def _finish(self, now: float, *, floor: float, keep_from: float) -> Position | None:
        """End the walk. Return the position if it has changed."""
        self._walk, self._seen = None, self._first
        if self._walk_again_at is not None and now >= self._walk_again_at:
            self._walk_again_at = None
        before = self.position
        checkpoint = max(before.checkpoint, self._newest)
        self._known = {asset_id: at for asset_id, at in self._known.items() if at >= keep_from}
        self._keep_from = keep_from
        earlier = before.earlier if before.earlier is not None and before.earlier.until > floor else None
        self.position = msgspec.structs.replace(
            before, checkpoint=checkpoint, floor=floor, known=dict(self._known), earlier=earlier
        )
        return self.updated() if self.position != before else None

    def updated(self, server_now: float = BEFORE_ALL) -> Position:
        """Return the position with what has been handed over, and until when its filters have applied.

        `server_now` is the server's clock, in seconds since the epoch, UTC, if it is known to have gone on.
        """
        seen_until = max(self.position.seen_until, self._server_now, server_now)
        self.position = msgspec.structs.replace(self.position, known=dict(self._known), seen_until=seen_until)
        return self.position
