"""The Python API against a simulated API, in the process of a host: this one, or one that dies."""

from __future__ import annotations

import _thread
import asyncio
import gc
import logging
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextvars import copy_context
from pathlib import Path

import pytest
import structlog
import uvloop

import asset_worker
from asset_worker import (
    AssetNotFound,
    AssetTimeout,
    BadSettings,
    Client,
    ClientClosed,
    KeyMissing,
    KeyRefused,
    StateUnusable,
)
from asset_worker.simulator.lifecycles import Lifecycle, Rendition
from asset_worker.simulator.limits import Limit, Style
from tests.integration.processes import KEY, QUICK, ROOT, eventually

UNKNOWN = "0" * 24


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """The environment of a host whose assets take a second."""
    for name in list(os.environ):
        if name.startswith(("ASSET_WORKER", "TWELVE")):
            monkeypatch.delenv(name)
    for name, value in QUICK.items():
        monkeypatch.setenv(f"ASSET_WORKER_{name}", value)
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)


@pytest.fixture(autouse=True)
def _nothing_is_left():
    """No thread of ours, whatever happened."""
    before = set(threading.enumerate())
    yield
    left = set(threading.enumerate()) - before
    assert [each.name for each in left if not each.name.startswith("asyncio-waitpid")] == []


def client(simulator, **arguments):
    return Client(**({"api_key": KEY, "base_url": simulator.base_url} | arguments))


def add(simulator, *, ready_after=0.0, hls=None, **about):
    """Add an asset that is ready so many seconds after now, and return its ID."""
    rendition = None if hls is None else Rendition(ends_after=hls)
    return simulator.store.add(Lifecycle(ends_after=ready_after, hls=rendition), **about)


def blocked_in(thread):
    """The signals that a thread leaves to others."""
    status = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
    [mask] = re.findall(r"SigBlk:\s*(\w+)", status)
    return {number for number in range(1, 64) if int(mask, 16) & 1 << (number - 1)}


async def test_a_wait_returns_how_it_ended_and_leaves_nothing(serve, capfd):
    """No task, no thread, no handler, no setting of the host, nothing printed; with log and signals as they were."""
    simulator = await serve(key=KEY)
    asset_id = add(simulator, ready_after=0.5, hls=0.3)
    collector, root, tasks = gc.get_threshold(), list(logging.getLogger().handlers), asyncio.all_tasks()
    frozen = gc.get_freeze_count()
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    async with client(simulator) as it:
        completion = await it.wait(asset_id, timeout=30, metadata={"user": "ada"})
        assert (completion.outcome, completion.metadata) == ("ready", {"user": "ada"})
        assert completion.asset == simulator.store.view(asset_id)
        assert completion.raise_for_outcome() is completion
        assert completion.event["source"] == f"{simulator.base_url}/assets"
        missing = await it.wait(UNKNOWN, not_found_grace=0.1)
        with pytest.raises(AssetNotFound, match=f"asset {UNKNOWN}: not_found"):
            missing.raise_for_outcome()
    await eventually(lambda: asyncio.all_tasks() == tasks)  # the simulator ends its connections in this loop, too
    assert gc.get_threshold() == collector
    assert gc.get_freeze_count() <= frozen
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == handlers
    assert logging.getLogger().handlers == root
    assert not structlog.is_configured()
    assert capfd.readouterr() == ("", "")


async def test_each_of_many_is_returned_as_soon_as_it_is_done(serve):
    """The looks share lists, as in the command."""
    simulator = await serve(key=KEY)
    ids = [add(simulator, ready_after=number % 7 / 10) for number in range(100)]
    async with client(simulator) as it:
        found = [each async for each in it.watch([*ids, ids[0]], timeout=30)]
        assert Counter(each.asset_id for each in found) == Counter(ids)
        assert {each.outcome for each in found} == {"ready"}
        assert simulator.stats.requests < 60
        assert [each async for each in it.watch([])] == []


async def test_whoever_leaves_the_loop_ends_the_waits_that_are_left(serve):
    simulator = await serve(key=KEY)
    ids = [add(simulator), *(add(simulator, ready_after=math.inf) for _ in range(5))]
    async with client(simulator) as it:
        async for each in it.watch(ids):
            assert each.asset_id == ids[0]
            break
        await asyncio.sleep(0.3)
        requests = simulator.stats.requests
        await asyncio.sleep(1)
        assert simulator.stats.requests == requests


