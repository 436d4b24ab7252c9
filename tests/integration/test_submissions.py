"""Submissions over HTTP to the real command: nothing answered as accepted is lost, nothing is watched twice."""

from __future__ import annotations

import asyncio
import json
import re
import resource
import shutil
import signal
import subprocess
from contextlib import suppress
from typing import Any

import aiohttp
import pytest

from asset_worker.simulator.lifecycles import Lifecycle
from tests.integration.admin import admin_of
from tests.integration.holding import change, waiting
from tests.integration.processes import KEY, ROOT, Run, Worker, eventually

TOKEN, OTHER = "one-token-of-tests-0123456789", "other-token-of-tests-987654321"
POINTS = [
    "commit:before:5",
    "commit:after:5",
    "keep_event:after:1",
    "keep_event:after:3",
    "prune_events:after:1",
]


class Client:
    """Talks to one run, with one token."""

    def __init__(self, url: str, token: str = TOKEN) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"}

    async def post(self, *items: Any) -> tuple[int, Any]:
        return await self.post_json(json.dumps(items).encode())

    async def post_json(self, body: bytes) -> tuple[int, Any]:
        headers = self._headers | {"Content-Type": "application/json"}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self._url}/submissions", data=body, headers=headers) as answer,
        ):
            return answer.status, await answer.json()

    async def get(self, asset_id: str) -> tuple[int, Any]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self._url}/submissions/{asset_id}", headers=self._headers) as answer,
        ):
            return answer.status, await answer.json()


def start(worker: Worker, base_url: str, *arguments: str, token: str | None = TOKEN, **options: Any) -> Run:
    """A run with submissions over HTTP as its only input."""
    file = worker.folder / "token"
    if token is not None:
        file.write_text(f"{token}\n")
        file.chmod(0o600)
    where = ("--state-dir", worker.state, "--events", worker.events_file, "--admin-port", "0")
    return worker.start("run", *where, *arguments, base_url=base_url, ADMIN__TOKEN_FILE=str(file), **options)


async def client_of(run: Run, token: str = TOKEN) -> Client:
    return Client(await admin_of(run), token)


async def submit_again_and_again(run: Run, ids: list[str]) -> bool:
    """Submit until it is answered; returns whether it was, before the process ended."""
    with suppress(AssertionError, aiohttp.ClientError, asyncio.TimeoutError):
        while run.process.poll() is None:
            status, _ = await (await client_of(run)).post(*ids)
            if status == 202:
                return True
    return False


def subjects(worker: Worker) -> list[str]:
    return sorted(event["subject"] for event in worker.events())


async def test_an_asset_is_submitted_watched_and_asked_for(serve, worker):
    simulator = await serve()
    [asset_id] = waiting(simulator, 1)
    run = start(worker, simulator.base_url)
    client = await client_of(run)
    status, answer = await client.post(
        {"asset_id": asset_id, "metadata": {"user": "ada", "note": f"{KEY} {TOKEN}"}}, "not an ID", asset_id
    )
    assert (status, [each["state"] for each in answer["items"]]) == (202, ["accepted", "refused", "repeated"])
    for _ in range(500):
        if (await client.get(asset_id))[1]["polls"]:
            break
        await asyncio.sleep(0.02)
    status, state = await client.get(asset_id)
    assert (status, state["state"], state["waiting_on"], state["last_seen"]["status"], state["outcome"]) == (
        200,
        "pending",
        ["asset"],
        "processing",
        None,
    )
    change(simulator, asset_id)
    await eventually(worker.events)
    [event] = worker.events()
    assert event["data"]["submission"]["metadata"] == {"user": "ada", "note": "******** ********"}
    assert event["data"]["submission"]["source"].startswith("http")
    status, state = await client.get(asset_id)
    assert (status, state["state"], state["outcome"], state["completions"]) == (200, "settled", "ready", 1)
    assert state["event"] == event
    assert (await client.get("nobody-submitted-it"))[0] == 404
    assert (await client.post(asset_id))[1]["repeated"] == 1
    run.send(signal.SIGTERM)
    assert await run.end() == 0
    assert [event["data"]["outcome"] for event in worker.events()] == ["ready"], "a refused item makes no event"
    assert TOKEN.encode() not in worker.written().replace((worker.folder / "token").read_bytes(), b"")

    again = start(worker, simulator.base_url)
    assert (await (await client_of(again)).get(asset_id))[1]["event"] == event


