"""How the commands are called: paths, redirections, terminals, the settings file of a service."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from asyncio import to_thread

import pytest

from asset_worker.simulator.lifecycles import Lifecycle
from tests.integration.holding import change, waiting
from tests.integration.processes import eventually
from tests.integration.terminals import on_a_terminal

NO_API = "http://127.0.0.1:1/v1.3"

pytestmark = pytest.mark.new_interpreter
"""These tests are about what the interpreter makes of arguments and streams."""


async def test_wait_ignores_what_is_for_the_service_in_its_settings_file(serve, worker):
    """Its inputs, which have no end; its admin address, which is in use; its sinks."""
    simulator = await serve()
    asset_id, other = simulator.store.add(Lifecycle()), simulator.store.add(Lifecycle())
    worker.submit(other)
    with socket.create_server(("127.0.0.1", 0)) as service:
        (worker.folder / "worker.toml").write_text(
            f'[queue]\nfile = "queue"\nstdin = true\n[events]\nsinks = ["{worker.events_file}"]\n'
            f"[admin]\nport = {service.getsockname()[1]}\n"
        )
        run = worker.start(
            "wait", asset_id, "--config", "worker.toml", base_url=simulator.base_url, stdin=subprocess.PIPE
        )
        assert await run.end() == 0, run.stderr
    assert [event["subject"] for event in run.events()] == [asset_id]
    assert not worker.events_file.exists()


SEEN_AS_A_LOOP = "events go there as well"


@pytest.mark.parametrize(
    ("arguments", "redirect", "says"),
    [
        (["--queue-file", "queue", "--events", "~/queue"], "", SEEN_AS_A_LOOP),
        (["--queue-file", "~/queue", "--events", "sub/../queue"], "", SEEN_AS_A_LOOP),
        (["--queue-file", "queue", "--events", "soft"], "", SEEN_AS_A_LOOP),
        (["--queue-file", "queue", "--events", "hard"], "", SEEN_AS_A_LOOP),
        (["--queue-file", "new", "--events", "sub/../new"], "", SEEN_AS_A_LOOP),
        (["--queue-file", "queue", "--events", "/dev/stdout"], ">> queue", SEEN_AS_A_LOOP),
        (["--queue-file", "queue"], ">> queue", SEEN_AS_A_LOOP),
        (["--queue-file", "queue", "--events", "e", "--events", "-"], "1<> hard", SEEN_AS_A_LOOP),
        (["--stdin"], "< queue >> queue", SEEN_AS_A_LOOP),
        (["--stdin", "--events", "hard"], "< queue", SEEN_AS_A_LOOP),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value or None,
)
async def test_a_run_that_would_read_its_own_events_is_refused(worker, arguments, redirect, says):
    """Whatever names the two files have, and before anything is written."""
    worker.submit("a1")
    run = worker.start(
        "run",
        *arguments,
        base_url=NO_API,
        before='HOME="$PWD"; export HOME; mkdir sub; ln -s queue soft; ln queue hard;',
        redirect=redirect,
    )
    assert await run.end() == 2
    assert says in run.stderr
    assert worker.queue_file.read_text() == "a1\n"
    assert not (worker.folder / "home").exists()


async def test_a_run_that_would_read_its_own_log_is_refused(worker):
    """The message about it is written to the queue file, as a comment."""
    worker.submit("a1")
    run = worker.start("run", "--queue-file", "queue", base_url=NO_API, redirect="2>> queue")
    assert await run.end() == 2
    [first, comment] = worker.queue_file.read_text().splitlines()
    assert first == "a1"
    assert comment.startswith("# ")
    assert "redirect stderr" in comment


async def test_outputs_that_are_not_the_queue_file_may_share_a_file(serve, worker):
    simulator = await serve()
    worker.submit(simulator.store.add(Lifecycle()))
    run = worker.start(
        "run", "--queue-file", "queue", "--once", base_url=simulator.base_url, redirect="< queue >> out 2>&1"
    )
    assert await run.end() == 0
    assert '"outcome":"ready"' in (worker.folder / "out").read_text()


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--queue-file", b"q\xff"],
        ["run", "--stdin", "--events", b"e\xff"],
        ["run", "--stdin", "--state-dir", b"s\xff"],
        ["run", "--config", b"c\xff"],
        ["submit", "a1", "--queue-file", b"q\xff"],
        ["status", "--state-dir", b"s\xff"],
    ],
    ids=ascii,
)
async def test_a_path_that_is_not_utf8_is_refused(worker, arguments):
    run = worker.start(*arguments, base_url=NO_API)
    assert await run.end() == 2
    assert arguments[-2] in run.stderr
    assert "not UTF-8" in run.stderr
    assert "Traceback" not in run.stderr


async def test_a_state_directory_of_the_user_that_is_not_utf8_is_refused(worker):
    run = worker.start("run", "--stdin", base_url=NO_API, before="XDG_STATE_HOME=$(printf '/tmp/\\377');")
    assert await run.end() == 2
    assert "not UTF-8" in run.stderr
    shown = worker.start("config", before="XDG_STATE_HOME=$(printf '/tmp/\\377');")
    assert await shown.end() == 0
    assert rb"/tmp/\udcff/asset-worker" in shown.stdout


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
async def test_an_output_with_few_characters_gets_those_that_it_can_encode(worker, encoding):
    """Output for programs stays UTF-8."""
    before = f"PYTHONIOENCODING={encoding}; export PYTHONIOENCODING;"
    shown = [worker.start(*arguments, before=before) for arguments in (["--help"], ["run", "--help"], ["schedule"])]
    assert [await run.end() for run in shown] == [0, 0, 0]
    assert all(run.stdout for run in shown)
    settings = worker.start("config", before=before, QUEUE__FILE="/späť")
    schema = worker.start("config", "--schema", before=before)
    assert (await settings.end(), await schema.end()) == (0, 0)
    assert 'file = "/späť"' in settings.stdout.decode()
    assert json.loads(schema.stdout)["title"] == "asset-worker"


async def test_on_a_terminal_it_says_why_a_service_does_not_start(worker):
    async with on_a_terminal(worker, "run", "--stdin", "--state-dir", "/dev/null", base_url=NO_API) as it:
        assert await it.run.end() == 2
        await eventually(lambda: "there is a file in its place" in it.shown.decode(), otherwise=lambda: it.shown)
        assert "Traceback" not in it.shown.decode()


async def test_a_terminal_that_goes_away_does_not_delay_the_end(serve, worker):
    simulator = await serve()
    [asset_id] = waiting(simulator, 1)
    terminal, other = os.openpty()
    run = worker.start("wait", asset_id, stdout=other, redirect="2>&1 > events", base_url=simulator.base_url)
    os.close(other)
    assert await to_thread(os.read, terminal, 1), "it shows its progress"
    os.close(terminal)
    change(simulator, asset_id)
    assert await run.end() == 0
    assert json.loads((worker.folder / "events").read_bytes())["subject"] == asset_id


async def test_an_output_that_can_not_be_written_is_a_sentence_and_a_closed_pipe_is_none(worker):
    full = [
        worker.start(*each, redirect="> /dev/full")
        for each in (["config"], ["config", "--schema"], ["schedule"], ["--help"])
    ]
    reader, writer = os.pipe()
    os.close(reader)
    closed = [worker.start(*each, stdout=writer) for each in (["config"], ["run", "--help"])]
    os.close(writer)
    for run in full:
        assert await run.end() == 1
        assert run.stderr == "asset-worker: the output can't be written: No space left on device\n"
    for run in closed:
        assert (await run.end(), run.stderr) == (1, "")
