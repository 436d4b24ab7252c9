"""What people see on a terminal; and what comes from outside reaches it as text, and is never obeyed by it."""

from __future__ import annotations

import json
import re
import signal

from aiohttp import web

from asset_worker.simulator.lifecycles import Lifecycle, Rendition
from tests.integration.holding import change, waiting
from tests.integration.processes import KEY, eventually
from tests.integration.terminals import on_a_terminal

EVIL = "\x1b]52;c;ZXZpbA==\x07\x9b31m\u202e\x7f\r\nforged"
SHOWN = r"\x1b]52;c;ZXZpbA==\x07\x9b31m\u202e\x7f\r\nforged"
IDS = [f"{number:024x}" for number in range(2)]
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
MOVES = re.compile(r"\r?\x1b\[(?:[0-9]+A|J|2K|\?7[hl])")


def assert_harmless(shown: str) -> None:
    """Colours, the moves of the live display and line ends are the program's own; a terminal may obey nothing else."""
    text = re.sub(r"\r+\n", "\n", MOVES.sub("", COLOURS.sub("", shown)))
    assert all(line.isprintable() for line in text.split("\n")), shown
    assert not re.search(r"^forged", text, re.MULTILINE)


async def test_on_one_terminal_events_are_lines_above_a_live_display(serve, worker):
    simulator = await serve()
    ids = waiting(simulator, 2)
    async with on_a_terminal(worker, "wait", *ids, base_url=simulator.base_url) as it:
        await eventually(lambda: all(f"{each}  file-" in it.text for each in ids), otherwise=lambda: it.text)
        assert [line.split()[-2] for line in it.lines[-3:-1]] == ["processing", "processing"]
        it.resize(50, 30)
        await eventually(lambda: f" {ids[1][:4]}…{ids[1][-4:]} " in it.text, otherwise=lambda: it.text)
        change(simulator, ids[0])
        await eventually(lambda: it.lines[0].startswith("ready  "), otherwise=lambda: it.text)
        await eventually(lambda: it.lines[-1].startswith("waiting: 1/2 done"), otherwise=lambda: it.text)
        it.resize(120, 30)
        await eventually(lambda: f" {ids[1]} " in it.text, otherwise=lambda: it.text)
        change(simulator, ids[1])
        assert await it.run.end() == 0
        await eventually(lambda: "waiting: 2/2 done · ready 2" in it.text, otherwise=lambda: it.text)
    assert len(it.lines) == 3, it.text
    assert ids[0][:4] in it.lines[0]
    assert it.lines[1].startswith(f"ready      {ids[1]}  file-")
    assert "\x1b[32m" in it.shown.decode()
    assert KEY not in it.shown.decode()
    assert_harmless(it.shown.decode())


async def test_events_in_a_file_are_json_and_their_assets_stay_on_the_terminal(serve, worker):
    simulator = await serve()
    [asset_id] = waiting(simulator, 1)
    async with on_a_terminal(worker, "wait", asset_id, redirect="2>&1 >events", base_url=simulator.base_url) as it:
        await eventually(lambda: f"{asset_id}  file-" in it.text, otherwise=lambda: it.text)
        change(simulator, asset_id)
        assert await it.run.end() == 0
        await eventually(lambda: "waiting: 1/1 done · ready 1" in it.text, otherwise=lambda: it.text)
    assert it.lines[1].split()[-2] == "ready"
    [line] = (worker.folder / "events").read_bytes().splitlines()
    assert json.loads(line)["data"]["outcome"] == "ready"


async def test_lines_for_people_are_plain_where_the_terminal_or_the_user_wants_it(serve, worker):
    """A dumb terminal, and a screen reader."""
    simulator = await serve()
    ids = [simulator.store.add(Lifecycle(0.0, thumbnail=Rendition(ends_after=0.0))), *waiting(simulator, 1)]
    for how, arguments in (
        ({"term": "dumb"}, []),
        ({}, ["--plain"]),
        ({"before": "export NO_COLOR=1;"}, []),
        ({}, ["--quiet"]),
    ):
        async with on_a_terminal(worker, "wait", *ids, *arguments, base_url=simulator.base_url, **how) as it:
            await eventually(lambda it=it: ids[0] in it.text and "\n" in it.shown.decode(), otherwise=lambda: it.text)
            if "--quiet" not in arguments:
                await eventually(lambda it=it: "1/2 done" in it.text, otherwise=lambda: it.text)
            it.run.send(signal.SIGKILL)
            await it.run.end()
            shown = it.shown.decode()
        if arguments == ["--quiet"]:
            assert len(it.lines) == 1
            continue
        assert f"ready      {ids[0]}" in shown
        assert not COLOURS.search(shown), how
        assert "before" in how or "\x1b" not in shown, how


async def test_a_pipe_gets_json_and_progress_is_lines_as_its_reader_may_write_to_the_terminal(serve, worker):
    simulator = await serve()
    [asset_id] = waiting(simulator, 1)
    how = {"before": "exec 3>&1;", "redirect": "2>&3 | sed s/^/read:/"}
    async with on_a_terminal(worker, "wait", asset_id, base_url=simulator.base_url, **how) as it:
        await eventually(lambda: "waiting: 0/1 done; waiting for" in it.text, otherwise=lambda: it.text)
        change(simulator, asset_id)
        assert await it.run.end() == 0
        await eventually(lambda: "1/1 done" in it.text and "read:" in it.text, otherwise=lambda: it.text)
    [line] = re.findall(r"^read:(.*?)\r?$", it.shown.decode(), re.MULTILINE)
    assert json.loads(line)["subject"] == asset_id
    assert "\x1b" not in it.shown.decode()


