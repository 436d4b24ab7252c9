"""`run --account` as a process: every new asset of the account has one event, and nobody has submitted it."""

from __future__ import annotations

import asyncio
import io
import itertools
import math
import signal
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from random import Random

import pytest

from asset_worker.queue.local.journal import FILE_NAME
from asset_worker.simulator.clock import written
from asset_worker.simulator.lifecycles import KINDS, Lifecycle, outcome
from tests.integration.accounts import PageHook, Storm, add, add_older, follow, until_events, until_followed
from tests.integration.processes import eventually
from tests.integration.test_sdk import MIXED, sdk
from tests.integration.test_submissions import TOKEN, client_of
from tests.integration.webhooks import FAULTS, TIMEOUT, Hooks, receiving

DONE = Lifecycle()
QUIET = {"LOG__LEVEL": "warning"}


def subjects(worker):
    return [event["subject"] for event in worker.events()]


async def until_pages(simulator, run, count):
    """Wait until the first page was read so often, from now on."""
    before = simulator.stats.pages[1]
    await eventually(lambda: simulator.stats.pages[1] >= before + count, otherwise=lambda: run.stderr)


@pytest.mark.timeout(400)
async def test_two_hundred_uploads_by_the_sdk_are_two_hundred_signed_webhooks_over_kills(serve, worker):
    """The whole product in one command: no queue file, and no line of code at the uploader."""
    simulator = await serve(time_scale=60, seed=1, receiver=receiving(seed=1))
    add_older(simulator, 120)
    hooks = Hooks(simulator, worker.folder)
    hooks.receiver.faults.replace(*FAULTS)

    def start():
        return follow(worker, simulator.base_url, webhooks=[hooks.table(timeout=TIMEOUT)])

    def upload():
        ids = []
        with sdk(simulator) as client:
            for number in range(200):
                name = MIXED[number % len(MIXED)]
                ids.append(client.assets.create(method="direct", file=(name, io.BytesIO(b"\0" * 5000))).id)
        return ids

    run, random = start(), Random(1)
    await until_followed(simulator, run)
    uploading = asyncio.create_task(asyncio.to_thread(upload))
    for _ in range(5):
        await asyncio.sleep(random.uniform(0.1, 0.6))
        run.send(signal.SIGKILL)
        await run.end()
        run = start()
    ids = await uploading
    await eventually(lambda: len(hooks.accepted()) >= len(ids), otherwise=lambda: run.stderr)
    await until_pages(simulator, run, 3)
    run.send(signal.SIGTERM)
    assert await run.end() == 0
    assert sorted(hooks.accepted()) == sorted(f"{each}.1" for each in ids)
    assert hooks.wrong(worker) == []
    types = {event.subject: event.type for event in hooks.receiver.deliveries.events()}
    assert types == {each: f"dev.asset-worker.asset.{outcome(simulator.store.lifecycle(each))}" for each in ids}


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("older", "skew", "settings"),
    [
        pytest.param(100_000, 0.0, {}, id="100,000 older"),
        pytest.param(300, 7200.0, {}, id="server ahead"),
        pytest.param(300, -86_400.0, {"POLL__BATCH": "off"}, id="server behind, without lists"),
    ],
)
async def test_nothing_is_missed_and_nothing_comes_twice_while_the_list_moves_and_the_worker_is_killed(
    serve, worker, older, skew, settings
):
    """`python -m tests.integration.soak --account --kills 100` is the long form."""
    simulator = await serve(time_scale=1000, seed=1, clock_skew=skew)
    add_older(simulator, older)
    storm = Storm(simulator, worker, Random(older), **settings)
    weathered = await storm.rage(kills=5, burst=500 if older > 1000 else 120)
    assert weathered.wrong == []
    assert (weathered.kills, bool(weathered.late), bool(weathered.deleted)) == (5, True, True)
    assert weathered.between_pages