async def test_what_was_answered_survives_a_kill_at_once(serve, worker):
    simulator = await serve()
    ids = waiting(simulator, 200)
    for first in range(0, len(ids), 50):
        run = start(worker, simulator.base_url)
        status, answer = await (await client_of(run)).post(*ids[first : first + 50])
        run.send(signal.SIGKILL)
        assert (status, answer["accepted"]) == (202, 50)
        await run.end()
    change(simulator, *ids)
    start(worker, simulator.base_url)
    await eventually(lambda: len(worker.events()) >= len(ids))
    assert subjects(worker) == sorted(ids)


@pytest.mark.parametrize("point", POINTS)
async def test_a_crash_at_any_step_of_a_request_loses_and_repeats_nothing(serve, worker, point):
    """The client sends the same again, and gets every asset's event once."""
    simulator = await serve()
    ids = [simulator.store.add(Lifecycle()) for _ in range(8)]
    crashing = start(worker, simulator.base_url, program=("tests.integration.failpoints", point))
    for first in (0, 4):
        await submit_again_and_again(crashing, ids[first : first + 4])
    assert await crashing.end() == -signal.SIGKILL, crashing.stderr
    run = start(worker, simulator.base_url)
    assert await submit_again_and_again(run, ids)
    await eventually(lambda: len(worker.events()) >= len(ids), otherwise=lambda: run.stderr)
    client = await client_of(run)
    assert {(await client.get(each))[1]["outcome"] for each in ids} == {"ready"}
    run.send(signal.SIGTERM)
    assert await run.end() == 0
    assert subjects(worker) == sorted(ids)


async def test_two_clients_with_the_same_ids_make_one_submission_each(serve, worker):
    simulator = await serve()
    ids = waiting(simulator, 300)
    run = start(worker, simulator.base_url)
    client = await client_of(run)
    found = await asyncio.gather(
        *(client.post(*ids) for _ in range(6)), *(client.post(*reversed(ids)) for _ in range(6))
    )
    assert {status for status, _ in found} == {202}
    assert sum(answer["accepted"] for _, answer in found) == len(ids)
    accepted = [each["asset_id"] for _, answer in found for each in answer["items"] if each["state"] == "accepted"]
    assert sorted(accepted) == sorted(ids)
    change(simulator, *ids)
    await eventually(lambda: len(worker.events()) >= len(ids))
    assert subjects(worker) == sorted(ids)


async def test_a_queue_file_and_http_share_their_assets(serve, worker):
    simulator = await serve()
    ids = waiting(simulator, 20)
    worker.submit(*ids[:15])
    run = start(worker, simulator.base_url, "--queue-file", str(worker.queue_file))
    await eventually(lambda: run.accepted == 15, otherwise=lambda: run.stderr)
    _, answer = await (await client_of(run)).post(*ids[10:])
    assert (answer["accepted"], answer["repeated"]) == (5, 5)
    change(simulator, *ids)
    await eventually(lambda: len(worker.events()) >= len(ids))
    assert subjects(worker) == sorted(ids)


async def test_tokens_are_replaced_without_a_restart(serve, worker):
    simulator = await serve()
    run = start(worker, simulator.base_url)
    old, new = await client_of(run), await client_of(run, OTHER)
    assert [(await each.post("a1"))[0] for each in (old, new)] == [202, 401]
    file = worker.folder / "token"
    file.write_text(f"{TOKEN}\n{OTHER}\n")
    run.send(signal.SIGHUP)
    await run.until("worker.reloaded")
    assert [(await each.post("a1"))[0] for each in (old, new)] == [202, 202]
    file.write_text(f"{OTHER}\n")  # and by itself
    for _ in range(500):
        if (await old.post("a1"))[0] == 401:
            break
        await asyncio.sleep(0.02)
    assert [(await each.post("a1"))[0] for each in (old, new)] == [401, 202]
    file.unlink()
    run.send(signal.SIGHUP)
    await run.until("admin.token_unreadable")
    assert (await new.post("a1"))[0] == 202
    for token in (TOKEN, OTHER):
        assert token not in run.stderr


