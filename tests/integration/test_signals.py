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


async def test_the_demo_dies_of_the_signal_that_ends_it(worker):
    run = worker.start("demo")
    await eventually(lambda: run.stdout, otherwise=lambda: run.stderr)
    run.send(signal.SIGINT)
    assert await run.end() == -signal.SIGINT
    assert "Traceback" not in run.stderr


async def test_a_signal_while_a_one_off_is_loaded_ends_it_by_that_signal(serve, worker):
    simulator = await serve()
    for delay in (0.05, 0.1, 0.2, 0.3):
        run = worker.start("wait", simulator.store.add(NEVER), base_url=simulator.base_url)
        await asyncio.sleep(delay)
        run.send(signal.SIGINT)
        code = await run.end()
        assert code == -signal.SIGINT or delay < 0.1, run.stderr  # the interpreter itself may not be up yet


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
    run.send(signal.SIGTERM)
    assert await run.end() == -signal.SIGTERM


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
