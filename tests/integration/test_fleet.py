"""Workers that share one queue in PostgreSQL: real processes, a real server, and the faults between them."""

from __future__ import annotations

import asyncio
import json
import signal

from asset_worker.simulator.lifecycles import Lifecycle
from tests.doubles import postgres
from tests.integration.fleets import LEASE
from tests.integration.processes import eventually


async def test_what_is_submitted_by_sql_is_settled_once_by_one_of_the_workers(fleet):
    runs = [fleet.start(name) for name in "ab"]
    for run in runs:
        await run.until("worker.started")
    await asyncio.sleep(LEASE)  # by then they know of each other
    assets = [fleet.store.add(Lifecycle(5)) for _ in range(40)]
    fleet.submit(*assets)
    await eventually(lambda: len(fleet.events()) == 40, otherwise=lambda: "".join(run.stderr for run in runs))
    assert fleet.counts() == {f"{asset_id}.1": 1 for asset_id in assets}
    assert all(run.logs("asset.completed") for run in runs)
    for run in runs:
        run.send(signal.SIGTERM)
    assert [await run.end() for run in runs] == [0, 0]
    assert fleet.sql("SELECT count(*) FROM asset_worker.workers") == [(0,)]


async def test_what_a_killed_worker_owned_is_taken_over(fleet):
    first, second = (fleet.start(name) for name in "ab")
    for run in (first, second):
        await run.until("worker.started")
    assets = [fleet.store.add(Lifecycle(60)) for _ in range(100)]
    fleet.submit(*assets)
    await eventually(lambda: fleet.sql("SELECT count(DISTINCT owner) FROM asset_worker.pending") == [(2,)])
    first.send(signal.SIGKILL)
    await fleet.settles_once(*assets)
    assert [line["name"] for line in second.logs("fleet.worker_died")] == ["a"]


async def test_a_worker_that_was_stopped_for_longer_than_its_lease_settles_nothing_that_others_have_settled(fleet):
    runs = {name: fleet.start(name) for name in "ab"}
    for run in runs.values():
        await run.until("worker.started")
    assets = [fleet.store.add(Lifecycle(60)) for _ in range(100)]
    fleet.submit(*assets)
    await eventually(lambda: fleet.sql("SELECT count(DISTINCT owner) FROM asset_worker.pending") == [(2,)])
    runs["a"].send(signal.SIGSTOP)
    await eventually(lambda: bool(runs["b"].logs("fleet.worker_died")), otherwise=lambda: runs["b"].stderr)
    await asyncio.sleep(LEASE)
    runs["a"].send(signal.SIGCONT)
    await eventually(lambda: len(fleet.events()) >= 100, otherwise=lambda: runs["b"].stderr)
    assert fleet.counts() == {f"{asset_id}.1": 1 for asset_id in assets}
    await runs["a"].until("fleet.retired")
    assert runs["a"].process.poll() is None


async def test_a_worker_that_is_stopped_hands_its_assets_over_at_once(fleet):
    runs = {name: fleet.start(name) for name in "ab"}
    for run in runs.values():
        await run.until("worker.started")
    assets = [fleet.store.add(Lifecycle(600)) for _ in range(50)]
    fleet.submit(*assets)
    await eventually(lambda: fleet.sql("SELECT count(owner) FROM asset_worker.pending") == [(50,)])
    runs["a"].send(signal.SIGTERM)
    assert await runs["a"].end() == 0
    [(life,)] = fleet.sql("SELECT id FROM asset_worker.workers")
    await eventually(lambda: fleet.sql("SELECT DISTINCT owner FROM asset_worker.pending") == [(life,)], 10)