@pytest.mark.parametrize(
    ("content", "code"), [(None, 75), ("\n", 75), ("short", 2), ("a token with blanks", 2)], ids=repr
)
@pytest.mark.parametrize("check", [False, True], ids=["run", "check"])
async def test_a_file_that_may_come_is_awaited_and_a_bad_one_refused(worker, content, code, check):
    file = worker.folder / "token"
    if content is not None:
        file.write_text(content)
    if check:
        run = worker.start("config", "--check", base_url="http://127.0.0.1:1", ADMIN__TOKEN_FILE=str(file))
        code = 2
    else:
        run = start(worker, "http://127.0.0.1:1", token=None)
    assert await run.end() == code
    assert "admin.token_file" in run.stderr
    assert not content or content.strip() == "" or content not in run.stderr


async def test_a_run_with_nothing_to_read_needs_a_port_and_tokens(worker):
    for arguments in (("--once",), ()):
        run = worker.start("run", "--state-dir", worker.state, *arguments, base_url="http://127.0.0.1:1")
        assert await run.end() == 2
        assert "admin.token_file" in run.stderr
    assert await start(worker, "http://127.0.0.1:1", "--once").end() == 2, "HTTP has no end to read to"


async def test_a_run_once_with_a_queue_file_does_not_wait_for_http(serve, worker):
    simulator = await serve()
    worker.submit(simulator.store.add(Lifecycle()))
    assert await start(worker, simulator.base_url, "--once", "--queue-file", str(worker.queue_file)).end() == 0


async def test_all_or_nothing_is_accepted_at_the_limit(serve, worker):
    simulator = await serve()
    ids = waiting(simulator, 12)
    run = start(worker, simulator.base_url, QUEUE__MAX_PENDING="10")
    client = await client_of(run)
    assert [(await client.post(*some))[0] for some in (ids, ids[:6], ids[6:], ids[:6], ids[2:10])] == [
        429,
        202,
        429,
        202,
        202,
    ]
    assert (await client.get(ids[10]))[0] == 404
    change(simulator, *ids)
    for _ in range(500):
        if (await client.post(*ids[10:]))[0] == 202:
            break
        await asyncio.sleep(0.02)
    await eventually(lambda: len(worker.events()) >= len(ids))
    assert subjects(worker) == sorted(ids)


