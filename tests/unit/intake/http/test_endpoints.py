"""The endpoints as clients see them, on the admin port: statuses, limits, tokens, hosts and web pages."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from asset_worker.domain.assets import AssetId
from asset_worker.domain.states import AssetState, SettledState
from asset_worker.domain.unavailable import QueueUnavailableError
from asset_worker.intake.http import endpoints as module
from asset_worker.intake.http.bodies import MOST_BYTES, MOST_ITEMS
from asset_worker.intake.http.endpoints import BODY_SECONDS, Endpoints, routes_without_token
from asset_worker.intake.http.intake import DURABLE_SECONDS, HttpIntake
from asset_worker.runtime.redaction import Secrets
from asset_worker.runtime.stop import Stop
from asset_worker.telemetry import admin_port
from asset_worker.telemetry.admin import Guarded, serving
from asset_worker.telemetry.admin_port import MOST_CONNECTIONS, REQUEST_SECONDS, TRUSTED_SECONDS
from asset_worker.telemetry.bearer import has_token
from tests.doubles.clocks import LoopClock
from tests.doubles.snapshots import NOTHING

TOKEN = "a-token-for-tests-0123"
KEY = "tlk_0123456789abcdefSECRET"
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}
JSON = AUTHORIZED | {"Content-Type": "application/json"}
LINES = AUTHORIZED | {"Content-Type": "text/plain"}
COMMENTS = (b"#" * 1023 + b"\n") * (MOST_BYTES >> 10)
PATHS = ["/submissions", "/submissions/a1"]


class Tokens:
    def accepts(self, authorization, *, as_password) -> bool:
        return has_token(authorization, (TOKEN,), as_password=as_password)

    async def reload(self) -> None:
        pass


class Queue:
    """Accepts what it does not have, and knows one asset."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.room = 1_000_000
        self.works = asyncio.Event()
        self.works.set()

    def has_room_for(self, asset_ids) -> bool:
        return len(set(asset_ids) - set(self.ids)) <= self.room

    async def accept(self, batch):
        await self.works.wait()
        new = {each.asset_id: each for each in reversed(batch.submissions) if each.asset_id not in self.ids}
        self.ids += new
        return list(new.values())

    async def find(self, asset_id: AssetId) -> AssetState:
        await self.works.wait()
        if asset_id != "a1":
            return AssetState()
        return AssetState(settled=SettledState(1, "ready", 1.0, 2.0, b'{"id":"a1.1"}'))


class Served:
    def __init__(self, port: int, queue: Queue, stop: Stop, client: aiohttp.ClientSession) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.port = port
        self.queue = queue
        self.stop = stop
        self._client = client

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, Any, Any]:
        async with self._client.request(method, self.url + path, **options) as answer:
            text = await answer.text()
            is_json = answer.content_type == "application/json" and method != "HEAD"
            return answer.status, json.loads(text) if is_json else text, answer.headers

    async def post(self, data: Any, headers: dict[str, str] = JSON) -> tuple[int, Any, Any]:
        body = io.BytesIO(data) if isinstance(data, bytes) else data
        return await self.ask("POST", "/submissions", data=body, headers=headers)


@asynccontextmanager
async def served(host: str = "127.0.0.1", *, with_tokens: bool = True) -> AsyncIterator[Served]:
    queue, stop, clock = Queue(), Stop(), LoopClock(asyncio.get_running_loop())
    secrets = Secrets()
    secrets.add(KEY)
    endpoints = Endpoints(HttpIntake(queue, stop, endless=True), queue, clock, stop, redact=secrets.redact)
    guarded = Guarded(endpoints.routes(), Tokens()) if with_tokens else None
    routes = () if with_tokens else routes_without_token()
    with capture_logs() as logs:
        async with (
            serving(lambda: NOTHING, host=host, port=0, routes=routes, guarded=guarded),
            aiohttp.ClientSession() as client,
        ):
            yield Served(int(logs[0]["addresses"][0].rpartition(":")[2]), queue, stop, client)


