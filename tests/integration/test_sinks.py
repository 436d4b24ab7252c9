"""Event targets that can't be used, or are taken out of the settings, in a real process."""

from __future__ import annotations

import json
import signal

from asset_worker.simulator.lifecycles import Lifecycle
from tests.integration.admin import admin_of, status_of, until_ready
from tests.integration.processes import eventually


async def test_a_sink_that_was_removed_and_put_back_has_every_event_once(serve, worker):
    """It fails, so that events wait for it; then it is out of the settings for a run, which completes another."""
    simulator = await serve()
    failing = worker.folder / "a"
    expected = []

    async def a_run(*sinks, completes=1):
        ids = [simulator.store.add(Lifecycle()) for _ in range(completes)]
        worker.submit(*ids)
        expected.extend(f"{asset_id}.1" for asset_id in ids)
        targets = [each for sink in sinks for each in ("--events", sink)]
        run = worker.run(*targets, base_url=simulator.base_url, SHUTDOWN__GRACE="2")
        await eventually(lambda: len(worker.events()) == len(expected), otherwise=lambda: run.stderr)
        if failing in sinks and failing.is_file():
            await eventually(lambda: len(lines(failing)) == len(expected), otherwise=lambda: run.stderr)
        run.send(signal.SIGTERM)
        assert await run.end() == 0
        return run

    def lines(path):
        return [json.loads(line)["id"] for line in path.read_text().splitlines()] if path.exists() else []

    failing.touch()
    await a_run(failing)
    failing.rename(worker.folder / "aside")
    failing.symlink_to("missing/a")
    await a_run(failing, completes=2)
    without = await a_run()
    [warning] = without.logs("sink.absent")
    assert (warning["level"], warning["sink"], warning["events"]) == ("warning", f"file:{failing}", 2)
    assert 86_000 < warning["kept_for"] <= 86_400
    status = worker.start("status", "--state-dir", worker.state, "--json")
    assert await status.end() == 0
    assert json.loads(status.stdout)["outbox_kept"] == {f"file:{failing}": 3}
    failing.unlink()
    (worker.folder / "aside").rename(failing)
    back = await a_run(failing)
    assert back.logs("sink.absent") == []
    assert sorted(lines(failing)) == sorted(expected)
    assert [line["id"] for line in worker.events()] == lines(failing)


async def test_a_target_and_a_queue_file_in_missing_directories_are_reported_at_the_start_and_recover(serve, worker):
    simulator = await serve()
    missing, spool = worker.folder / "missing", worker.folder / "spool"
    run = worker.start(
        *("run", "--queue-file", spool / "queue", "--events", missing / "events", "--state-dir", worker.state),
        *("--admin-port", "0"),
        base_url=simulator.base_url,
    )
    where = f"the directory {spool} does not exist: create it, or correct queue.file"
    await until_ready(run, f"the queue file can't be read ({where})", f"the sink file:{missing / 'events'} fails")
    sink = await run.until("sink.failed")
    assert sink["level"] == "error"
    assert f"the directory {missing} does not exist: create it" in sink["error"]
    intake = await run.until("intake.unreadable")
    assert (intake["level"], intake["detail"]) == ("warning", where)
    missing.mkdir()
    spool.mkdir()
    await until_ready(run)
    asset_id = simulator.store.add(Lifecycle())
    (spool / "queue").write_text(f"{asset_id}\n")
    await eventually(lambda: (missing / "events").exists() and (missing / "events").read_text().endswith("\n"))
    run.send(signal.SIGTERM)
    assert await run.end() == 0


async def test_a_worker_is_not_ready_from_the_first_answer_on_if_a_target_cannot_be_used(serve, worker):
    simulator = await serve()
    run = worker.run("--events", worker.folder / "missing" / "e", "--admin-port", "0", base_url=simulator.base_url)
    status, problems = await status_of(await admin_of(run))
    assert (status, len(problems)) == (503, 1)


async def test_a_directory_is_refused_as_a_target_unless_it_was_a_file_before(serve, worker):
    """Then somebody has put it there: its events wait for the file, and the other targets go on."""
    simulator = await serve()
    target = worker.folder / "a"
    target.mkdir()
    refused = worker.run("--events", target, base_url=simulator.base_url)
    assert await refused.end() == 2
    assert f"{target} is a directory: name a file in it" in refused.stderr
    assert "Traceback" not in refused.stderr
    target.rmdir()
    for expected in (1, 2, 3):
        worker.submit(simulator.store.add(Lifecycle()))
        if expected == 2:
            target.rename(worker.folder / "aside")
            target.mkdir()
        if expected == 3:
            target.rmdir()
            (worker.folder / "aside").rename(target)
        run = worker.run("--events", target, base_url=simulator.base_url, SHUTDOWN__GRACE="2")
        await eventually(lambda count=expected: len(worker.events()) == count, otherwise=lambda run=run: run.stderr)
        if expected != 2:
            await eventually(lambda: target.read_bytes() == worker.events_file.read_bytes())
        run.send(signal.SIGTERM)
        assert await run.end() == 0
