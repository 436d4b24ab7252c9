"""Signals as the processes around the worker see them: a shell, a supervisor, a terminal that hangs up."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from asset_worker.simulator.lifecycles import Lifecycle
from tests.integration.processes import KEY, ROOT, eventually

NEVER = Lifecycle(100_000)


async def started(simulator, worker, command):
    """A one-off that waits for an asset that is never ready."""
    asset_id = simulator.store.add(NEVER)
    if command == "wait":
        run = worker.start("wait", asset_id, base_url=simulator.base_url)
    else:
        worker.submit(asset_id)
        run = worker.run("--once", base_url=simulator.base_url)
    await eventually(lambda: simulator.stats.requests > 0, otherwise=lambda: run.stderr)
    return run


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
@pytest.mark.parametrize("command", ["wait", "run --once"])
async def test_a_one_off_dies_of_the_signal_that_ends_it(serve, worker, command, number):
    run = await started(await serve(), worker, command)
    run.send(number)
    assert await run.end() == -number
    assert "Traceback" not in run.stderr
    if command == "run --once" and number in {signal.SIGTERM, signal.SIGINT}:  # in order
        assert run.logs("worker.stopped")[0]["exit_code"] == 128 + number


@pytest.mark.new_interpreter
async def test_the_demo_dies_of_the_signal_that_ends_it(worker):
    run = worker.start("demo")
    await eventually(lambda: run.stdout, otherwise=lambda: run.stderr)
    run.send(signal.SIGINT)
    assert await run.end() == -signal.SIGINT
    assert "Traceback" not in run.stderr


@pytest.mark.new_interpreter
async def test_a_signal_while_a_one_off_is_loaded_ends_it_by_that_signal(serve, worker):
    simulator = await serve()
    for delay in (0.05, 0.1, 0.2, 0.3, 0.5):
        run = worker.start("wait", simulator.store.add(NEVER), base_url=simulator.base_url)
        await asyncio.sleep(delay)
        run.send(signal.SIGINT)
        await eventually(
            lambda run=run: run.process.poll() is not None or "Exception ignored" in run.stderr,
            otherwise=lambda run=run: run.stderr,
        )
        if run.process.poll() is None:
            run.send(signal.SIGINT)  # the interpreter itself was not up yet, and has dropped the first
        code = await run.end()
        # It may also report the signal in its own way.
        is_starting = "KeyboardInterrupt" in run.stderr and "asset_worker" not in run.stderr
        assert code == -signal.SIGINT or (code == 1 and is_starting), run.stderr


CTRL_C_IN_A_CALLBACK = """
import os, signal, sys, weakref
from asset_worker.__main__ import main

class Finder:
    def find_spec(self, name, *_):
        if name == "click":
            kept = Finder()
            reference = weakref.ref(kept, lambda _: os.kill(os.getpid(), signal.SIGINT))
            del kept

