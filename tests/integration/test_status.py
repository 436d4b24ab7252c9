"""`status` says whether the worker runs and what troubles it: real processes, killed and stopped."""

from __future__ import annotations

import json
import signal

from tests.integration.holding import waiting
from tests.integration.processes import KEY, eventually
from tests.integration.terminals import on_a_terminal


async def asked(worker, *arguments):
    command = worker.start("status", "--state-dir", worker.state, *arguments)
    assert await command.end() == 0, command.stderr
    return command.stdout.decode()


async def reported(worker):
    return json.loads(await asked(worker, "--json"))["worker"]


async def test_it_says_whether_the_worker_runs_and_what_troubles_it(serve, worker):
    simulator = await serve(key=KEY)
    worker.submit(*waiting(simulator, 1))
    hook = {"url": "http://127.0.0.1:9/hook", "name": "hook", "allow_private": True}
    run = worker.run(base_url=simulator.base_url, webhooks=[hook])
    await run.until("worker.started")
    file = worker.state / "status.json"
    await eventually(lambda: file.exists() and json.loads(file.read_bytes())["pending"] == 1)
    found = await reported(worker)
    assert (found["state"], found["pid"], found["problems"]) == ("running", run.process.pid, [])
    assert found["sinks"]["hook"] == {"backlog": 0, "dead_letters": 0}
    assert found["intakes"]["queue file"] == {"position": worker.queue_file.stat().st_size, "behind": 0}
    assert (await asked(worker)).startswith(f"worker     running (pid {run.process.pid}, asset-worker ")

    simulator.key = f"{KEY}-another"
    await run.until("api.key_refused")
    await eventually(lambda: json.loads(file.read_bytes())["problems"])
    [problem] = (await reported(worker))["problems"]
    assert problem["problem"] == "the API refuses the key"
    assert all(problem[name] is not None for name in ("since", "last_error", "next_try"))
    assert problem["runbook"] == run.logs("api.key_refused")[0]["runbook"] == "docs/runbook.md#key_refused"
    shown = await asked(worker)
    assert "problem    the API refuses the key, since 20" in shown
    assert "\n           see docs/runbook.md#key_refused\n" in shown

    run.send(signal.SIGKILL)
    await run.end()
    assert (await reported(worker))["state"] == "died"
    assert "without stopping in order" in await asked(worker)

    again = worker.run(base_url=simulator.base_url, webhooks=[hook])
    await again.until("worker.started")
    assert (await reported(worker))["pid"] == again.process.pid
    await eventually(lambda: json.loads(file.read_bytes())["pid"] == again.process.pid)
    again.send(signal.SIGTERM)
    assert await again.end() == 0
    found = await reported(worker)
    assert (found["state"], found["stop_reason"]) == ("stopped", "SIGTERM")
    assert found["stopped_at"] is not None


async def test_watch_shows_it_again_until_the_signal(serve, worker):
    simulator = await serve()
    worker.submit(*waiting(simulator, 1))
    run = worker.run(base_url=simulator.base_url)
    await run.until("worker.started")
    watching = worker.start("status", "--state-dir", worker.state, "--watch", "--json")
    plain = worker.start("status", "--state-dir", worker.state, "--watch")
    async with on_a_terminal(worker, "status", "--state-dir", worker.state, "--watch", size=(60, 10)) as it:
        await eventually(lambda: it.shown.count(b"worker     running") > 1, otherwise=lambda: it.text)
        assert [line[:10] for line in it.lines[:2]] == ["worker    ", "state     "]
        assert all(len(line) <= 60 for line in it.lines)
        it.run.send(signal.SIGINT)
        await it.run.end()
    await eventually(lambda: len(watching.stdout.splitlines()) > 1)
    await eventually(lambda: b"\n\nworker     running" in plain.stdout)
    for each in (watching, plain):
        each.send(signal.SIGINT)
        assert await each.end() == -signal.SIGINT
    assert all(json.loads(line)["worker"]["state"] == "running" for line in watching.stdout.splitlines())