async def test_a_wait_is_cancelled_at_any_moment_and_costs_no_more_requests(serve):
    simulator = await serve(key=KEY)
    async with client(simulator) as it:
        staying = asyncio.create_task(it.wait(add(simulator, ready_after=0.5)))
        left = []
        for delay in (0.0, 0.001, 0.02, 0.3):
            left.append(add(simulator, ready_after=math.inf))
            leaving = asyncio.create_task(it.wait(left[-1]))
            await asyncio.sleep(delay)
            leaving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leaving
        assert (await staying).outcome == "ready"
        await asyncio.sleep(0.1)
        looks = [simulator.stats.looks[each] for each in left]
        await asyncio.sleep(0.7)
        assert [simulator.stats.looks[each] for each in left] == looks


async def test_callers_share_the_looks_at_an_asset_and_each_has_a_timeout_of_its_own(serve):
    simulator = await serve(key=KEY)
    asset_id = add(simulator, ready_after=1.5)
    async with client(simulator) as it:
        patient, hasty = await asyncio.gather(it.wait(asset_id, timeout=30), it.wait(asset_id, timeout=0.5))
        assert (patient.outcome, hasty.outcome) == ("ready", "timed_out")
        with pytest.raises(AssetTimeout):
            hasty.raise_for_outcome()
    assert simulator.stats.looks[asset_id] <= 12


async def test_closing_a_client_ends_its_waits_and_no_others(serve):
    simulator = await serve(key=KEY)
    asset_id = add(simulator, ready_after=1.0)
    async with client(simulator) as staying:
        theirs = asyncio.create_task(staying.wait(asset_id))
        async with client(simulator) as closed:
            ours = [asyncio.create_task(closed.wait(each)) for each in (asset_id, UNKNOWN)]
            await asyncio.sleep(0.2)
        for each in ours:
            with pytest.raises(ClientClosed, match="closed during the wait"):
                await each
        with pytest.raises(ClientClosed, match="not open"):
            await closed.wait(asset_id)
        with pytest.raises(ClientClosed, match="open already"):
            await staying.__aenter__()
        assert (await theirs).outcome == "ready"
    async with closed as again:
        assert (await again.wait(asset_id)).outcome == "ready"


@pytest.mark.parametrize("delay", [0.0, 0.0005, 0.002])
async def test_a_client_may_be_cancelled_while_it_opens(serve, delay):
    simulator = await serve(key=KEY)

    async def use():
        async with client(simulator):
            await asyncio.sleep(delay)

    opening = asyncio.create_task(use())
    await asyncio.sleep(delay)
    opening.cancel()
    await asyncio.wait([opening])
    await eventually(lambda: not any(each.name == "asset-worker" for each in threading.enumerate()))


async def test_threads_and_loops_share_one_limiter(serve):
    """Twenty threads that wait, and a client: the requests are those of one worker."""
    simulator = await serve(key=KEY, limit=Limit(1000, 60, Style.VENDOR))
    ids = [add(simulator, ready_after=0.5) for _ in range(21)]
    outcomes: list[str] = []

    def wait(asset_id):
        outcomes.append(asset_worker.wait(asset_id, api_key=KEY, base_url=simulator.base_url, timeout=30).outcome)

    threads = [threading.Thread(target=wait, args=(each,)) for each in ids[1:]]
    async with client(simulator) as it:
        for each in threads:
            each.start()
        assert (await it.wait(ids[0])).outcome == "ready"
        await eventually(lambda: not any(each.is_alive() for each in threads))
    assert outcomes == ["ready"] * 20
    assert simulator.stats.requests < 25


async def test_a_limit_outlasts_the_client_that_learned_of_it(serve):
    simulator = await serve(key=KEY, limit=Limit(5, 1.0, Style.VENDOR))
    asset_id = add(simulator)
    for _ in range(6):
        async with client(simulator) as it:
            assert (await it.wait(asset_id)).outcome == "ready"
    assert simulator.stats.by_status == {200: 6}


