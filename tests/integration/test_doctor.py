"""`doctor` as users run it: what it costs, what it sees, and how it ends."""

from __future__ import annotations

import json
import signal

from tests.integration.processes import KEY, Run, eventually

OTHER_KEY = "tlk_of_somebody_else_0123"


async def test_the_key_is_tried_with_one_request_and_locally_with_none(serve, worker):
    simulator = await serve(key=KEY)
    where = ("--state-dir", worker.state, "--queue-file", worker.queue_file)
    local = worker.start("doctor", "--local", *where, base_url=simulator.base_url)
    assert await local.end() == 0, local.stdout
    assert simulator.stats.by_route == {}
    good = worker.start("doctor", *where, base_url=simulator.base_url)
    assert await good.end() == 0, good.stdout
    assert dict(simulator.stats.by_route) == {"list": 1}
    refused = worker.start("doctor", "--json", *where, base_url=simulator.base_url, API__KEY=OTHER_KEY)
    assert await refused.end() == 3
    checks = {check["name"]: check for check in json.loads(refused.stdout)["checks"]}
    assert (checks["key"]["state"], checks["api"]["state"], checks["clock"]["state"]) == ("problem", "ok", "ok")
    written = worker.written()
    assert KEY.encode() not in written
    assert OTHER_KEY.encode() not in written
    assert not worker.state.exists()


async def test_locally_a_worker_is_seen_to_run_to_stop_and_to_be_killed(serve, worker):
    simulator = await serve()

    async def examined() -> tuple[int, str, str]:
        run = worker.start("doctor", "--local", "--json", "--state-dir", worker.state, base_url=simulator.base_url)
        code = await run.end()
        assert run.stdout, f"{code}: {run.stderr}"
        [found] = [each for each in json.loads(run.stdout)["checks"] if each["name"] == "worker"]
        return code, found["state"], found["text"]

    async def started() -> Run:
        run: Run = worker.run(base_url=simulator.base_url)
        await run.until("worker.started")
        report = worker.state / "status.json"
        await eventually(lambda: report.exists() and b'"running"' in report.read_bytes(), otherwise=lambda: run.stderr)
        return run

    run = await started()
    code, state, text = await examined()
    assert (code, state, text.startswith(f"it runs as process {run.process.pid} (asset-worker ")) == (0, "ok", True)
    run.send(signal.SIGTERM)
    await run.end()
    code, state, text = await examined()
    assert (code, state, "it stopped in order" in text) == (0, "warning", True), text
    run = await started()
    run.send(signal.SIGKILL)
    await run.end()
    code, state, text = await examined()
    assert (code, state, "without stopping in order" in text) == (1, "problem", True), text
    assert dict(simulator.stats.by_route) == {}