async def test_a_stop_during_requests_loses_nothing_that_was_answered(serve, worker):
    simulator = await serve()
    ids = waiting(simulator, 2000)
    run = start(worker, simulator.base_url)
    client = await client_of(run)
    accepted: list[str] = []
    statuses: set[int] = set()

    async def submit(first: int) -> None:
        with suppress(aiohttp.ClientError):
            status, answer = await client.post(*ids[first : first + 20])
            statuses.add(status)
            if status == 202:
                accepted.extend(each["asset_id"] for each in answer["items"])

    submitting = [asyncio.ensure_future(submit(first)) for first in range(0, len(ids), 20)]
    await eventually(lambda: len(accepted) >= 400)
    run.send(signal.SIGTERM)
    await asyncio.gather(*submitting)
    assert await run.end() == 0
    assert statuses <= {202, 503}
    change(simulator, *ids)
    run = start(worker, simulator.base_url)
    again = await client_of(run)
    states = [(await again.get(each))[0] for each in accepted[:: max(1, len(accepted) // 50)]]
    assert set(states) == {200}
    await eventually(lambda: set(accepted) <= set(subjects(worker)), otherwise=lambda: run.stderr[-2000:])
    assert len(subjects(worker)) == len(set(subjects(worker)))


async def test_on_a_full_disk_nothing_is_promised_and_nothing_accepted_before_is_lost(serve, worker):
    """No request gets 202, not even one whose asset another has begun to submit."""
    simulator = await serve()
    ids = waiting(simulator, 2)
    run = start(worker, simulator.base_url)
    client = await client_of(run)
    assert (await client.post(ids[0]))[0] == 202
    journal = worker.state / "journal.sqlite3-wal"
    resource.prlimit(run.process.pid, resource.RLIMIT_FSIZE, (journal.stat().st_size, resource.RLIM_INFINITY))
    big = {"asset_id": ids[1], "metadata": {"x": "y" * 60_000}}
    found = await asyncio.gather(*(client.post(big) for _ in range(3)))
    assert {status for status, _ in found} == {503}
    resource.prlimit(run.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await run.until("journal.recovered")
    assert (await client.post(big, ids[0]))[1]["repeated"] == 2
    change(simulator, *ids)
    await eventually(lambda: len(worker.events()) >= 2)
    assert subjects(worker) == sorted(ids)


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
async def test_the_commands_on_the_page_print_what_it_shows(worker):
    """All of them, one after the other; of the state of an asset, only the names are compared."""
    run = start(worker, "http://127.0.0.1:1/v1.3")
    address = (await admin_of(run)).removeprefix("http://")
    page = (ROOT / "docs" / "submissions.md").read_text()
    shown = re.findall(r"^\$ (cat|curl) (.+)\n((?:[^$`].*\n)+)", page, re.MULTILINE)
    assert [command for command, _, _ in shown] == ["cat", "curl", "cat", "curl", "curl"]
    for command, arguments, output in shown:
        if command == "cat":
            (worker.folder / arguments).write_text(output)
            continue
        ended = await asyncio.to_thread(
            subprocess.run,
            ["sh", "-c", f"{command} {arguments.replace('localhost:9090', address)}"],
            cwd=worker.folder,
            capture_output=True,
            text=True,
            check=True,
        )
        if '"state":"pending"' in output:
            found, wanted = json.loads(ended.stdout), json.loads(output)
            assert (list(found), found["asset_id"], found["state"]) == (list(wanted), wanted["asset_id"], "pending")
        else:
            assert ended.stdout == output


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
async def test_curl_sees_each_answer_although_its_body_is_not_read(serve, worker):
    simulator = await serve()
    run = start(worker, simulator.base_url)
    url = await admin_of(run)
    bearer = f"Authorization: Bearer {TOKEN}"
    asset_id = simulator.store.add(Lifecycle())
    (worker.folder / "ids.txt").write_text(f"{asset_id}\n# a comment\n{asset_id}\n")
    (worker.folder / "big").write_bytes(b"x" * (9 << 20))

    async def curl(*arguments: str) -> tuple[int, str]:
        command = ["curl", "-sS", "-w", "\n%{http_code}", *arguments]
        ended = await asyncio.to_thread(subprocess.run, command, cwd=worker.folder, capture_output=True, check=False)
        assert ended.returncode == 0, ended.stderr
        body, _, status = ended.stdout.decode().rpartition("\n")
        return int(status), body

    lines = ("-H", "Content-Type: text/plain", "--data-binary", "@ids.txt")
    status, body = await curl("-H", bearer, *lines, f"{url}/submissions")
    assert (status, json.loads(body)["accepted"], json.loads(body)["repeated"]) == (202, 1, 1)
    assert (await curl("-H", bearer, f"{url}/submissions/{asset_id}"))[0] == 200
    assert (await curl(*lines, f"{url}/submissions"))[0] == 401
    assert (await curl("-H", bearer, "-d", asset_id, f"{url}/submissions"))[0] == 415
    for authorization in ((), ("-H", bearer)):  # the answer arrives although the body has not been read
        much = (*authorization, "-H", "Content-Type: text/plain", "--data-binary", "@big", f"{url}/submissions")
        assert (await curl(*much))[0] == (413 if authorization else 401)
        assert (await curl("-H", "Expect:", *much))[0] == (413 if authorization else 401)
    assert (await curl("-H", bearer, "-H", "Host: evil.example", f"{url}/submissions/{asset_id}"))[0] == 403