async def test_a_host_on_uvloop_and_one_in_another_thread(serve):
    simulator = await serve(key=KEY)
    asset_id = add(simulator, ready_after=0.3)

    outcomes: list[str] = []

    async def use():
        async with client(simulator) as it:
            outcomes.append((await it.wait(asset_id)).outcome)

    def run(loop_factory):
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(use())

    for factory in (uvloop.new_event_loop, asyncio.SelectorEventLoop):
        thread = threading.Thread(target=run, args=(factory,))
        thread.start()
        await eventually(lambda thread=thread: not thread.is_alive())
    assert outcomes == ["ready", "ready"]
    with pytest.raises(RuntimeError, match="an event loop runs in this thread"):
        asset_worker.wait(asset_id)


async def test_a_refused_key_ends_the_waits_at_once_and_one_that_is_granted_again_works(serve):
    simulator = await serve(key="another key, longer")
    asset_id = add(simulator)
    async with client(simulator) as it:
        async with asyncio.timeout(10):  # each time a request tries the key, without the pause of an outage
            for _ in range(5):
                results = await asyncio.gather(*(it.wait(asset_id) for _ in range(3)), return_exceptions=True)
                assert [type(each) for each in results] == [KeyRefused] * 3
                assert KEY not in str(results)
        requests = simulator.stats.requests
        await asyncio.sleep(0.5)
        assert simulator.stats.requests == requests
        simulator.key = KEY
        assert (await it.wait(asset_id)).outcome == "ready"


async def test_an_outage_lasts_until_the_timeout_and_is_logged_by_the_host_alone(caplog, capfd, reserved_port):
    caplog.set_level(logging.INFO, "asset_worker")
    async with Client(KEY, base_url=f"http://127.0.0.1:{reserved_port}/v1.3") as it:
        completion = await it.wait(UNKNOWN, timeout=1)
    assert completion.outcome == "timed_out"
    assert "Connection refused" in str(completion.reason)
    assert any("api.retry" in record.message for record in caplog.records)
    assert {record.name for record in caplog.records} == {"asset_worker"}
    assert capfd.readouterr() == ("", "")


def test_what_cannot_be_used_is_an_error_that_says_what_to_do(monkeypatch, tmp_path):
    with pytest.raises(KeyMissing, match=r"TWELVE_LABS_API_KEY.*or pass api_key"):
        Client()
    with pytest.raises(KeyMissing, match=r"^api_key holds characters that no API key has \(.*\)$"):
        Client("a key")
    with pytest.raises(BadSettings, match=r"^base_url: plain http"):
        Client(KEY, base_url="http://api.example")
    with pytest.raises(ValueError, match="timeout is 'soon'"):
        Client(KEY, timeout="soon")
    with pytest.raises(BadSettings, match=r"^state_dir: it is empty"):
        Client(KEY, state_dir="")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Client(KEY, state_dir="~/waits")._source.state_dir == tmp_path / "waits"
    (tmp_path / "key").write_text("tlk_of_the_file")
    monkeypatch.setenv("ASSET_WORKER_API__KEY_FILE", str(tmp_path / "key"))
    assert Client()._source.key.value == "tlk_of_the_file"
    assert Client(KEY)._source.key.value == KEY
    monkeypatch.setenv("ASSET_WORKER_POLL__MAXX", "3")
    with pytest.raises(BadSettings, match=r"poll\.max"):
        Client(KEY)


def test_a_warning_about_the_key_file_goes_to_the_log_of_the_host(monkeypatch, tmp_path, caplog, capfd):
    file = tmp_path / "key"
    file.write_text(KEY)
    file.chmod(0o644)
    monkeypatch.setenv("ASSET_WORKER_API__KEY_FILE", str(file))
    before = dict(copy_context())
    Client()
    assert [record.message.split()[0] for record in caplog.records] == ["api.key_exposed"]
    assert capfd.readouterr() == ("", "")
    assert dict(copy_context()) == before


async def test_a_client_that_is_closing_lets_the_next_one_open_its_directory(serve, tmp_path):
    simulator = await serve(key=KEY)
    async with client(simulator):  # so that their thread goes on
        first, second = (client(simulator, state_dir=tmp_path) for _ in range(2))
        await first.__aenter__()
        await asyncio.gather(first.__aexit__(None, None, None), second.__aenter__())
        assert (await second.wait(add(simulator))).outcome == "ready"
        await second.__aexit__(None, None, None)