async def test_a_page_is_the_first_look_at_a_new_asset(serve, worker):
    """Assets that are done when they are found cost no request of their own, once their shape is proven."""
    simulator = await serve()
    run = follow(worker, simulator.base_url)
    await until_followed(simulator, run)
    first = [simulator.store.add(DONE, kind=KINDS["clip"]) for _ in range(60)]
    await until_events(worker, run, *first)
    stats = simulator.stats
    own, retrieves = stats.by_route["list"] - stats.pages.total(), stats.by_route["retrieve"]
    ids = [simulator.store.add(DONE, kind=KINDS["clip"]) for _ in range(500)]
    await until_events(worker, run, *ids)
    assert sorted(subjects(worker)) == sorted([*first, *ids])
    assert stats.by_route["list"] - stats.pages.total() == own
    assert stats.by_route["retrieve"] - retrieves < 0.1 * len(ids)


async def test_an_account_at_rest_costs_one_request_an_interval(serve, worker):
    """However many assets there are: the newest page alone is read, but for one walk when the overlap has passed."""
    simulator = await serve()
    add_older(simulator, 2_000)
    loop = asyncio.get_running_loop()
    began = loop.time()
    run = follow(worker, simulator.base_url, ACCOUNT__OVERLAP="0.5")
    await until_pages(simulator, run, 15)
    stats = simulator.stats
    seconds = loop.time() - began
    assert stats.pages[1] <= seconds / 0.2 + 2
    assert stats.requests == stats.pages.total()
    assert stats.requests - stats.pages[1] <= 2


async def test_the_start_is_fixed_before_the_first_answer(serve, worker):
    """What is uploaded while the API is down at the first start is found, also over a kill."""
    simulator = await serve()
    simulator.set_faults("status=503")
    older = add(simulator, Random(1), age=120)
    run = follow(worker, simulator.base_url)
    await eventually(lambda: simulator.stats.by_status[503], otherwise=lambda: run.stderr)
    ids, uploaded_at = [simulator.store.add(DONE) for _ in range(3)], simulator.clock.now()
    await eventually(lambda: simulator.clock.now() > uploaded_at + 2)
    run.send(signal.SIGKILL)
    await run.end()
    run = follow(worker, simulator.base_url)
    simulator.set_faults()
    await until_events(worker, run, *ids)
    await until_pages(simulator, run, 3)
    assert sorted(subjects(worker)) == sorted(ids)
    assert older not in subjects(worker)


async def test_an_asset_of_the_future_does_not_blind_it(serve, worker):
    simulator = await serve()
    run = follow(worker, simulator.base_url)
    await until_followed(simulator, run)
    ids = [simulator.store.add(DONE, created_at=datetime(2099, 1, 1, tzinfo=UTC).timestamp()) for _ in range(60)]
    await until_events(worker, run, *ids)
    ids += [simulator.store.add(DONE) for _ in range(60)]
    await until_events(worker, run, *ids)
    run.send(signal.SIGKILL)
    await run.end()
    ids += [simulator.store.add(DONE) for _ in range(60)]
    run = follow(worker, simulator.base_url)
    await until_events(worker, run, *ids)
    await until_pages(simulator, run, 3)
    assert sorted(subjects(worker)) == sorted(ids)


async def test_new_assets_are_found_in_time_while_all_older_ones_are_read(serve, worker):
    """`account.since = "all"`: the low mark survives kills, and no page is read again from the beginning."""
    simulator = await serve()
    older = add_older(simulator, 5_000)
    settings = {"ACCOUNT__SINCE": "all", **QUIET}
    run = follow(worker, simulator.base_url, **settings)
    ids, deepest = list(older), []
    for _ in range(4):
        await until_pages(simulator, run, 1)
        await eventually(lambda: simulator.stats.pages.total() > 20 * (len(deepest) + 1))
        new = simulator.store.add(DONE)
        ids.append(new)
        await eventually(lambda new=new: new in simulator.stats.first_looks)
        run.send(signal.SIGKILL)
        await run.end()
        deepest.append(max(simulator.stats.pages))
        run = follow(worker, simulator.base_url, **settings)
    await until_events(worker, run, *ids)
    run.send(signal.SIGTERM)
    assert await run.end() == 0
    assert sorted(subjects(worker)) == sorted(ids)
    assert deepest == sorted(deepest)
    later = {page: count for page, count in simulator.stats.pages.items() if page > 10}
    assert sum(later.values()) < 1.5 * len(later)


