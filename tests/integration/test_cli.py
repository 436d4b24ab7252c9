"""The commands, as people and scripts use them: exit codes, stdout, stderr."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import urllib.error
import urllib.request
from asyncio import to_thread
from datetime import datetime
from math import inf

import pytest
from prometheus_client.parser import text_string_to_metric_families

from asset_worker.cli.run import KEY_REFUSED_SECONDS
from asset_worker.queue.local.status_report import read_status
from asset_worker.runtime.clock import SystemClock
from asset_worker.simulator.lifecycles import Lifecycle, Rendition
from tests.doubles.collector import collecting
from tests.integration.processes import KEY, eventually

GRACE_SECONDS = 25
"""The default of `shutdown.grace`."""


async def test_wait_reports_the_result_by_its_exit_code(serve, worker):
    """0 all ready, 1 not all; an ID given twice is one; events on stdout only; nothing kept."""
    simulator = await serve(time_scale=10)
    ready, failed = simulator.store.add(Lifecycle(5)), simulator.store.add(Lifecycle(5, "failed"))
    good = worker.start("wait", ready, ready, base_url=simulator.base_url)
    bad = worker.start("wait", ready, failed, base_url=simulator.base_url)
    assert (await good.end(), await bad.end()) == (0, 1)
    assert [event["data"]["outcome"] for event in good.events()] == ["ready"]
    assert sorted(event["data"]["outcome"] for event in bad.events()) == ["failed", "ready"]
    assert [line for line in bad.stderr.splitlines() if line.startswith("asset-worker: ")] == [
        f"asset-worker: {failed}: failed: The file could not be processed."
    ]
    # On a busy machine this one warning is logged nevertheless.
    assert [line for line in good.stderr.splitlines() if "worker.lagging" not in line] == []
    assert not worker.state.exists()
    assert not (worker.folder / "home").exists()


async def test_wait_reads_ids_from_stdin_and_says_at_once_which_the_api_does_not_know(serve, worker):
    """It begins before its input has ended. With `--quiet`, only why an asset is not ready is on stderr."""
    simulator = await serve(time_scale=10)
    ready, unknown = simulator.store.add(Lifecycle(5)), "6298d673f1090f1100476d4c"
    reading, writing = os.pipe()
    run = worker.start(
        "wait", "-", "--not-found-grace", "2s", base_url=simulator.base_url, stdin=reading, LOG__LEVEL="info"
    )
    os.write(writing, f"{unknown}\n".encode())
    await eventually(lambda: "the API doesn't know this ID yet; waiting up to 2 s" in run.stderr, within=10)
    os.write(writing, f"{ready}\n".encode())
    os.close(writing)
    assert await run.end() == 1
    assert {event["subject"]: event["data"]["outcome"] for event in run.events()} == {
        unknown: "not_found",
        ready: "ready",
    }
    quiet = worker.start("wait", ready, unknown, "--quiet", "--not-found-grace", "0.5", base_url=simulator.base_url)
    assert await quiet.end() == 1
    [line] = quiet.stderr.splitlines()
    assert line.startswith(f"asset-worker: {unknown}: not found: ")
    empty = worker.start("wait", "-", base_url=simulator.base_url)
    assert await empty.end() == 2
    assert "stdin held no asset ID" in empty.stderr


async def test_wait_waits_for_what_it_is_asked_to(serve, worker):
    simulator = await serve(time_scale=10)
    endless = Rendition(ends_after=inf)
    only_hls = simulator.store.add(Lifecycle(1, hls=Rendition(ends_after=1), thumbnail=endless))
    only_thumbnail = simulator.store.add(Lifecycle(1, hls=endless, thumbnail=Rendition(ends_after=1)))
    neither = simulator.store.add(Lifecycle(1, hls=endless, thumbnail=endless))
    without = simulator.store.add(Lifecycle(1))
    expected = [
        ("hls", only_hls, 0),
        ("thumbnail", only_thumbnail, 0),
        ("asset", neither, 0),
        ("all", without, 0),
        ("all", only_hls, 4),
        ("hls", without, 4),
    ]
    runs = [
        worker.start("wait", asset_id, "--for", what, "--timeout", "3s", base_url=simulator.base_url)
        for what, asset_id, _ in expected
    ]
    assert [await run.end() for run in runs] == [code for *_, code in expected]


@pytest.mark.parametrize("problem", ["hang", "status=503", "reset"])
async def test_wait_ends_after_its_timeout_whatever_the_api_does(serve, worker, problem):
    simulator = await serve()
    asset_id = simulator.store.add(Lifecycle())
    simulator.set_faults(problem)
    run = worker.start("wait", asset_id, "--timeout", "4", base_url=simulator.base_url)
    assert await run.end() == 4
    [event] = run.events()
    assert event["data"]["outcome"] == "timed_out"
    assert {"hang": "before the answer", "status=503": "503 ", "reset": "the request failed"}[problem] in event["data"][
        "reason"
    ]


@pytest.mark.parametrize("problem", ["hang", "status=503"])
async def test_wait_takes_its_timeout_and_not_a_multiple_of_it(serve, worker, problem):
    """One asset alone, and three that share a list. The times are those of the events, so the start does not count."""
    timeout = 8
    simulator = await serve()
    ids = [simulator.store.add(Lifecycle()) for _ in range(4)]
    simulator.set_faults(problem)
    runs = [
        worker.start("wait", *some, "--timeout", str(timeout), base_url=simulator.base_url, LOG__LEVEL="info")
        for some in (ids[:1], ids[1:])
    ]
    assert [await run.end() for run in runs] == [4, 4]
    for run in runs:
        assert {event["data"]["outcome"] for event in run.events()} == {"timed_out"}
        for event in run.events():
            asked, ended = (
                datetime.fromisoformat(event["data"][name]).timestamp() for name in ("submitted_at", "completed_at")
            )
            assert 0.99 * timeout < ended - asked < 1.75 * timeout
        [stopped] = run.logs("worker.stopped")
        assert datetime.fromisoformat(stopped["timestamp"]).timestamp() - ended < 0.75 * timeout


async def test_wait_ends_at_once_when_its_reader_is_gone(serve, worker):
    simulator = await serve(time_scale=10)
    reading, writing = os.pipe()
    os.close(reading)
    run = worker.start(
        "wait", simulator.store.add(Lifecycle(1)), base_url=simulator.base_url, stdout=writing, LOG__LEVEL="info"
    )
    os.close(writing)
    assert await run.end() == 1
    assert run.seconds("sink.failed", "worker.stopped") < GRACE_SECONDS / 2


@pytest.mark.parametrize("redirect", ["<&-", "2>&-", "<&- 2>&-"])
async def test_it_works_without_the_standard_streams_that_it_was_started_without(serve, worker, redirect):
    """The journal or a socket would get the free number of a standard stream."""
    simulator = await serve(time_scale=10)
    asset_id = simulator.store.add(Lifecycle(1))
    worker.submit(asset_id)
    once = worker.run("--once", base_url=simulator.base_url, redirect=f"{redirect} >&-")
    wait = worker.start("wait", asset_id, base_url=simulator.base_url, redirect=redirect)
    assert [await run.end() for run in (once, wait)] == [0, 0]
    assert [event["subject"] for event in worker.events()] == [asset_id]
    assert [event["subject"] for event in wait.events()] == [asset_id]


@pytest.mark.parametrize(
    ("redirect", "says"), [("<&-", "stdin"), (">&-", "standard output is closed"), ("1</dev/null", "for reading only")]
)
async def test_a_stream_that_is_needed_and_can_not_be_used_is_an_error_of_usage(worker, redirect, says):
    run = worker.start("run", "--stdin", base_url="http://127.0.0.1:1", redirect=redirect)
    assert await run.end() == 2
    assert says in run.stderr


async def test_wait_says_at_once_that_the_key_is_refused(serve, worker):
    simulator = await serve(key="another")
    run = worker.start("wait", "6298d673f1090f1100476d4c", base_url=simulator.base_url, LOG__LEVEL="info")
    assert await run.end() == 3
    assert run.seconds("api.key_refused", "worker.stopped") < KEY_REFUSED_SECONDS / 2
    assert run.stdout == b""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["wait"], "ID..."),
        (["wait", "../x"], "'../x' is not an asset ID"),
        (["wait", "a", "--timeout", "0"], "--timeout"),
        (["run"], "--queue-file"),
        (["run", "--queue-file", "missing", "--once"], "missing does not exist"),
        (["run", "--queue-file", "."], "not a regular file"),
        (["run", "--queue-file", "q", "--events", "./q"], "each event would be read as a line"),
        (["run", "--stdin", "--state-dir", "/dev/null"], "there is a file in its place"),
        (["run", "--stdin", "--log-format", "xml"], "--log-format"),
        (["run", "--stdin", "--events", "https://x"], "--events"),
        (["run", "--config", "missing.toml"], "missing.toml"),
        (["submit", "a"], "--queue-file"),
        (["submit", "a b", "--queue-file", "q"], "'a b' is not an asset ID"),
        (["submit", "a", "--queue-file", "q", "--metadata", "m"], "K=V"),
        (["submit", "a", "--queue-file", "q", "--metadata", b"m=\xff"], "UTF-8"),
        (["simulate", "--fault", "flood"], "--fault"),
        (["simulate", "--assets", "1000001"], "--assets"),
        (["frobnicate"], "frobnicate"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)
async def test_errors_of_usage_end_with_2_and_name_what_is_wrong(worker, arguments, says):
    run = worker.start(*arguments, base_url="http://127.0.0.1:1")
    assert await run.end() == 2
    assert says in run.stderr
    assert run.stdout == b""
    assert "Traceback" not in run.stderr


async def test_without_a_key_it_says_how_to_give_one(worker):
    run = worker.start("wait", "a")
    assert await run.end() == 2
    assert "TWELVE_LABS_API_KEY" in run.stderr


async def test_concurrent_submits_write_complete_lines(serve, worker):
    """Twenty of them, after a partial line of another writer; all lines are then accepted."""
    simulator = await serve()
    first, *ids = [simulator.store.add(Lifecycle()) for _ in range(41)]
    worker.queue_file.write_text(first)
    runs = [
        worker.start("submit", *pair, "--queue-file", worker.queue_file, "--metadata", "user=ada")
        for pair in zip(ids[::2], ids[1::2], strict=True)
    ]
    assert [await run.end() for run in runs] == [0] * 20
    lines = worker.queue_file.read_text().splitlines()
    assert lines[0] == first
    assert sorted(json.loads(line)["asset_id"] for line in lines[1:]) == sorted(ids)
    assert await worker.run("--once", base_url=simulator.base_url).end() == 0
    assert {tuple(event["data"]["submission"]["metadata"].items()) for event in worker.events()[1:]} <= {
        (("user", "ada"),),
        (),
    }


async def test_status_shows_what_a_running_worker_waits_for(serve, worker):
    simulator = await serve()
    waiting = simulator.store.add(Lifecycle(0, hls=Rendition(ends_after=3600)))
    done = simulator.store.add(Lifecycle())
    worker.submit(waiting, done)
    run = worker.run(base_url=simulator.base_url)
    await eventually(
        lambda: len(worker.events()) == 1 and waiting in {line["asset_id"] for line in run.logs("asset.changed")},
        otherwise=lambda: run.stderr,
    )

    async def status_report():
        status = worker.start("status", "--state-dir", worker.state, "--json")
        assert await status.end() == 0
        return json.loads(status.stdout)

    found = await status_report()
    assert (found["pending_count"], found["completed_lately"]) == (1, {"ready": 1})
    text = worker.start("status", "--state-dir", worker.state)
    assert await text.end() == 0
    assert waiting in text.stdout.decode()
    run.send(signal.SIGTERM)
    assert await run.end() == 0
    [pending] = (await status_report())["pending"]
    assert (pending["asset_id"], pending["waiting_on"], pending["status"]) == (waiting, ["hls"], "ready")


async def test_schedule_shows_when_an_asset_is_looked_at_next(serve, worker):
    simulator = await serve()
    run = worker.run(base_url=simulator.base_url)
    await run.until("worker.started")
    waits, done = simulator.store.add(Lifecycle(3600)), simulator.store.add(Lifecycle(0))
    worker.submit(waits, done)

    async def asked(asset_id, code=0):
        command = worker.start("schedule", "--state-dir", worker.state, "--asset", asset_id, "--json")
        assert await command.end() == code, command.stderr
        return json.loads(command.stdout) if code == 0 else command.stderr

    def is_kept():
        report = read_status(worker.state, clock=SystemClock(), limit=9)
        return report.completed and report.pending and report.pending[0].polls >= 2

    await eventually(is_kept, otherwise=lambda: run.stderr)
    found = await asked(waits)
    assert (found["asset_id"], found["waiting_on"]) == (waits, ["asset"])
    assert -10 < found["due_in"] <= found["delay"] <= 30
    assert found["why"].startswith("The last answer came ")
    assert (await asked(done))["outcome"] == "ready"
    assert "is not known in" in await asked("0" * 24, code=2)


async def test_status_shows_within_three_seconds_what_an_asset_waits_for(serve, worker):
    """While the worker runs, progress is saved every second. Up to ten tries: a machine may be busy for a while."""
    simulator = await serve()
    run = worker.run(base_url=simulator.base_url)
    await run.until("worker.started")
    expected, took = {}, []

    def ages(new):
        """The ages of new assets that are shown as waiting for the right steps; read without the start of `status`."""
        pending = read_status(worker.state, clock=SystemClock(), limit=100).pending
        return [line.age for line in pending if new.get(line.asset_id) == list(line.waiting_on)]

    while not took or (took[-1] >= 3 and len(took) < 10):
        new = {
            simulator.store.add(Lifecycle(3600)): ["asset"],
            simulator.store.add(Lifecycle(hls=Rendition(3600), thumbnail=Rendition(3600))): ["hls", "thumbnail"],
        }
        worker.submit(*new)
        expected |= new
        await eventually(lambda new=new: len(ages(new)) == len(new), otherwise=lambda: run.stderr)
        took.append(max(ages(new)))
    assert took[-1] < 3, took
    status = worker.start("status", "--state-dir", worker.state, "--json")
    assert await status.end() == 0
    report = json.loads(status.stdout)
    assert {each["asset_id"]: each["waiting_on"] for each in report["pending"]} == expected
    assert report["waiting_on"] == {what: len(took) for what in ("asset", "hls", "thumbnail")}
    assert run.process.poll() is None


async def test_status_of_a_directory_without_a_journal_says_so(worker):
    run = worker.start("status", "--state-dir", worker.folder / "nothing")
    assert await run.end() in {0, 2}
    assert "Traceback" not in run.stderr
    assert not (worker.folder / "nothing").exists()


async def test_config_shows_the_effective_settings_and_no_secret(worker):
    (worker.folder / "worker.toml").write_text('[poll]\nmax = 60\ninitial = 3\n[api]\nkey = "tlk_IN_THE_FILE"\n')
    run = worker.start("config", "--config", "worker.toml", POLL__MAX="40")
    assert await run.end() == 0
    shown = run.stdout.decode()
    assert "max = 40" in shown
    assert "tlk_IN_THE_FILE" not in shown
    assert KEY not in shown
    (worker.folder / "wrong.toml").write_text('[pol]\nmax = 60\n[poll]\nmaxx = 1\ndeadline = "soon"\n')
    wrong = worker.start("config", "--config", "wrong.toml", "--check")
    assert await wrong.end() == 2
    for said in ("pol", "poll.maxx", "poll.max", "poll.deadline"):
        assert said in wrong.stderr


@pytest.mark.parametrize("kind", ["pipe", "file", "/dev/null"])
async def test_stdin_of_any_kind_is_read_to_its_end(serve, worker, kind):
    """A last line without a newline counts: nothing more can follow."""
    simulator = await serve()
    ids = [simulator.store.add(Lifecycle()) for _ in range(20)]
    text = "\n".join(ids).encode()
    if kind == "pipe":
        run = worker.start("run", "--stdin", base_url=simulator.base_url, stdin=subprocess.PIPE)
        run.process.stdin.write(text)
        run.process.stdin.close()
    elif kind == "file":
        (worker.folder / "ids").write_bytes(text)
        with (worker.folder / "ids").open("rb") as file:
            run = worker.start("run", "--stdin", base_url=simulator.base_url, stdin=file)
    else:
        run = worker.start("run", "--stdin", base_url=simulator.base_url)
    assert await run.end() == 0
    expected = [] if kind == "/dev/null" else sorted(ids)
    assert sorted(event["subject"] for event in run.events()) == expected
    assert {event["data"]["submission"]["source"].partition(":")[0] for event in run.events()} <= {"stdin"}


async def test_an_open_stdin_does_not_prevent_a_stop(serve, worker):
    simulator = await serve()
    run = worker.start("run", "--stdin", base_url=simulator.base_url, stdin=subprocess.PIPE)
    asset_id = simulator.store.add(Lifecycle())
    run.process.stdin.write(asset_id.encode() + b"\n")
    run.process.stdin.flush()
    await eventually(lambda: len(run.events()) == 1, otherwise=lambda: run.stderr)
    run.send(signal.SIGTERM)
    assert await run.end() == 0
    assert run.seconds("worker.stopping", "worker.stopped") < GRACE_SECONDS / 2


async def get(url):
    def ask():
        try:
            with urllib.request.urlopen(url, timeout=60) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    return await to_thread(ask)


async def test_the_admin_endpoints_report_the_state_of_the_worker(serve, worker):
    """Ready while the API accepts the key, not ready while it refuses it, then ready again."""
    simulator = await serve(key=KEY)
    worker.submit(simulator.store.add(Lifecycle()), simulator.store.add(Lifecycle(3600)))
    run = worker.run("--admin-port", "0", base_url=simulator.base_url)
    await eventually(lambda: len(worker.events()) == 1, otherwise=lambda: run.stderr)
    [address] = (await run.until("admin.serving"))["addresses"]
    at = f"http://{address}"
    assert (await get(f"{at}/healthz"))[0] == 200
    assert (await get(f"{at}/readyz"))[0] == 200
    _, text = await get(f"{at}/metrics")
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["asset_worker_pending_assets",] == 1
    assert samples["asset_worker_completions_total", "ready"] == 1

    simulator.key = "another"
    await run.until("api.key_refused")
    assert (await get(f"{at}/readyz"))[0] == 503
    assert (await get(f"{at}/healthz"))[0] == 200
    simulator.key = KEY
    await run.until("api.recovered")
    assert (await get(f"{at}/readyz"))[0] == 200
    second = worker.start(
        "run",
        "--stdin",
        "--admin-port",
        address.rpartition(":")[2],
        "--state-dir",
        worker.folder / "other",
        stdin=subprocess.PIPE,
        base_url=simulator.base_url,
    )
    assert await second.end() == 75
    assert "admin.port" in second.stderr
    assert len(run.logs("api.key_refused")) == 1


async def test_the_demo_shows_every_outcome_and_ends_by_itself(worker, monkeypatch):
    async with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        run = worker.start("demo")
        assert await run.end() == 0
    assert not collector.requests, "made-up assets are nobody's traces"
    assert {event["data"]["outcome"] for event in run.events()} == {
        "ready",
        "degraded",
        "failed",
        "not_found",
        "timed_out",
        "rejected",
    }
    assert "events in" in run.stderr
    assert "warning" not in run.stderr, "the events show the faulty lines already"
    delivered = re.search(
        r"webhook: 47 of 47 events delivered in (\d+) attempts \(failed: .+\), each signed", run.stderr
    )
    assert delivered is not None, run.stderr
    assert int(delivered[1]) > 47
    assert sum(event["data"]["submission"]["source"] == "account" for event in run.events()) == 5


@pytest.mark.parametrize("command", ["run", "wait", "submit", "status", "schedule", "simulate", "demo", "config"])
async def test_help_teaches_by_example(worker, command):
    run = worker.start(command, "--help")
    assert await run.end() == 0
    assert f"  asset-worker {command}" in run.stdout.decode()