async def test_the_status_of_a_fleet_says_who_owns_what_and_what_waits(fleet):
    fleet.start("a")
    fleet.submit(fleet.store.add(Lifecycle(600)))
    await eventually(lambda: fleet.sql("SELECT count(owner) FROM asset_worker.pending") == [(1,)])
    run = fleet.run("fleet", "status", "--json")
    assert await run.end() == 0, run.stderr
    report = json.loads(run.stdout)
    assert [each["name"] for each in report["workers"]] == ["a"]
    assert {name: report[name] for name in ("owned", "unowned", "inbox", "deliveries", "dead_letters")} == {
        "owned": 1,
        "unowned": 0,
        "inbox": 0,
        "deliveries": {},
        "dead_letters": {},
    }
    shown = fleet.run("fleet", "status")
    assert await shown.end() == 0
    assert b"workers     1\n  a  " in shown.stdout


async def test_a_worker_says_what_to_do_about_a_database_that_it_can_not_use(fleet):
    missing = fleet.start("a", FLEET__SCHEMA="other")
    assert await missing.end() == 2
    assert "run `asset-worker fleet init`" in missing.stderr
    away = fleet.start("b", POSTGRES__URL="postgresql://127.0.0.1:1/nothing")
    assert await away.end() == 75
    assert "the fleet's database can't be used now" in away.stderr
    fleet.sql("UPDATE asset_worker.schema SET version = 9, oldest_compatible = 9")
    newer = fleet.start("c")
    assert await newer.end() == 2
    assert "newer version" in newer.stderr


async def test_two_workers_can_not_have_one_name(fleet, worker_in):
    await fleet.start("a").until("worker.started")
    fleet.workers["a"] = worker_in("other")
    second = fleet.start("a")
    assert await second.end() == 75
    assert "has the name 'a'" in second.stderr


async def test_one_worker_follows_the_account_and_after_its_death_another(fleet):
    runs = {name: fleet.start(name, "--account", ACCOUNT__INTERVAL="0.5") for name in "ab"}
    await eventually(lambda: any(run.logs("account.following") for run in runs.values()))
    assets = [fleet.store.add(Lifecycle(2)) for _ in range(20)]
    await eventually(lambda: len(fleet.events()) == 20, otherwise=lambda: runs["a"].stderr)
    [(holder,)] = fleet.sql(
        "SELECT name FROM asset_worker.holders AS h JOIN asset_worker.workers AS w ON w.id = h.life"
    )
    runs[holder].send(signal.SIGKILL)
    assets += [fleet.store.add(Lifecycle(2)) for _ in range(20)]
    await eventually(lambda: len(fleet.events()) >= 40, otherwise=lambda: "".join(run.stderr for run in runs.values()))
    assert fleet.counts() == {f"{asset_id}.1": 1 for asset_id in assets}
    assert all(run.logs("account.following") for run in runs.values())


async def test_a_database_that_is_killed_and_started_again_loses_nothing(fleet_at):
    with postgres.running_server(options=postgres.SAFE) as url:
        own = await fleet_at(url)
        runs = [own.start(name) for name in "ab"]
        for run in runs:
            await run.until("worker.started")
        assets = [own.store.add(Lifecycle(20)) for _ in range(200)]
        own.submit(*assets)
        await eventually(lambda: own.sql("SELECT count(*) FROM asset_worker.inbox") == [(0,)])
        postgres.crash(url)
        await eventually(lambda: any(run.logs("database.failed") for run in runs), otherwise=lambda: runs[0].stderr)
        await asyncio.sleep(2 * LEASE)
        postgres.start_again(url)
        await own.settles_once(*assets)
        assert [run.process.poll() for run in runs] == [None, None]
        for run in runs:
            run.send(signal.SIGTERM)
        assert [await run.end() for run in runs] == [0, 0]


async def test_workers_of_a_fleet_have_the_same_settings_where_it_matters(fleet):
    await fleet.start("a").until("worker.started")
    other = fleet.start("b", QUEUE__DEDUPE_WINDOW="5")
    assert await other.end() == 2
    assert "the worker 'a' of the fleet has another value of queue.dedupe_window (86400" in other.stderr