async def test_an_interrupted_run_says_what_is_kept_and_how_to_go_on(serve, worker):
    simulator = await serve()
    [asset_id] = waiting(simulator, 1)
    worker.submit(asset_id)
    async with on_a_terminal(worker, "wait", asset_id, "--json", base_url=simulator.base_url) as it:
        await eventually(lambda: f"{asset_id}  file-" in it.text, otherwise=lambda: it.text)
        it.run.send(signal.SIGINT)
        assert await it.run.end() == -signal.SIGINT
        await eventually(lambda: "nothing is kept; wait again with: asset-worker wait" in it.text)
    queue = ["--queue-file", worker.queue_file, "--state-dir", worker.state]
    async with on_a_terminal(worker, "run", *queue, base_url=simulator.base_url) as it:
        await eventually(lambda: f"{asset_id}  file-" in it.text, otherwise=lambda: it.text)
        it.run.send(signal.SIGINT)
        assert await it.run.end() == 0
        await eventually(lambda: "1 pending asset is kept in " in it.text, otherwise=lambda: it.text)
        assert "start again to go on" in it.text
        assert "worker.stopped" in it.text
        assert "intake.accepted" not in it.text, "the display shows it"
    simulator.store.change(asset_id, Lifecycle())
    for chosen, is_logged in (([], False), (["--log-level", "info"], True)):
        worker.submit(simulator.store.add(Lifecycle()))
        arguments = [*queue, "--once", *chosen]
        async with on_a_terminal(worker, "run", *arguments, base_url=simulator.base_url, size=(200, 30)) as it:
            assert await it.run.end() == 0
            await eventually(lambda it=it: "worker.stopped" in it.text, otherwise=lambda: it.text)
            assert ("asset.completed" in it.text) is is_logged, it.text
            assert "ready      " in it.text


async def test_an_idle_service_says_what_it_listens_to(worker):
    """Its API can't be reached, which it does not need to know yet."""
    queue = ["--queue-file", worker.queue_file, "--state-dir", worker.state]
    async with on_a_terminal(worker, "run", *queue, base_url="http://127.0.0.1:1/v1.3", size=(300, 20)) as it:
        idle = f"listening to {worker.queue_file}; nothing pending"
        await eventually(lambda: it.lines and it.lines[-1] == idle, otherwise=lambda: it.text)


async def test_on_a_narrow_terminal_the_demo_shows_every_event_on_a_line_of_its_own(worker):
    async with on_a_terminal(worker, "demo", size=(50, 12)) as it:
        assert await it.run.end() == 0
        await eventually(lambda: "webhook:" in it.text, otherwise=lambda: it.text)
    [count] = re.findall(r"^(\d+) events in", it.text, re.MULTILINE)
    outcomes = r"^(?:ready|degraded|failed|not_found|timed_out|rejected)  "
    assert len([line for line in it.lines if re.match(outcomes + r"(?:....…....  |queue:\d+  )", line)]) == int(count)
    assert "47/47 done" in it.text
    assert "{" not in re.sub("rejected.*", "", it.text)


async def test_a_terminal_obeys_neither_the_api_nor_file_names(worker, aiohttp_server_of):
    async def retrieve(request: web.Request) -> web.Response:
        asset_id = request.match_info["id"]
        status, reason = ("failed", EVIL) if asset_id == IDS[0] else (EVIL, None)
        return web.json_response({"_id": asset_id, "status": status, "error": {"message": reason}, "filename": EVIL})

    base_url = await aiohttp_server_of(web.get("/v1.3/assets/{id}", retrieve))
    queue = worker.folder / "q\x1b[5m\x7f"
    queue.write_text("\n".join([*IDS, "bad \x1b[m\x9b", ""]))
    arguments = ["--queue-file", queue, "--state-dir", worker.state]
    async with on_a_terminal(worker, "run", *arguments, base_url=base_url, POLL__BATCH="off", size=(200, 30)) as it:
        await eventually(lambda: b"api.unknown_status" in it.shown, otherwise=lambda: it.shown)
        await eventually(lambda: f"failed     {IDS[0]}  \\x1b]52" in it.text, otherwise=lambda: it.text)
        await eventually(lambda: f"{IDS[1]}  \\x1b]52" in it.text, otherwise=lambda: it.text)
        await eventually(lambda: r"rejected   q\x1b[5m\x7f:3" in it.text, otherwise=lambda: it.text)
        it.run.send(signal.SIGTERM)
        assert await it.run.end() == 0
    shown = it.shown.decode()
    assert_harmless(shown)
    assert COLOURS.search(shown)
    async with on_a_terminal(worker, "status", "--state-dir", worker.state) as it:
        assert await it.run.end() == 0
    assert_harmless(it.shown.decode())
    assert f"{SHOWN}  processing" in it.shown.decode()


async def test_a_terminal_obeys_no_argument(worker):
    for arguments in (
        ["run", "--\x1b]0;x\x07\x9b"],
        ["run", "--config", EVIL],
        ["wait", EVIL],
        ["submit", "a1", "--queue-file", f"{EVIL}/q"],
        ["simulate", "--fault", EVIL],
    ):
        async with on_a_terminal(worker, *arguments) as it:
            assert await it.run.end() == 2
        assert_harmless(it.shown.decode())
        assert r"\x1b]" in it.shown.decode()


async def test_a_terminal_obeys_no_traceback(worker):
    program = worker.folder / "fails.py"
    program.write_text(
        "from asset_worker.runtime.stderr import write_stderr_in_background\n"
        "write_stderr_in_background()\n"
        f"raise ValueError({EVIL!r})\n"
    )
    async with on_a_terminal(worker, program=("fails",)) as it:
        assert await it.run.end() == 1
    assert all(line.isprintable() for line in it.lines)
    assert r"ValueError: \x1b]52;c;" in it.shown.decode()