@pytest.mark.parametrize("since", ["all", "instant"])
async def test_once_is_one_walk_of_everything_since(serve, worker, since):
    simulator = await serve()
    older = add_older(simulator, 130)
    newer = [simulator.store.add(DONE) for _ in range(70)]
    settings = {"ACCOUNT__SINCE": "all" if since == "all" else written(simulator.clock.now() - 1800)}
    run = follow(worker, simulator.base_url, "--once", **settings)
    wanted = newer + (older if since == "all" else [])
    all_ready = all(outcome(simulator.store.lifecycle(each)) == "ready" for each in wanted)
    assert await run.end() == (0 if all_ready else 1), run.stderr
    assert sorted(subjects(worker)) == sorted(wanted)
    requests = simulator.stats.requests
    assert await follow(worker, simulator.base_url, "--once", **settings).end() == 0
    assert sorted(subjects(worker)) == sorted(wanted)
    assert simulator.stats.requests > requests


async def test_a_deletion_while_the_list_is_read_hides_no_asset(serve, worker):
    """It moves older assets up, past the reader: from the page that comes next to the one that was read before."""
    simulator = await serve()
    ids = [simulator.store.add(DONE, age=1000 - number) for number in range(300)]
    deleted, hook = [], PageHook(simulator)

    def delete():
        deleted.append(ids[-1 - len(deleted)])
        simulator.store.delete(deleted[-1])

    for page in (2, 3, 5):
        hook.on(page, delete)
    assert await follow(worker, simulator.base_url, "--once", ACCOUNT__SINCE="all").end() in {0, 1}
    assert len(deleted) == 3
    assert set(subjects(worker)) >= set(ids) - set(deleted)
    assert len(subjects(worker)) == len(set(subjects(worker)))


async def test_a_late_asset_is_found_although_the_newest_page_does_not_change(serve, worker):
    """It appears on the second page when an older one is deleted: the newest page and the count stay what they were."""
    simulator = await serve()
    older = add_older(simulator, 20)
    run = follow(worker, simulator.base_url)
    await until_followed(simulator, run)
    late = simulator.store.add(Lifecycle(visible_after=math.inf))
    newer = [simulator.store.add(DONE) for _ in range(60)]
    await until_events(worker, run, *newer)
    await until_pages(simulator, run, 2)
    simulator.store.change(late, DONE)
    simulator.store.delete(older[0])
    await until_events(worker, run, late)
    assert sorted(subjects(worker)) == sorted([late, *newer])


async def test_once_needs_to_know_since_when(serve, worker):
    simulator = await serve()
    run = follow(worker, simulator.base_url, "--once")
    assert await run.end() == 2
    assert "account.since" in run.stderr
    assert simulator.stats.requests == 0


async def test_an_asset_that_is_also_submitted_has_one_event(serve, worker):
    """By a queue file, over HTTP, or by both, before the account shows it or afterwards."""
    simulator = await serve()
    token_file = worker.folder / "token"
    token_file.touch(mode=0o600)
    token_file.write_text(f"{TOKEN}\n")
    run = follow(
        worker,
        simulator.base_url,
        *("--queue-file", worker.queue_file, "--admin-port", "0"),
        ADMIN__TOKEN_FILE=str(token_file),
        QUEUE__DEDUPE_WINDOW="86400",  # a line that comes after the completion is a repeat
    )
    await until_followed(simulator, run)
    client, ids = await client_of(run), []
    for number in range(60):
        ids.append(simulator.store.add(Lifecycle(0 if number % 3 else 0.3)))
        if number % 20 == 0:
            await until_pages(simulator, run, 1)
        if number % 4 < 2:
            worker.submit(ids[-1])
        if number % 2:
            status, _ = await client.post(ids[-1])
            assert status == 202
    foreign = [simulator.store.add(DONE, age=1000) for _ in range(2)]
    worker.submit(foreign[0])
    await client.post(foreign[1])
    await until_events(worker, run, *ids, *foreign)
    await until_pages(simulator, run, 3)
    assert sorted(subjects(worker)) == sorted([*ids, *foreign])
    sources = {event["subject"]: event["data"]["submission"]["source"].partition(":")[0] for event in worker.events()}
    assert set(sources.values()) == {"account", "file", "http"}
    assert [sources[each] for each in foreign] == ["file", "http"]