async def test_an_engine_that_nobody_has_open_any_more_is_closed(serve, tmp_path):
    """Also if the caller was cancelled while it opened, or while it was closed."""
    simulator = await serve(key=KEY)
    async with client(simulator) as staying:
        engines = staying._background._engines
        for name in ("__aenter__", "__aexit__"):
            it = client(simulator, state_dir=tmp_path)
            if name == "__aexit__":
                await it.__aenter__()
            moving = asyncio.create_task(it.__aenter__() if name == "__aenter__" else it.__aexit__(None, None, None))
            await asyncio.sleep(0)
            moving.cancel()
            await asyncio.wait([moving])
            assert moving.cancelled()
            await eventually(lambda: staying._background.users == len(engines) == 1)


async def test_a_wait_ends_although_the_disk_hangs(serve, tmp_path, monkeypatch):
    monkeypatch.setattr("asset_worker.embedding.engine.OVERTIME_SECONDS", 0.1)
    simulator = await serve(key=KEY)
    async with client(simulator, state_dir=tmp_path) as it:

        async def hang(_):
            await asyncio.Event().wait()

        it._engine._waits._accept_batch = hang
        monkeypatch.setattr("asset_worker.embedding.engine.CLOSE_SECONDS", 0.1)
        completion = await it.wait(add(simulator), timeout=0.3)
    assert (completion.outcome, simulator.stats.requests) == ("timed_out", 0)
    assert "could not be looked at in time" in completion.reason


async def test_its_threads_take_no_signals_and_end_with_the_client(serve, tmp_path):
    simulator = await serve(key=KEY)
    before = set(threading.enumerate())
    async with client(simulator, state_dir=tmp_path) as it:
        await it.wait(add(simulator))
        ours = set(threading.enumerate()) - before
        assert {each.name for each in ours} == {"asset-worker", "journal", "lookups", "schedule"}
        for each in ours:
            assert {signal.SIGINT, signal.SIGTERM} <= blocked_in(each)
    assert set(threading.enumerate()) == before


async def test_arguments_are_checked_before_a_request(serve):
    simulator = await serve(key=KEY)
    async with client(simulator) as it:
        for wrong in ("a/b", "", KEY):
            with pytest.raises(ValueError, match="asset ID"):
                await it.wait(wrong)
            with pytest.raises(ValueError, match="asset ID"):
                it.watch([wrong])
        with pytest.raises(TypeError):
            it.watch(UNKNOWN)
    assert simulator.stats.requests == 0


