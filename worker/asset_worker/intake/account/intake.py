"""The intake of the account: reads pages, hands over what they show, and stores how far it has come."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from asset_worker.domain.events import timestamp
from asset_worker.domain.listings import NoPage, Page
from asset_worker.domain.submissions import ACCOUNT_ORIGIN, Batch, Submission
from asset_worker.domain.worker_report import InputReport
from asset_worker.intake.account.backfill import Backfill, initial
from asset_worker.intake.account.follower import Follower
from asset_worker.intake.account.ports import Account
from asset_worker.intake.account.position import BEFORE_ALL, Backlog, Position, decode
from asset_worker.intake.account.start import start_of
from asset_worker.intake.account.walk import Listed, flaw_in, lacks_assets, united
from asset_worker.intake.ports import BatchReceiver, IntakeContext
from asset_worker.runtime.clock import Clock, wall_time
from asset_worker.runtime.log import get_logger
from asset_worker.runtime.stop import Stop

_log = get_logger()

RETRY_SECONDS: Final = 30.0
"""The longest wait until a page that could not be read is asked for again, unless the server asks for more."""
PAUSE_SECONDS: Final = 5.0
"""The wait of the backfill after the list got shorter: where much is deleted, it must not go back again and again."""
READINGS: Final = 5
"""How often a page is read at most that lacks assets. A list that leaves out every tenth asset at random leaves out one
in a hundred thousand each time."""
STORE_SECONDS: Final = 1.0
"""How long a stop waits until the position is stored."""
T = TypeVar("T", Position, Backlog)
_encode = msgspec.json.Encoder().encode


class AccountIntake:
    """Hands over the assets of the account until the stop or, with `once`, all that are listed now."""

    name: Final = "account"
    progress: Final = InputReport()
    """Always empty: an account has no size."""

    def __init__(
        self, account: Account, receiver: BatchReceiver, clock: Clock, *, stored: Mapping[str, bytes], once: bool
    ) -> None:
        """Read nothing yet. `stored` are the positions that the queue has stored, by intake."""
        self._account = account
        self._receiver = receiver
        self._clock = clock
        self._once = once
        self._newest_name, self._older_name = f"account:{account.address}", f"account-backfill:{account.address}"
        position = self._decoded(stored, self._newest_name, Position)
        self._is_new = position is None
        position = position or Position(began=clock.steady(), filters=account.filters)
        self._follower = Follower(position, overlap=account.overlap, since=account.since, filters=account.filters)
        backlog = self._decoded(stored, self._older_name, Backlog)
        start = position.start
        self._backfill = Backfill(backlog or initial(BEFORE_ALL if start is None else start), filters=account.filters)
        self._has_followed = asyncio.Event()
        """Set when the first walk is over."""
        self._has_gap = asyncio.Event()
        self._problems: dict[str, str] = {}
        """Why each reader can't read, by its name."""
        self._unreadable_at: float | None = None
        """When the first of them began to be unable to, in steady time."""
        self._last_pages: dict[str, tuple[int, Page]] = {}
        """The page that each reader got last, and its number, by the reader's name."""
        self._read_at = clock.monotonic()
        """When a page was read last."""
        self._ahead: float | None = None
        """The server's clock minus steady time; None: it is not known yet."""
        self.is_following = False
        """Whether its position is durable: what is uploaded from then on is found, however long the API is away."""
        self.has_lost_input = False
        """Whether a run that reads the account once has given up. The next run reads from the position on."""

    @property
    def unreadable(self) -> str | None:
        """Why the account can't be read now; None: it can."""
        return next(iter(self._problems.values()), None)

    @property
    def unreadable_since(self) -> float | None:
        """Since when, in seconds since the epoch, UTC; None: it can be read."""
        since = self._unreadable_at if self._problems else None
        return None if since is None else wall_time(self._clock, since)

    async def run(self, stop: Stop) -> None:
        """Read until `stop` is set or, with `once`, until all that is listed and wanted has been handed over."""
        if self._is_new:
            await self._store(self._newest_name, self._follower.position)
        self.is_following = True
        position = self._follower.position
        since = position.start if self._account.since is None else self._account.since
        _log.info(
            "account.following",
            since=None if since is None else "all" if since == BEFORE_ALL else timestamp(since),
            checkpoint=None if position.start is None else timestamp(position.checkpoint),
        )
        async with asyncio.TaskGroup() as readers:
            readers.create_task(self._follow(stop))
            readers.create_task(self._read_older(stop))
        with suppress(TimeoutError):
            async with asyncio.timeout(STORE_SECONDS):
                server_now = BEFORE_ALL if self._ahead is None else self._clock.steady() + self._ahead
                await self._store(self._newest_name, self._follower.updated(server_now))

    def abandon(self) -> None:
        """Do nothing: what has not been accepted is read again by the next run."""

    def _decoded(self, stored: Mapping[str, bytes], name: str, kind: type[T]) -> T | None:
        position = decode(stored.get(name), kind)
        if position is None and name in stored:
            _log.warning("account.position_unreadable", position=name)
        return position

    async def _follow(self, stop: Stop) -> None:
        while not stop.is_set():
            began_at = self._clock.monotonic()
            failure = await self._walk(stop)
            if (self._once and self._has_followed.is_set()) or self.has_lost_input:
                self._has_followed.set()
                return
            if failure is None:
                await stop.sleep(began_at + self._account.interval - self._clock.monotonic())
            else:
                await stop.sleep(self._wait_after(failure))

    async def _walk(self, stop: Stop) -> NoPage | None:
        """Read the newest page, and older ones if it has changed. Return why it could not be finished; None: it was."""
        number: int | None = 1
        while number is not None:
            if await stop.race(self._receiver.room()) is None:
                break
            asked_at = self._clock.steady()
            page = await self._page(number, self._follower, stop)
            if not isinstance(page, Page):
                self._follower.give_up()
                return page
            start = await self._start(page)
            found = self._follower.read(
                page,
                now=self._clock.monotonic(),
                server_now=self._server_now(page),
                unread_from=self._backfill.low_after(start, self._follower.since),
                is_behind=self._backfill.is_catching_up(start, self._follower.since),
            )
            if found.gap is None:
                await self._hand_over(page, found.new, found.position, self._newest_name, asked_at)
            else:
                _log.info("account.catching_up", since=timestamp(found.gap.low), until=timestamp(found.gap.high))
                # With the page, as its assets count as handed over; before the position, which is past the gap.
                await self._hand_over(page, found.new, self._backfill.add(found.gap), self._older_name, asked_at)
                self._has_gap.set()
                await self._store(self._newest_name, self._follower.updated())
            number = found.next_page
        else:
            self._has_followed.set()
        return None

    def _wait_after(self, failure: NoPage) -> float:
        """Return after how many seconds a page is asked for again."""
        return max(min(self._account.interval, RETRY_SECONDS), failure.retry_after)

    async def _start(self, page: Page) -> float:
        """Return when following began, by the server's clock, which the first answer fixes."""
        position = self._follower.position
        if position.start is not None:
            return position.start
        passed = self._clock.steady() - position.began
        start = start_of(page, passed=passed, own_start=self._clock.now() - passed)
        self._backfill = Backfill(initial(start), filters=self._account.filters)
        await self._store(self._newest_name, self._follower.begin(start))
        return start

    async def _read_older(self, stop: Stop) -> None:
        await stop.race(self._has_followed.wait())
        count = 0
        while not stop.is_set() and not self.has_lost_input:
            since = self._follower.since
            self._has_gap.clear()
            if self._backfill.gap_from(since) is None:
                if count:
                    await self._store(self._newest_name, self._follower.updated())
                    _log.info("account.backfilled", count=count)
                if self._once:
                    return
                count = 0
                await stop.race(self._has_gap.wait())
                continue
            await stop.race(self._receiver.room())
            await stop.race(self._account.pages.wait_for_capacity())
            asked_at = self._clock.steady()
            page = await self._page(self._backfill.page_from(since, total=self._follower.total), self._backfill, stop)
            if isinstance(page, NoPage):
                await stop.sleep(self._wait_after(page))
            if not isinstance(page, Page):
                continue
            found = self._backfill.read(page, since=since, server_now=self._server_now(page))
            new = self._follower.take_unknown(found.new)
            await self._hand_over(page, new, found.backlog, self._older_name, asked_at)
            count += len(new)
            if found.must_wait:
                await stop.sleep(PAUSE_SECONDS)

    async def _page(self, number: int, reader: object, stop: Stop) -> Page | NoPage | None:
        """Return a page, or why there is none; None: the stop came first."""
        name = type(reader).__name__
        before, above = self._last_pages.get(name, (0, None))
        page = await self._whole_page(number, above if before == number else None, stop)
        if isinstance(page, Page):
            if (flaw := flaw_in(page, number, above if before == number - 1 else None)) is not None:
                page = NoPage(flaw)
            else:
                self._last_pages[name] = (number, page)
        if isinstance(page, NoPage) and not stop.is_set():
            if not self._problems:
                _log.warning("account.unreadable", error=page.why)
                self._unreadable_at = self._clock.steady()
            self._problems[name] = page.why
            if self._gives_up:
                _log.error("intake.failed", source=ACCOUNT_ORIGIN, error=page.why)
                self.has_lost_input = True
        elif isinstance(page, Page):
            self._read_at = self._clock.monotonic()
            self._ahead = self._server_now(page) - self._clock.steady()
            if self._problems.pop(name, None) is not None and not self._problems:
                _log.info("account.readable")
        return page

    async def _whole_page(self, number: int, last: Page | None, stop: Stop) -> Page | NoPage | None:
        """Return a page; one that lacks assets is read again, and has what any of the readings shows.

        `last` is the page as it was read last, if it is the same one. A page that is as it was then is believed: the
        list may count assets that it never shows.
        """
        page = await self._read_page(number, stop)
        if _is_same(page, last):
            return page
        for _ in range(READINGS - 1):
            if not isinstance(page, Page) or not lacks_assets(page, number):
                break
            again = await self._read_page(number, stop)
            page = united(page, again) if isinstance(again, Page) else again
        return page

    async def _read_page(self, number: int, stop: Stop) -> Page | NoPage | None:
        filters = self._account.filters
        return await stop.race(self._account.pages.page(number, types=filters.types, filename=filters.filename))

    @property
    def _gives_up(self) -> bool:
        return self._once and self._clock.monotonic() - self._read_at >= self._account.patience

    async def _hand_over(
        self, page: Page, new: Sequence[Listed], position: Position | Backlog | None, name: str, asked_at: float
    ) -> None:
        """Accept the new assets, with the position that follows from the page; then look at what the page shows.

        The look comes in the same turn of the event loop, before the poller can begin another one.
        """
        if new or position is not None:
            submissions = [Submission(each.asset.id, ACCOUNT_ORIGIN, 0) for each in new]
            stored = None if position is None else _encode(position)
            await self._receiver.accept(Batch(submissions, [], name, stored, accepts_settled=False))
        self._account.viewer.shown(page.assets, asked_at=asked_at)

    async def _store(self, name: str, position: Position | Backlog) -> None:
        await self._receiver.accept(Batch([], [], name, _encode(position), accepts_settled=False))

    def _server_now(self, page: Page) -> float:
        return self._clock.now() if page.served_at is None else page.served_at


def _is_same(page: Page | NoPage | None, last: Page | None) -> bool:
    """Return whether a page shows the same assets as when it was read last, of as many."""
    if not isinstance(page, Page) or last is None or page.total != last.total:
        return False
    return [asset.id for asset in page.assets] == [asset.id for asset in last.assets]


def open_intake(_source: Path | str, context: IntakeContext) -> AccountIntake:
    """Return an intake that follows the account of the context."""
    assert context.account is not None
    return AccountIntake(context.account, context.receiver, context.clock, stored=context.positions, once=context.once)