async def test_what_became_of_each_submission_is_answered():
    async with served() as server:
        status, body, headers = await server.post(b'["a1", "a2", "a1", "no asset"]')
        assert (status, body["accepted"], body["repeated"], body["refused"]) == (202, 2, 1, 1)
        assert [each["state"] for each in body["items"]] == ["accepted", "accepted", "repeated", "refused"]
        assert (headers["Content-Type"], headers["Cache-Control"]) == ("application/json", "no-store")
        status, body, _ = await server.post(b"a3\n# comment\n\na1\n", LINES)
        assert (status, [each["state"] for each in body["items"]]) == (202, ["accepted", "repeated"])
        status, body, _ = await server.post(b"a4", AUTHORIZED | {"Content-Type": ""})
        assert (status, body["accepted"]) == (202, 1)
        assert server.queue.ids == ["a1", "a2", "a3", "a4"]
        status, body, _ = await server.post(b'{"asset_id": "a1", "deadline": "x"}')
        assert (status, body["refused"]) == (202, 1)
        assert body["items"][0]["reason"].startswith("deadline must be a number of seconds, or text with units")


@pytest.mark.parametrize(
    ("data", "headers", "status"),
    [
        pytest.param(b"", JSON, 400, id="no body"),
        pytest.param(b"[]", JSON, 400, id="no submission"),
        pytest.param(b"\n# only a comment\n", LINES, 400, id="no line"),
        pytest.param(b"{", JSON, 400, id="no JSON"),
        pytest.param(b"a1", AUTHORIZED | {"Content-Type": "application/x-www-form-urlencoded"}, 415, id="a form"),
        pytest.param(b"a1", LINES | {"Content-Encoding": "gzip"}, 415, id="compressed"),
        pytest.param(b"a\n" * MOST_ITEMS, LINES, 202, id="a thousand lines"),
        pytest.param(b"a\n" * (MOST_ITEMS + 1), LINES, 413, id="more lines"),
        pytest.param(json.dumps(["a"] * MOST_ITEMS).encode(), JSON, 202, id="a thousand elements"),
        pytest.param(json.dumps(["a"] * (MOST_ITEMS + 1)).encode(), JSON, 413, id="more elements"),
        pytest.param(b"a\n" + COMMENTS[2:], LINES, 202, id="8 MiB"),
        pytest.param(b"a\n" + COMMENTS[1:], LINES, 413, id="more bytes"),
    ],
)
async def test_bodies_within_the_limits_are_read(data, headers, status):
    async with served() as server:
        found, body, _ = await server.post(data, headers)
        assert found == status
        assert server.queue.ids == (["a"] if status == 202 else [])
        assert status == 202 or body["error"]


async def test_a_body_of_unknown_length_ends_at_the_limit():
    async def chunks():
        for _ in range(MOST_BYTES // 65536 + 1):
            yield COMMENTS[:65536]

    async with served() as server:
        assert (await server.post(chunks(), LINES))[0] == 413


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer another-token-0123"}, {"Authorization": f"Basic {TOKEN}"}]
)
async def test_without_a_valid_token_every_answer_is_the_same(path, headers):
    async with served() as server:
        method = "POST" if path == "/submissions" else "GET"
        status, body, found = await server.ask(method, path, headers=headers)
        assert (status, found["WWW-Authenticate"]) == (401, "Bearer")
        assert body == {"error": "send Authorization: Bearer TOKEN, with a token of admin.token_file"}
        assert server.queue.ids == []


async def test_a_client_without_a_token_is_answered_although_it_sends_much():
    async with served() as server:
        assert (await server.post(b"a" * MOST_BYTES, {"Content-Type": "text/plain"}))[0] == 401


@pytest.mark.parametrize("token", [TOKEN, "another-token-0123"])
async def test_a_client_that_sends_everything_before_it_reads_sees_the_answer(token):
    """If the connection were closed before, the kernel would reset it, and drop the answer."""
    head = (
        f"POST /submissions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: {9 << 20}\r\n\r\n"
    )

    def send_and_read(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
            client.sendall(head.encode())
            time.sleep(0.2)  # the answer is sent
            for _ in range(9):
                client.sendall(bytes(1 << 20))
            return client.recv(1 << 16)

    async with served() as server:
        answer = await asyncio.to_thread(send_and_read, server.port)
        assert int(answer.split()[1]) == (413 if token == TOKEN else 401)


@pytest.mark.parametrize("path", PATHS)
async def test_a_page_of_another_site_is_refused_even_with_the_token(path):
    async with served() as server:
        method = "POST" if path == "/submissions" else "GET"
        for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"}):
            status, _, found = await server.ask(method, path, headers=JSON | headers)
            assert status == 403
            assert not any(name.startswith("Access-Control") for name in found)
        assert server.queue.ids == []


async def test_a_preflight_of_a_browser_permits_nothing():
    async with served() as server:
        asked = {"Origin": "http://localhost:3000", "Access-Control-Request-Method": "POST"}
        status, _, found = await server.ask("OPTIONS", "/submissions", headers=asked)
        assert status >= 400
        assert not any(name.startswith("Access-Control") for name in found)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/submissions", "POST"),
        ("PUT", "/submissions", "POST"),
        ("DELETE", "/submissions/a1", "GET,HEAD"),
        ("POST", "/submissions/a1", "GET,HEAD"),
    ],
)
async def test_other_methods_are_named(method, path, allowed):
    async with served() as server:
        status, _, headers = await server.ask(method, path, headers=AUTHORIZED)
        assert (status, headers["Allow"]) == (405, allowed)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_the_state_of_an_asset_is_answered(method):
    async with served() as server:
        for path, wanted in (("a1", 200), ("unknown", 404), ("no%20asset", 400), ("a" * 65, 400), ("..%2Fx", 400)):
            status, body, _ = await server.ask(method, f"/submissions/{path}", headers=AUTHORIZED)
            assert status == wanted, path
            if method == "GET" and status == 200:
                assert (body["state"], body["outcome"], body["event"]) == ("settled", "ready", {"id": "a1.1"})