HOST = """
import asyncio, sys, asset_worker

async def main(base_url, state_dir, asset_id):
    async with asset_worker.Client(base_url=base_url, state_dir=state_dir) as client:
        print("kept", client.kept, flush=True)
        print(await client.wait(asset_id, metadata={"user": "ada"}), flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
def host(tmp_path):
    """A program that waits for an asset, with a state directory; started with its arguments."""
    started = []

    def start(*arguments):
        environ = os.environ | {"PYTHONPATH": str(ROOT / "worker"), "TWELVE_LABS_API_KEY": KEY}
        process = subprocess.Popen(
            [sys.executable, "-c", HOST, *map(str, arguments)], env=environ, stdout=-1, text=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


async def test_a_wait_outlasts_the_process_that_is_killed(serve, host, tmp_path):
    simulator = await serve(key=KEY)
    asset_id = add(simulator, ready_after=math.inf)
    process = host(simulator.base_url, tmp_path, asset_id)
    await eventually(lambda: simulator.stats.looks[asset_id] > 1)
    with pytest.raises(StateUnusable, match=r"in use by process .* or name another directory with state_dir$"):
        async with client(simulator, state_dir=tmp_path):
            pass
    process.kill()
    process.wait()
    before = time.time()
    async with client(simulator, state_dir=tmp_path) as it, client(simulator, state_dir=tmp_path) as same:
        assert it.kept == same.kept == (asset_id,)
        looks = simulator.stats.looks[asset_id]
        await asyncio.sleep(0.6)
        assert simulator.stats.looks[asset_id] == looks
        simulator.store.change(asset_id, Lifecycle())
        [completion] = [each async for each in it.watch(it.kept)]
        assert (completion.outcome, completion.metadata) == ("ready", {"user": "ada"})
        assert completion.submitted_at.timestamp() < before
    async with client(simulator, state_dir=tmp_path) as it:
        assert it.kept == ()


async def test_a_loop_that_an_error_ends_has_not_got_the_completion_that_it_was_at(serve, tmp_path):
    """Nor those that were ready for it: all are kept, and have the same IDs when they are waited for again."""
    simulator = await serve(key=KEY)
    ids = [add(simulator) for _ in range(3)]
    async with client(simulator, state_dir=tmp_path) as it:
        got = []

        async def fail_at_the_second():
            async for each in it.watch(ids):
                got.append(each.id)
                if len(got) == 2:
                    await asyncio.sleep(1)  # until all are ready
                    raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail_at_the_second()
        await eventually(lambda: len(it.kept) == 2)
        again = [each.id async for each in it.watch(it.kept)]
        assert len(again) == 2
        assert set(got) & set(again) == {got[1]}
        await eventually(lambda: it.kept == ())
    async with client(simulator, state_dir=tmp_path) as it:
        assert it.kept == ()


async def test_the_directory_of_a_service_is_refused(serve, worker):
    """Its sinks would lose what they are owed."""
    simulator = await serve(key=KEY)
    worker.submit(add(simulator))
    assert await worker.run("--once", base_url=simulator.base_url).end() == 0
    with pytest.raises(StateUnusable, match="a directory of its own"):
        async with client(simulator, state_dir=worker.state):
            pass


async def test_waits_end_when_the_state_directory_is_moved_away(serve, tmp_path):
    simulator = await serve(key=KEY)
    async with client(simulator, state_dir=tmp_path / "state") as it:
        waiting = asyncio.create_task(it.wait(add(simulator, ready_after=math.inf)))
        await asyncio.sleep(0.2)
        (tmp_path / "state").rename(tmp_path / "elsewhere")
        with pytest.raises(StateUnusable, match="was moved"):
            await waiting
        with pytest.raises(StateUnusable, match="was moved"):
            await it.wait(UNKNOWN)
        async with client(simulator, state_dir=tmp_path / "state") as another:
            assert (await another.wait(add(simulator))).outcome == "ready"


FORKING = """
import asyncio, os, sys, asset_worker

async def main(base_url, asset_id):
    async with asset_worker.Client(base_url=base_url) as client:
        await client.wait(asset_id)
        if os.fork():
            assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
            print((await client.wait(asset_id)).outcome)
            return
        try:
            await client.wait(asset_id)
        except asset_worker.ClientClosed as error:
            print(error, asset_worker.wait(asset_id, base_url=base_url).outcome, flush=True)
            os._exit(0)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_forked_child_uses_clients_of_its_own(serve):
    simulator = await serve(key=KEY)
    asset_id = add(simulator)
    environ = os.environ | {"PYTHONPATH": str(ROOT / "worker"), "TWELVE_LABS_API_KEY": KEY}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-Werror", "-c", FORKING, simulator.base_url, asset_id, env=environ, stdout=-1, stderr=-1
    )
    output, errors = await process.communicate()
    child, parent = output.decode().splitlines()
    assert (child.endswith("after the fork ready"), parent, errors) == (True, "ready", b"")


def test_a_ctrl_c_just_before_the_thread_blocks_is_not_missed(reserved_port):
    """It interrupts no system call then: as this one, which only marks the signal as received."""
    threading.Timer(0.3, _thread.interrupt_main).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        asset_worker.wait(UNKNOWN, api_key=KEY, base_url=f"http://127.0.0.1:{reserved_port}/v1.3", timeout=90)
    assert time.monotonic() - began < 60


async def test_ctrl_c_ends_a_wait_without_asyncio(serve):
    simulator = await serve(key=KEY)
    program = f"import asset_worker; asset_worker.wait({UNKNOWN!r}, not_found_grace='1h')"
    environ = os.environ | {"PYTHONPATH": str(ROOT / "worker"), "TWELVELABS_BASE_URL": simulator.base_url}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, env=environ | {"TWELVE_LABS_API_KEY": KEY}, stderr=-1
    )
    await eventually(lambda: simulator.stats.requests > 0)
    process.send_signal(signal.SIGINT)
    _, errors = await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode == -signal.SIGINT
    assert errors.strip().endswith(b"KeyboardInterrupt")
