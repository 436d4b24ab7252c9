"""Decides what the backfill does: it reads what is older than the follower reads. Pure, but for the gaps that it keeps.

A gap is read from its upper end down. Its upper end moves down with each page, in the transaction that accepts the
page, so that a restart goes on from there: at the page where the end should be by now, or before it, but not past it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from asset_worker.domain.listings import PAGE_LENGTH, Page
from asset_worker.intake.account.filters import Filters
from asset_worker.intake.account.position import BEFORE_ALL, Backlog, Gap, merged
from asset_worker.intake.account.walk import Listed, Step, Walk, read_on


class FoundOlder(msgspec.Struct, frozen=True):
    """What to do after a page."""

    new: tuple[Listed, ...] = ()
    """The assets to be handed over."""
    backlog: Backlog | None = None
    """What is to be stored with them; None: it stays."""
    must_wait: bool = False
    """Whether to wait before the next page: the list got shorter again before the reader came any further."""


class Backfill:
    """Reads the gaps, the newest first."""

    def __init__(self, backlog: Backlog, *, filters: Filters) -> None:
        self.backlog = backlog
        self._filters = filters
        self._walk: Walk | None = None
        self._top = math.inf
        """The upper end of the gap when this walk found it."""
        self._back = 0
        """Pages to go back if the next page is past the upper end; 0: that was found."""
        self._shifted_at = math.inf
        """How far this reader had come when it last went back without a wait; infinite: it waited since."""

    def add(self, gap: Gap) -> Backlog:
        """Add a gap. Return what is to be stored."""
        self._walk = None
        self.backlog = Backlog(merged(self.backlog.gaps, gap))
        return self.backlog

    def low_after(self, start: float, since: float) -> float:
        """Return the lower end of the lowest gap to be read among the assets created since `start`; infinite: none."""
        return min((gap.low for gap in self.backlog.gaps if gap.low >= start and gap.high > since), default=math.inf)

    def is_catching_up(self, start: float, since: float) -> bool:
        """Return whether there is a gap to be read among the assets created since `start`; see `gap_from`."""
        gap = self.gap_from(since)
        return gap is not None and gap.high > start

    def gap_from(self, since: float) -> Gap | None:
        """Return the gap that is to be read now, of which nothing counts that was created before `since`; None: none.

        What an earlier `since` leaves unread stays in the backlog, for a run that wants it.
        """
        gap = next(iter(self.backlog.gaps), None)
        return gap if gap is not None and gap.high > since else None

    def page_from(self, since: float, *, total: int | None) -> int:
        """Return the page to be read. `total` is how many assets the list has now; None: unknown."""
        gap = self.gap_from(since)
        assert gap is not None
        if self._walk is None:
            grown = 0 if total is None or gap.total is None else total - gap.total
            self._walk = Walk(max(0, gap.index + grown) // PAGE_LENGTH + 1)
            self._back = 1
        return self._walk.page

    def read(self, page: Page, *, since: float, server_now: float) -> FoundOlder:
        """Return what to do with the page that `page_from` has returned."""
        gap, walk = self.gap_from(since), self._walk
        if gap is None or walk is None:  # a gap was added meanwhile, so that another page is next
            return FoundOlder()
        step = read_on(walk, page, newest=server_now)
        if self._back and walk.page > 1 and not _is_reached(gap, step.listed):
            self._walk = Walk(max(1, walk.page - self._back))
            self._back *= 2
            return FoundOlder()
        if self._back:
            self._back, self._top = 0, gap.high
        low = max(gap.low, since)
        new = tuple(
            each
            for each in step.listed
            if low <= each.at <= self._top and each.asset.id not in gap.ids and self._filters.admit(each.asset)
        )
        self._walk = step.walk
        if step.has_shifted and step.walk.again:
            return FoundOlder(new)
        if step.has_shifted:
            # Another deletion costs one page; a list that gets shorter again and again must not be a spin.
            must_wait = step.walk.low >= self._shifted_at
            self._shifted_at = math.inf if must_wait else step.walk.low  # while it waits, more may be deleted
            return FoundOlder(new, must_wait=must_wait)
        rest = self._rest(gap, step, since)
        if step.is_end or step.walk.low < low:
            self._walk = None
        has_changed = rest != self.backlog.gaps
        self.backlog = Backlog(rest)
        return FoundOlder(new, self.backlog if has_changed else None)

    def _rest(self, gap: Gap, step: Step, since: float) -> tuple[Gap, ...]:
        """Return what is not read after a page."""
        older = self.backlog.gaps[1:]
        index = (step.walk.page - 1) * PAGE_LENGTH
        if step.is_end or step.walk.low < max(gap.low, since):
            read = self.backlog.gaps if step.is_end else (gap,)
            unwanted = (
                msgspec.structs.replace(each, high=min(each.high, since), index=index, total=step.walk.total, ids=())
                for each in read
                if each.low < since
            )
            return (*unwanted, *(() if step.is_end else older))
        if step.walk.low > gap.high:
            return self.backlog.gaps
        ids = tuple(each.asset.id for each in step.listed)
        rest = msgspec.structs.replace(gap, high=step.walk.low, index=index, total=step.walk.total, ids=ids)
        return (rest, *older)


def initial(start: float) -> Backlog:
    """Return the backlog of an account that is followed since `start`: all that is older."""
    return Backlog((Gap(BEFORE_ALL, start),))


def _is_reached(gap: Gap, listed: Sequence[Listed]) -> bool:
    """Return whether nothing unread is above a page: it begins above the upper end, or repeats an asset of that."""
    return (
        any(each.asset.id in gap.ids for each in listed)
        or min((each.at for each in listed[:2]), default=-math.inf) > gap.high
    )
