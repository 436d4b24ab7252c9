"""The commands with `queue.engine = "postgres"`: the real command and a real server."""

from __future__ import annotations

import json
import signal

import psycopg
import pytest
from aiohttp import ClientSession

from asset_worker.simulator.lifecycles import Lifecycle
from tests.doubles.postgres import with_password
from tests.integration.admin import admin_of
from tests.integration.fleets import Fleet
from tests.integration.processes import eventually
from tests.integration.test_dead_letters import Receiver


async def done(fleet: Fleet, *arguments: str) -> str:
    """Run a command to its end, which must be good. Return what it printed."""
    run = fleet.run(*arguments)
    assert await run.end() == 0, run.stderr
    return run.stdout.decode()


async def test_of_several_that_create_the_tables_at_once_one_does_and_the_others_find_them(fleet):
    fleet.sql("DROP SCHEMA asset_worker CASCADE")
    with psycopg.connect(fleet.url) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(hashtext('asset-worker fleet init'))")
        runs = [fleet.run("fleet", "init") for _ in range(3)]
        await eventually(lambda: fleet.sql("SELECT count(*) FROM pg_locks WHERE NOT granted") == [(3,)])
    assert [await run.end() for run in runs] == [0, 0, 0], [run.stderr for run in runs]
    assert sorted("were created" in run.stderr for run in runs) == [False, False, True]


async def test_what_is_submitted_with_the_settings_is_settled_by_the_fleet(fleet):
    run = fleet.start("a")
    assets = [fleet.store.add(Lifecycle(1)) for _ in range(3)]
    await done(fleet, "submit", *assets, "--metadata", "user=ada")
    await eventually(lambda: len(fleet.events()) == 3, otherwise=lambda: run.stderr)
    assert fleet.counts() == {f"{asset_id}.1": 1 for asset_id in assets}
    assert {event["data"]["submission"]["metadata"]["user"] for event in fleet.events()} == {"ada"}


@pytest.mark.parametrize("how", ["once", "stdin", "wait"])
async def test_a_run_that_ends_by_itself_uses_no_database(fleet, how):
    """Nor does it connect: the settings name one that is away."""
    worker = fleet.worker("alone")
    asset = fleet.store.add(Lifecycle(1))
    worker.submit(asset)
    settings = fleet.settings("alone") | {"POSTGRES__URL": "postgresql://127.0.0.1:1/nothing"}
    stdin = worker.queue_file.open("rb") if how == "stdin" else None
    arguments = {
        "once": ("run", "--once", "--queue-file", str(worker.queue_file), "--state-dir", str(worker.state)),
        "stdin": ("run", "--stdin", "--state-dir", str(worker.state)),
        "wait": ("wait", asset),
    }[how]
    run = worker.start(*arguments, base_url=fleet.base_url, **({"stdin": stdin} if stdin else {}), **settings)
    assert await run.end() == 0, run.stderr
    assert [event["id"] for event in run.events()] == [f"{asset}.1"]
    assert fleet.sql("SELECT count(*) FROM asset_worker.events") == [(0,)]
    if stdin:
        stdin.close()


async def test_a_dead_letter_that_is_put_back_is_sent_by_the_worker(fleet):
    async with Receiver() as receiver:
        receiver.status = 503
        sinks = json.dumps([{"url": receiver.url, "name": "hook", "retry": [0.1]}])
        worker = fleet.worker("a")
        settings = fleet.settings("a") | {"EVENTS__SINKS": sinks}
        run = worker.start("run", "--state-dir", str(worker.state), base_url=fleet.base_url, **settings)
        asset = fleet.store.add(Lifecycle(1))
        fleet.submit(asset)
        await run.until("sink.dead_letter")
        shown = await done(fleet, "dead-letters", "list", "--json")
        assert [json.loads(line)["id"] for line in shown.splitlines()] == [f"{asset}.1"]
        receiver.status = 200
        assert await done(fleet, "dead-letters", "retry", "--all") == "1 to be sent again to hook\n"
        await eventually(lambda: receiver.received == [f"{asset}.1"], otherwise=lambda: run.stderr)
        await eventually(lambda: fleet.sql("SELECT count(*) FROM asset_worker.deliveries") == [(0,)])
        assert await done(fleet, "dead-letters", "list", "--json") == ""


async def test_status_shows_what_a_worker_owns_and_that_it_runs(fleet):
    run = fleet.start("a")
    asset = fleet.store.add(Lifecycle(600))
    fleet.submit(asset)
    await eventually(lambda: fleet.sql("SELECT count(owner) FROM asset_worker.pending") == [(1,)])
    shown = fleet.worker("b").start(
        "status", "--json", "--state-dir", str(fleet.workers["a"].state), **fleet.settings("a")
    )
    assert await shown.end() == 0, shown.stderr
    report = json.loads(shown.stdout)
    assert (report["worker"]["state"], report["worker"]["pid"]) == ("running", run.process.pid)
    assert [each["asset_id"] for each in report["pending"]] == [asset]
    assert list(report["outbox_depth"].values()) == [0]


async def test_doctor_tells_a_worker_from_another_of_its_name(fleet):
    run = fleet.start("a")
    await run.until("worker.started")
    for state, is_ours in ((fleet.workers["a"].state, True), (fleet.worker("b").state, False)):
        doctor = fleet.worker("b").start(
            "doctor", "--json", "--state-dir", str(state), base_url=fleet.base_url, **fleet.settings("a")
        )
        await doctor.end()
        checks = {each["name"]: each for each in json.loads(doctor.stdout)["checks"]}
        assert checks["database"]["state"] == checks["tables"]["state"] == checks["rights"]["state"] == "ok"
        assert checks["fleet_name"]["state"] == ("ok" if is_ours else "problem"), checks["fleet_name"]


PASSWORD = "sesame-0/open-1:now-2@once-3"
PARTS = [b"sesame-0", b"open-1", b"now-2", b"once-3"]


async def test_the_password_of_the_database_is_in_no_file_no_output_and_no_answer(fleet):
    """Neither while it works, nor when the server refuses it, nor at a start that fails."""
    url = with_password(fleet.url, "ada", PASSWORD)
    fleet.sql("GRANT asset_worker_worker TO ada")
    settings = {"POSTGRES__URL": url, "LOG__LEVEL": "debug", "ADMIN__PORT": "0"}
    run = fleet.start("a", **settings)
    await run.until("worker.started")
    note = json.dumps({"metadata": {"note": f"it is {PASSWORD}"}})
    fleet.sql("SELECT asset_worker.submit(%s, %s)", fleet.store.add(Lifecycle(1)), note)
    await eventually(lambda: len(fleet.events()) == 1, otherwise=lambda: run.stderr)
    with_password(fleet.url, "ada", "another one")
    fleet.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'ada'")
    await run.until("database.failed")
    await eventually(lambda: "password authentication failed" in run.stderr, otherwise=lambda: run.stderr)
    answers = []
    async with ClientSession(await admin_of(run)) as session:
        for path in ("/readyz", "/", "/metrics", "/healthz"):
            async with session.get(path) as response:
                answers.append(await response.read())
    second = fleet.start("b", **settings)
    assert await second.end() == 75, second.stderr
    run.send(signal.SIGTERM)
    await run.end()
    written = [*answers, fleet.events_file.read_bytes(), *(fleet.workers[name].written() for name in "ab")]
    assert [part for part in PARTS if any(part in text for text in written)] == []