sys.meta_path.insert(0, Finder())
sys.argv = ["asset-worker", "--version"]
main()
"""


def test_a_ctrl_c_in_a_callback_of_an_import_is_not_dropped():
    """Python prints a KeyboardInterrupt that is raised there, and goes on."""
    environ = os.environ | {"PYTHONPATH": str(ROOT / "worker")}
    done = subprocess.run([sys.executable, "-c", CTRL_C_IN_A_CALLBACK], env=environ, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, b"", b"")


async def test_a_shell_loop_ends_at_ctrl_c(serve, worker):
    """The terminal sends SIGINT to all processes in the foreground; a shell ends its loop if the command died of it."""
    simulator = await serve()
    simulator.set_faults("hang")
    asset_id = simulator.store.add(NEVER)
    loop = f'for turn in 1 2 3; do "$0" -m asset_worker wait {asset_id}; echo "$turn" >>turns; done'
    environ = os.environ | {
        "PYTHONPATH": str(ROOT / "worker"),
        "TWELVE_LABS_API_KEY": KEY,
        "TWELVELABS_BASE_URL": simulator.base_url,
    }
    shell = await asyncio.create_subprocess_exec(
        "bash", "-c", loop, sys.executable, env=environ, cwd=worker.folder, start_new_session=True
    )
    await eventually(lambda: simulator.stats.in_flight == 1)
    os.killpg(shell.pid, signal.SIGINT)
    assert await asyncio.wait_for(shell.wait(), 60) == -signal.SIGINT
    assert not (worker.folder / "turns").exists()


async def test_a_second_signal_ends_a_one_off_at_once_and_by_that_signal(serve, worker):
    simulator = await serve()
    simulator.set_faults("hang")
    worker.submit(simulator.store.add(NEVER))
    run = worker.run("--once", base_url=simulator.base_url, SHUTDOWN__GRACE="300", API__TIMEOUT="300")
    await eventually(lambda: simulator.stats.in_flight == 1, otherwise=lambda: run.stderr)
    run.send(signal.SIGTERM)
    await run.until("worker.stopping")
    await asyncio.sleep(0.5)  # sooner, it would be the same signal, sent twice
    run.send(signal.SIGTERM)
    assert await run.end() == -signal.SIGTERM


async def test_timeout_sends_its_signal_twice_and_stops_a_service_in_order(serve, worker):
    """GNU `timeout` sends it to the process, and then to the group."""
    simulator = await serve()
    simulator.set_faults("hang")
    worker.submit(simulator.store.add(NEVER))
    run = worker.run(base_url=simulator.base_url, before='set -- timeout 600 "$@";', SHUTDOWN__GRACE="2")
    await eventually(lambda: simulator.stats.in_flight == 1, otherwise=lambda: run.stderr)
    run.send(signal.SIGTERM)  # to `timeout`, which passes it on as when the time is up
    assert await run.end() == 0
    assert run.logs("worker.stopping")[0]["reason"] == "SIGTERM"
    assert run.logs("worker.stopped")[0]["exit_code"] == 0


async def test_a_second_signal_that_comes_later_ends_a_service_at_once(serve, worker):
    simulator = await serve()
    simulator.set_faults("hang")
    worker.submit(simulator.store.add(NEVER))
    run = worker.run(base_url=simulator.base_url, SHUTDOWN__GRACE="300", API__TIMEOUT="300")
    await eventually(lambda: simulator.stats.in_flight == 1, otherwise=lambda: run.stderr)
    for _ in range(3):  # one, sent several times
        run.send(signal.SIGTERM)
        await asyncio.sleep(0.02)
    await run.until("worker.stopping")
    await asyncio.sleep(0.5)
    assert run.process.poll() is None
    run.send(signal.SIGTERM)
    assert await run.end() == 128 + signal.SIGTERM


async def test_a_run_that_reads_stdin_is_a_service_until_its_input_ends(serve, worker):
    simulator = await serve()
    codes = []
    for is_open in (True, False):
        asset_id = simulator.store.add(NEVER)
        run = worker.start("run", "--stdin", base_url=simulator.base_url, stdin=subprocess.PIPE)
        run.process.stdin.write(asset_id.encode() + b"\n")
        run.process.stdin.flush()
        if not is_open:
            run.process.stdin.close()
        await eventually(lambda run=run: run.logs("intake.accepted"), otherwise=lambda run=run: run.stderr)
        await asyncio.sleep(0.5)
        run.send(signal.SIGTERM)
        codes.append(await run.end())
    assert codes == [0, 1]


async def test_a_hangup_reloads_the_log_level_and_the_key_and_says_what_needs_a_restart(serve, worker):
    simulator = await serve(key=KEY)
    key_file, config = worker.folder / "secrets" / "key", worker.folder / "worker.toml"
    key_file.parent.mkdir()
    key_file.write_text(KEY)
    config.write_text(f'[log]\nlevel = "info"\n[api]\nkey_file = "{key_file}"\n')
    run = worker.run("--config", config, base_url=simulator.base_url)
    await run.until("worker.started")
    config.write_text(f'[log]\nlevel = "debug"\n[api]\nkey_file = "{key_file}"\n[limits]\nshare = 0.5\n')
    run.send(signal.SIGHUP)
    reloaded = await run.until("worker.reloaded")
    assert (reloaded["changed"], reloaded["needs_restart"]) == (["log.level"], ["limits.share"])
    config.write_text("[log\n")
    run.send(signal.SIGHUP)
    failed = await run.until("worker.reload_failed")
    assert str(config) in failed["error"]
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        run.send(number)
    await eventually(lambda: len(run.logs("worker.signal_ignored")) == 2)
    asset_id = simulator.store.add(Lifecycle())
    worker.submit(asset_id)
    await eventually(worker.events)
    run.send(signal.SIGTERM)
    assert await run.end() == 0
    assert KEY not in run.stderr


@pytest.mark.new_interpreter
async def test_a_hangup_at_any_moment_of_the_start_ends_no_service(serve, worker):
    simulator = await serve()
    for delay in (0.2, 0.4, 0.6, 2.0):
        run = worker.run(base_url=simulator.base_url)
        await asyncio.sleep(delay)
        run.send(signal.SIGHUP)
        await eventually(
            lambda run=run: run.logs("worker.reloaded") or run.process.poll() is not None,
            otherwise=lambda run=run: run.stderr,
        )
        if run.process.returncode == -signal.SIGHUP and delay < 2:  # our code did not run yet
            assert run.stderr == ""
            continue
        run.send(signal.SIGTERM)
        assert await run.end() == 0


async def test_a_hangup_that_is_ignored_at_the_start_stays_ignored(serve, worker):
    """As by nohup."""
    simulator = await serve()
    for arguments in (("--once",), ()):
        worker.submit(simulator.store.add(NEVER))
        run = worker.run(*arguments, base_url=simulator.base_url, before="trap '' HUP;")
        await run.until("worker.started")
        run.send(signal.SIGHUP)
        await asyncio.sleep(0.5)
        run.send(signal.SIGTERM)
        assert await run.end() == (-signal.SIGTERM if arguments else 0)
        assert not run.logs("worker.reloaded")
        assert run.logs("worker.stopped")
