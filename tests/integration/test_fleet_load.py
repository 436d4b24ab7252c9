"""A fleet under load: workers come and go, producers and readers hold transactions open, and many assets wait."""

from __future__ import annotations

from random import Random

import psycopg
import pytest

from asset_worker.simulator.lifecycles import Lifecycle
from tests.integration.fleet_kills import Storm
from tests.integration.fleet_load import let_wait, restarts_with, settles, snapshot_of
from tests.integration.fleets import LEFT, Fleet
from tests.integration.processes import eventually
from tests.integration.webhooks import FAULTS, Hooks, receiving

KILLS = 7
"""From one worker to four and back."""
WAITING = 50_000
SETTLED = 1_500
BYTES_FOR_EACH = 5_000


@pytest.mark.timeout(500)
async def test_workers_come_and_go_from_one_to_four_and_back_and_nothing_is_lost_or_made_twice(
    serve, server, worker_in, tmp_path
):
    simulator = await serve(time_scale=300, receiver=receiving(seed=1))
    fleet = Fleet(server, simulator.base_url, worker_in, tmp_path)
    await fleet.init()
    hooks = Hooks(simulator, tmp_path)
    hooks.receiver.faults.replace(*FAULTS)
    survived = await Storm(simulator, fleet, Random(1), hooks).rage(kills=KILLS, each=30)
    assert survived.wrong == []
    assert survived.kills == KILLS


@pytest.mark.timeout(300)
async def test_a_worker_that_starts_while_many_assets_wait_claims_them_and_goes_on(fleet):
    """Half of them are a dead worker's, which nobody has freed yet."""
    let_wait(fleet, WAITING)
    restarted = await restarts_with(fleet, WAITING)
    assert restarted.memory < BYTES_FOR_EACH
    asset = fleet.store.add(Lifecycle())
    fleet.submit(asset)
    await eventually(lambda: fleet.counts() == {f"{asset}.1": 1})


async def test_what_is_settled_while_a_snapshot_is_held_is_settled_all_the_same(fleet):
    """The server can remove no row that was deleted: not those of the inbox, of pending assets, nor of deliveries."""
    for name in "ab":
        await fleet.start(name).until("worker.started")
    with snapshot_of(fleet):
        await settles(fleet, SETTLED)
        await eventually(lambda: fleet.sql(LEFT) == [(0, 0, 0, 0)], otherwise=lambda: fleet.sql(LEFT))
    assert len(fleet.counts()) == SETTLED
    assert set(fleet.counts().values()) == {1}


@pytest.mark.parametrize(
    ("window", "completions"), [("1d", [1]), ("0.001", [1, 2])], ids=["within the window", "after the window"]
)
async def test_a_producer_that_does_not_commit_holds_up_nobody_not_even_for_the_same_asset(fleet, window, completions):
    """What it commits in the end is a repeat, or a new submission if the window of the completion is over."""
    for name in "ab":
        await fleet.start(name, QUEUE__DEDUPE_WINDOW=window).until("worker.started")
    first, *others = [fleet.store.add(Lifecycle()) for _ in range(100)]
    with psycopg.connect(fleet.url) as producer:
        producer.execute("SELECT asset_worker.submit(%s)", [first])
        fleet.submit(first, *others)
        await fleet.settles_once(first, *others)
    last = fleet.store.add(Lifecycle())
    fleet.submit(last)
    await eventually(lambda: f"{last}.1" in fleet.counts() and fleet.sql(LEFT) == [(0, 0, 0, 0)])
    made = [int(event_id.rpartition(".")[2]) for event_id in fleet.counts() if event_id.startswith(first)]
    assert sorted(made) == completions
    assert set(fleet.counts().values()) == {1}


async def test_tables_of_a_newer_version_that_still_suit_an_older_program_are_used(fleet):
    fleet.sql("UPDATE asset_worker.schema SET version = 2, oldest_compatible = 1")
    assets = [fleet.store.add(Lifecycle()) for _ in range(10)]
    fleet.start("a")
    fleet.submit(*assets)
    await fleet.settles_once(*assets)
    again = fleet.run("fleet", "init")
    assert await again.end() == 0
    assert "are of version 2 already" in again.stderr
    assert fleet.sql("SELECT version, oldest_compatible FROM asset_worker.schema") == [(2, 1)]


@pytest.mark.parametrize(
    ("version", "oldest", "says"),
    [
        (2, 2, "are of a newer version of asset-worker, with which this one can't work: update it"),
        (0, 0, "are of an earlier version: run `asset-worker fleet init`"),
    ],
    ids=["newer", "older"],
)
async def test_tables_of_a_version_that_does_not_suit_the_program_are_refused(fleet, version, oldest, says):
    fleet.sql("UPDATE asset_worker.schema SET version = %s, oldest_compatible = %s", version, oldest)
    for run in (fleet.start("a"), fleet.run("fleet", "status")):
        assert await run.end() == 2
        assert says in run.stderr