async def test_no_room_is_no_failure_and_accepts_nothing():
    async with served() as server:
        server.queue.room = 1
        status, body, headers = await server.post(b'["a1", "a2"]')
        assert (status, int(headers["Retry-After"]) > 0) == (429, True)
        assert "queue.max_pending" in body["error"]
        assert server.queue.ids == []
        assert (await server.post(b'["a1"]'))[0] == 202


async def test_a_journal_that_fails_while_the_process_ends_is_answered_as_one_that_fails_now(monkeypatch):
    async def unavailable(*_: Any) -> None:
        raise QueueUnavailableError("the process is about to end")

    async with served() as server:
        monkeypatch.setattr(server.queue, "accept", unavailable)
        monkeypatch.setattr(server.queue, "find", unavailable)
        status, body, headers = await server.post(b'"a1"')
        assert (status, int(headers["Retry-After"]) > 0) == (503, True)
        assert "not on the disk yet" in body["error"]
        status, body, headers = await server.ask("GET", "/submissions/a1", headers=AUTHORIZED)
        assert (status, int(headers["Retry-After"]) > 0) == (503, True)
        assert "the journal can't be read now" in body["error"]


@pytest.mark.virtual_time
async def test_what_is_not_durable_in_time_is_not_answered_as_accepted():
    async with served() as server:
        server.queue.works.clear()
        began = asyncio.get_running_loop().time()
        status, _, headers = await server.post(b'"a1"')
        assert (status, int(headers["Retry-After"]) > 0) == (503, True)
        assert DURABLE_SECONDS <= asyncio.get_running_loop().time() - began < DURABLE_SECONDS + 1
        assert (await server.ask("GET", "/submissions/a1", headers=AUTHORIZED))[0] == 503
        server.queue.works.set()
        status, body, _ = await server.post(b'"a1"')
        assert (status, body["repeated"]) == (202, 1)


async def test_while_the_worker_stops_nothing_is_accepted():
    async with served() as server:
        server.stop.set("SIGTERM")
        status, _, headers = await server.post(b'"a1"')
        assert (status, headers["Connection"], int(headers["Retry-After"]) > 0) == (503, "close", True)
        assert server.queue.ids == []
        assert (await server.ask("GET", "/submissions/a1", headers=AUTHORIZED))[0] == 200


