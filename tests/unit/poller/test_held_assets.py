"""Assets that are held while confirmations of others are in flight: nobody waits long for a retrieve that fails."""

from __future__ import annotations

from datetime import datetime
from random import Random

import pytest

from asset_worker.api.errors import ApiError, KeyRefusedError, TransientError
from tests.doubles.truth_check import Findings
from tests.doubles.watching import DONE, Watched, clips, watch
from tests.doubles.world import EPOCH, World

pytestmark = pytest.mark.virtual_time

COUNT = 400
BAD = 3


def completed_at(found: Watched) -> dict[str, float]:
    """When each asset was settled, in the loop's time."""
    return {
        event["subject"]: datetime.fromisoformat(event["data"]["completed_at"]).timestamp() - EPOCH
        for event in found.events
    }


def first_retrieved(world: World, what: ApiError | float) -> set[str]:
    """Let the retrieves of those assets fail that are retrieved first. Return them, as far as is known."""
    bad: set[str] = set()

    def fails(asset_id: str) -> ApiError | float | None:
        if len(bad) < BAD:
            bad.add(asset_id)
        return what if asset_id in bad else None

    world.retrieve_fails = fails
    return bad


@pytest.mark.parametrize("error", [TransientError("503"), KeyRefusedError("403 not this one")], ids=["503", "403"])
async def test_some_assets_that_are_always_denied_do_not_make_retrieves_of_all_others(error):
    """They are those that are to confirm what lists show."""
    world = World(Random(5))
    ids = clips(world, COUNT, DONE, born=-9)
    bad = first_retrieved(world, error)
    found = await watch(world, [(0.0, ids, None)], seconds=60)
    others = {*ids} - bad
    assert len(bad) == BAD
    assert others <= {*completed_at(found)}
    assert sum(any(not each.is_list for each in world.answers[asset_id]) for asset_id in others) < 40
    assert found.logged("api.list_disagreed") == []


@pytest.mark.parametrize("seconds", [30.0, 300.0])
async def test_nobody_waits_long_for_confirmations_that_hang(seconds):
    world = World(Random(5))
    ids = clips(world, COUNT, DONE, born=-9)
    bad = first_retrieved(world, seconds)
    found = await watch(world, [(0.0, ids, None)], seconds=1000)
    assert found.findings == Findings([], [])
    assert max(at for asset_id, at in completed_at(found).items() if asset_id not in bad) < 15


async def test_nobody_waits_long_for_an_audit_that_hangs():
    """The shape is proven; then each tenth retrieve takes half a minute."""
    world = World(Random(5))
    first, then = clips(world, 100, DONE, born=-9), clips(world, 1000, DONE, born=90)
    world.retrieve_fails = lambda asset_id: 30.0 if int(asset_id, 16) % 10 == 0 and asset_id in then else None
    found = await watch(world, [(0.0, first, None), (100.0, then, None)], seconds=1000)
    assert found.findings == Findings([], [])
    assert sum(at > 120 for at in completed_at(found).values()) < 10


async def test_no_more_is_listed_while_many_assets_are_held():
    """Each confirmation takes some seconds: what is held takes memory, and settles no sooner."""
    world = World(Random(6))
    ids = clips(world, 6_000, DONE, born=-9)
    world.retrieve_fails = lambda asset_id: 5.0
    most = 0
    honest = world.view

    def view(asset_ids, moment):
        nonlocal most
        settled = sum(not answers[-1].is_list for answers in world.answers.values())
        most = max(most, len(world.answers) - settled)
        return honest(asset_ids, moment)

    world.view = view
    await watch(world, [(0.0, ids, None)], seconds=20)
    assert most < 2_000