async def test_a_run_after_a_long_stop_repeats_nothing(serve, worker):
    """The journal has forgotten the settlements, and the position has not forgotten the assets."""
    simulator = await serve()
    settings = {"ACCOUNT__OVERLAP": "600", "program": ("tests.integration.failpoints", "forget")}
    run = follow(worker, simulator.base_url, **settings)
    await until_followed(simulator, run)
    ids = [simulator.store.add(DONE) for _ in range(60)]
    await until_events(worker, run, *ids)
    await eventually(lambda: settlements_of(worker) == 0, otherwise=lambda: run.stderr)
    run.send(signal.SIGTERM)
    assert await run.end() == 0
    ids += [simulator.store.add(DONE) for _ in range(5)]
    run = follow(worker, simulator.base_url, **settings)
    await until_events(worker, run, *ids)
    await until_pages(simulator, run, 3)
    assert sorted(subjects(worker)) == sorted(ids)


def settlements_of(worker):
    """How many settlements the journal knows."""
    with closing(sqlite3.connect(f"{(worker.state / FILE_NAME).as_uri()}?mode=ro", uri=True, timeout=60)) as journal:
        [count] = journal.execute("SELECT count(*) FROM settled").fetchone()
    return count


async def test_filters_choose_what_is_watched(serve, worker):
    simulator = await serve()
    settings = {
        "ACCOUNT__TYPES": '["video", "image"]',
        "ACCOUNT__FILENAME": "Holiday",
        "ACCOUNT__METADATA": '{"team": "a"}',
    }
    run = follow(worker, simulator.base_url, **settings)
    await until_followed(simulator, run)
    kinds = {"clip": True, "image": True, "text": False}
    wanted = []
    for (kind, is_type), name, team in itertools.product(kinds.items(), ["my holiday", "work"], ["a", "b", None]):
        asset_id = simulator.store.add(
            DONE, kind=KINDS[kind], filename=name, user_metadata={"team": team} if team else None
        )
        if is_type and name == "my holiday" and team == "a":
            wanted.append(asset_id)
    await until_events(worker, run, *wanted)
    await until_pages(simulator, run, 2)
    assert sorted(subjects(worker)) == sorted(wanted)


@pytest.mark.parametrize("fault", ["status=403", "cut"])
async def test_a_walk_that_fails_goes_on_when_the_api_does(serve, worker, fault):
    """In its midst, for a second."""
    simulator = await serve()
    run = follow(worker, simulator.base_url, POLL__BATCH="confirm")
    await until_followed(simulator, run)
    PageHook(simulator).on(3, lambda: simulator.set_faults(f"{fault}@0-1"))
    ids = [simulator.store.add(Lifecycle(0)) for _ in range(300)]
    await until_events(worker, run, *ids)
    assert sorted(subjects(worker)) == sorted(ids)
    assert simulator.stats.by_fault


async def test_a_full_queue_holds_the_account_up_and_loses_nothing(serve, worker):
    simulator = await serve()
    run = follow(worker, simulator.base_url, QUEUE__MAX_PENDING="30")
    await until_followed(simulator, run)
    never = [simulator.store.add(Lifecycle(math.inf)) for _ in range(20)]
    ids = [simulator.store.add(Lifecycle(0.5)) for _ in range(150)]
    await until_events(worker, run, *ids)
    assert sorted(subjects(worker)) == sorted(ids)
    assert not set(never) & set(subjects(worker))