async def connected(server: Served, sent: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(sent)
    return reader, writer


HALF = (
    f"POST /submissions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
    "Content-Type: text/plain\r\nContent-Length: 100\r\n\r\na1\n"
).encode()


async def status_of(reader: asyncio.StreamReader) -> int:
    return int((await reader.read()).split()[1])


@pytest.mark.virtual_time
async def test_a_body_may_take_ten_seconds_to_come():
    loop = asyncio.get_running_loop()
    async with served() as server:
        reader, writer = await connected(server, HALF)
        await asyncio.sleep(BODY_SECONDS - 0.5)
        assert BODY_SECONDS > REQUEST_SECONDS
        writer.write(b"\n" * 97)
        assert await status_of(reader) == 202
        began = loop.time()
        late, other = await connected(server, HALF)
        assert await status_of(late) == 408
        assert loop.time() - began == pytest.approx(BODY_SECONDS, abs=2)
        assert server.queue.ids == ["a1"]
        writer.close()
        other.close()


async def test_a_body_that_is_coming_does_not_delay_a_stop():
    async with served() as server:
        reader, writer = await connected(server, HALF)
        await asyncio.sleep(0.05)
        server.stop.set("SIGTERM")
        assert await asyncio.wait_for(status_of(reader), 3) == 503
        writer.close()


async def test_clients_with_a_token_are_not_closed_for_others_and_leave_room_for_them():
    async with served() as server:
        slow = [await connected(server, HALF) for _ in range(MOST_CONNECTIONS // 2)]
        others = [await connected(server, b"GET /") for _ in range(2 * MOST_CONNECTIONS)]
        assert (await server.ask("GET", "/healthz"))[0] == 200
        for reader, writer in slow:
            writer.write(b"\n" * 97)
            assert await status_of(reader) == 202
        for _, writer in (*slow, *others):
            writer.close()


async def test_a_hundred_clients_at_once_are_all_answered():
    async with served() as server:
        found = await asyncio.gather(*(server.post(f'["b{n}", "c{n}"]'.encode()) for n in range(100)))
        assert {status for status, _, _ in found} == {202}
        assert len(server.queue.ids) == 200


@pytest.mark.virtual_time
async def test_too_many_clients_with_a_token_are_asked_to_come_back(monkeypatch):
    monkeypatch.setattr(admin_port, "MOST_TRUSTED", 2)
    async with served() as server:
        held = [await connected(server, HALF) for _ in range(2)]
        await asyncio.sleep(0.05)
        status, _, headers = await server.post(b'"a1"')
        assert (status, int(headers["Retry-After"]) > 0) == (503, True)
        assert (await server.ask("GET", "/readyz"))[0] in {200, 503}
        await asyncio.sleep(TRUSTED_SECONDS)
        assert (await server.post(b'"a1"'))[0] == 202
        for _, writer in held:
            writer.close()


@pytest.mark.virtual_time
async def test_bodies_beyond_those_that_are_read_wait_for_their_turn(monkeypatch):
    monkeypatch.setattr(module, "MOST_READ_AT_ONCE", 1)
    async with served() as server:
        _, writer = await connected(server, HALF)
        await asyncio.sleep(0.05)
        began = asyncio.get_running_loop().time()
        assert (await server.post(b'"a1"'))[0] == 202
        assert asyncio.get_running_loop().time() - began == pytest.approx(BODY_SECONDS, abs=1)
        writer.close()


async def test_without_a_file_of_tokens_the_answer_says_how_to_switch_it_on():
    async with served(with_tokens=False) as server:
        for method, path in (("POST", "/submissions"), ("GET", "/submissions/a1")):
            status, body, _ = await server.ask(method, path, headers=AUTHORIZED)
            assert (status, "admin.token_file" in body["error"]) == (404, True)


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1"])
async def test_beyond_this_machine_only_probes_and_metrics_need_no_token(host):
    async with served(host) as server:
        for path in ("/metrics", "/healthz", "/readyz"):
            assert (await server.ask("GET", path))[0] != 401
        for path in ("/", "/other", "/healthz/", "//healthz", "/metrics/..", "/%68ealthz2", "/static/x"):
            assert (await server.ask("GET", path))[0] == (404 if host == "127.0.0.1" else 401), path
            assert (await server.ask("GET", path, headers=AUTHORIZED))[0] == 404, path
        for path in PATHS:
            assert (await server.ask("POST", path))[0] in {401, 405}


async def test_a_failure_of_the_queue_is_no_acceptance_and_shows_nothing(monkeypatch):
    async with served() as server:

        async def fail(batch):
            raise OSError("the journal of /srv is damaged")

        monkeypatch.setattr(server.queue, "accept", fail)
        status, body, _ = await server.post(b'"a1"')
        assert (status, "srv" in str(body)) == (500, False)


async def test_the_key_is_shown_in_no_answer():
    async with served() as server:
        for data in (json.dumps(KEY), json.dumps({"asset_id": "a1", "wait_for": {KEY: KEY}}), "{" + KEY):
            _, body, _ = await server.post(data.encode())
            assert KEY not in json.dumps(body)


def test_the_routes_are_those_of_the_document():
    assert {(each.method, each.path) for each in routes_without_token()} == {
        ("*", "/submissions"),
        ("*", "/submissions/{asset_id}"),
    }
    assert isinstance(routes_without_token()[0], web.RouteDef)
