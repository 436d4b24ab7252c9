"""What a page of the account shows of pending assets: a look at each, without a request."""

from __future__ import annotations

import asyncio

import pytest

from asset_worker.domain.assets import asset_from
from asset_worker.poller.loop import Poller
from asset_worker.poller.policy import Batching
from asset_worker.runtime.stop import Stop
from tests.doubles.api import PROCESSING, READY, ListingApi
from tests.doubles.clocks import LoopClock
from tests.doubles.looks import IDS, SCHEDULE
from tests.doubles.polling import events_in, outcomes, policy, put, queue_in_memory

pytestmark = pytest.mark.virtual_time


class Watched:
    """A poller of some assets that runs, and what it costs."""

    def __init__(self, documents, *, batching=None):
        self.api = ListingApi(documents)
        self.clock, self._stop = LoopClock(asyncio.get_running_loop()), Stop()
        self.queue = queue_in_memory(self.clock)
        self.poller = Poller(
            self.queue,
            self.api,
            schedule=SCHEDULE,
            policy=policy(batching=batching),
            clock=self.clock,
            uniform=lambda: 1.0,
        )

    async def __aenter__(self):
        self._running = asyncio.ensure_future(self.poller.run(self._stop))
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_):
        self._stop.set("test")
        await self._running

    def show(self, documents, *, asked_at=None):
        """Show documents as a page that was requested just now, or at `asked_at`."""
        assets = [asset_from({"_id": asset_id, **each}) for asset_id, each in documents.items()]
        self.poller.shown(assets, asked_at=self.clock.steady() if asked_at is None else asked_at)

    @property
    def requests(self):
        return len(self.api.lists) + len(self.api.retrieved)


async def test_a_page_is_the_first_look_at_the_assets_that_it_brought():
    async with Watched({each: [PROCESSING] for each in IDS}, batching=Batching()) as watched:
        await put(watched.queue, IDS)
        watched.show(dict.fromkeys(IDS, PROCESSING))
        await asyncio.sleep(1.9)
        assert (watched.requests, watched.poller.looks) == (0, 3)
        await asyncio.sleep(0.2)
        assert watched.api.lists == [IDS], "then they are looked at by their schedule"


async def test_an_end_that_a_page_shows_is_confirmed_as_one_of_any_list():
    async with Watched({each: [READY] for each in IDS}, batching=Batching()) as watched:
        await put(watched.queue, IDS)
        watched.show(dict.fromkeys(IDS, READY))
        await asyncio.sleep(1)
        assert outcomes(await events_in(watched.queue)) == dict.fromkeys(IDS, "ready")
        assert (watched.api.lists, sorted(watched.api.retrieved)) == ([], IDS)


async def test_an_asset_that_is_not_due_is_looked_at_when_a_page_shows_it():
    async with Watched({IDS[0]: [PROCESSING, READY]}, batching=Batching()) as watched:
        await put(watched.queue, IDS[:1])
        await asyncio.sleep(1)
        watched.show({IDS[0]: READY})
        await asyncio.sleep(0.1)
        assert outcomes(await events_in(watched.queue)) == {IDS[0]: "ready"}


async def test_a_page_is_no_look_at_an_asset_that_was_looked_at_since_it_was_requested():
    async with Watched({IDS[0]: [PROCESSING]}, batching=Batching()) as watched:
        asked_at = watched.clock.steady()
        await asyncio.sleep(0.5)
        await put(watched.queue, IDS[:1])
        await asyncio.sleep(0.5)
        watched.show({IDS[0]: READY}, asked_at=asked_at)
        await asyncio.sleep(0.5)
        assert (watched.requests, watched.poller.looks) == (1, 1)


async def test_assets_that_are_not_pending_are_left_alone():
    async with Watched({}, batching=Batching()) as watched:
        watched.show(dict.fromkeys(IDS, READY))
        await asyncio.sleep(1)
        assert (watched.requests, watched.poller.looks) == (0, 0)


async def test_without_lists_a_page_is_no_look():
    async with Watched({each: [PROCESSING] for each in IDS}) as watched:
        await put(watched.queue, IDS)
        watched.show(dict.fromkeys(IDS, PROCESSING))
        await asyncio.sleep(0.1)
        assert (watched.api.retrieved, watched.poller.looks) == (IDS, 3)


async def test_what_is_shown_before_the_poller_runs_is_looked_at_when_it_does():
    watched = Watched({IDS[0]: [READY]}, batching=Batching())
    await put(watched.queue, IDS[:1])
    watched.show({IDS[0]: READY})
    async with watched:
        await asyncio.sleep(1)
        assert watched.requests == 1, "only the confirmation"
