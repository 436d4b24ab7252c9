"""The admin endpoints: what they answer, and clients that misbehave."""

from __future__ import annotations

import asyncio
import errno
import json
import resource
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from io import StringIO
from typing import Any

import aiohttp
import pytest
from prometheus_client.openmetrics.parser import text_fd_to_metric_families
from structlog.testing import capture_logs

from asset_worker.runtime.measures import Histogram
from asset_worker.telemetry import admin
from asset_worker.telemetry.admin import SHUTDOWN_SECONDS, serving
from asset_worker.telemetry.admin_port import (
    FEW_CONNECTIONS,
    MOST_CONNECTIONS,
    REQUEST_SECONDS,
    RESERVED_DESCRIPTORS,
    RETRY_SECONDS,
    room,
)
from asset_worker.telemetry.errors import AdminAddressError, AdminAddressInUseError
from asset_worker.telemetry.problems import Problem, Reason
from asset_worker.telemetry.snapshot import DECLARATIONS, Snapshot
from asset_worker.telemetry.values.declaring import METRIC_PREFIX
from tests.doubles.snapshots import NOTHING, snapshot


@pytest.mark.virtual_time
@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nab", id="half a body"),
        pytest.param(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 10_000, id="answers that it does not read"),
    ],
)
async def test_a_client_does_not_delay_the_end(sent: bytes):
    """Its connection is closed."""
    with capture_logs() as logs, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        async with serving(lambda: NOTHING, host="127.0.0.1", port=0):
            host, _, port = logs[0]["addresses"][0].rpartition(":")
            client.connect((host, int(port)))
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            sending = loop.create_task(loop.sock_sendall(client, sent))
            assert await loop.sock_recv(client, 1) == b"H"
            began = loop.time()
        assert loop.time() - began <= 2 * SHUTDOWN_SECONDS
        sending.cancel()
        await asyncio.wait([sending])


async def test_an_address_that_is_taken_is_named():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(AdminAddressInUseError, match=rf"127\.0\.0\.1:{port} .*admin\.port"):
            async with serving(lambda: NOTHING, host="127.0.0.1", port=port):
                pass


async def test_a_text_that_can_not_be_a_host_is_named():
    with pytest.raises(AdminAddressError, match=r"a\.\.b:0 .*admin\.host") as raised:
        async with serving(lambda: NOTHING, host="a..b", port=0):
            pass
    assert not isinstance(raised.value, AdminAddressInUseError)


async def test_a_problem_that_is_only_about_an_input_is_shown_while_the_worker_is_ready():
    now = snapshot(problems=(Problem(Reason.INPUT_REJECTED, "nothing but junk"),))
    with capture_logs() as logs:
        async with (
            serving(lambda: now, host="127.0.0.1", port=0),
            aiohttp.ClientSession() as client,
            client.get(f"http://{logs[0]['addresses'][0]}/readyz") as response,
        ):
            answer = (response.status, await response.json())
    assert answer == (
        200,
        {
            "status": "ready",
            "problems": ["nothing but junk"],
            "problem_details": [
                {
                    "reason": "input_rejected",
                    "problem": "nothing but junk",
                    "runbook": "docs/runbook.md#input_rejected",
                }
            ],
        },
    )


async def test_health_readiness_and_metrics_are_served():
    now = snapshot(
        pending=3,
        completions={"ready": 2},
        problems=(Problem(Reason.KEY_REFUSED, "the API refuses the key", 100.0, "401"),),
        is_ready=False,
    )
    answers = {}
    with capture_logs() as logs:
        async with serving(lambda: now, host="127.0.0.1", port=0), aiohttp.ClientSession() as client:
            for path in ("healthz", "readyz", "metrics"):
                async with client.get(f"http://{logs[0]['addresses'][0]}/{path}") as response:
                    answers[path] = (response.status, await response.text())
    assert answers["healthz"] == (200, '{"status": "ok"}')
    status, body = answers["readyz"]
    assert (status, json.loads(body)) == (
        503,
        {
            "status": "not ready",
            "problems": ["the API refuses the key"],
            "problem_details": [
                {
                    "reason": "key_refused",
                    "problem": "the API refuses the key",
                    "since": "1970-01-01T00:01:40.000Z",
                    "last_error": "401",
                    "runbook": "docs/runbook.md#key_refused",
                }
            ],
        },
    )
    assert answers["metrics"][0] == 200
    assert "asset_worker_pending_assets 3.0" in answers["metrics"][1].splitlines()


OPEN_METRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}
"""What Prometheus asks for."""


async def test_what_is_served_holds_no_secret_and_prometheus_can_read_it():
    lag = Histogram[tuple[()]]([1.0])
    lag.observe((), 0.5)
    now = snapshot(
        problems=(Problem(Reason.SINK_FAILING, "the sink file:/SECRET fails", 100.0, "SECRET: no space"),),
        sink_backlogs={"file:/SECRET": 4},
        completions={"ready": 2},
        detection_lags=lag.read(),
        is_ready=False,
    )

    def redact(text: str) -> str:
        return text.replace("SECRET", "***")

    answers = {}
    with capture_logs() as logs:
        async with serving(lambda: now, host="127.0.0.1", port=0, redact=redact), aiohttp.ClientSession() as client:
            for path in ("readyz", "metrics"):
                async with client.get(f"http://{logs[0]['addresses'][0]}/{path}", headers=OPEN_METRICS) as response:
                    answers[path] = await response.text()
    assert "SECRET" not in "".join(answers.values())
    assert json.loads(answers["readyz"])["problem_details"] == [
        {
            "reason": "sink_failing",
            "problem": "the sink file:/*** fails",
            "since": "1970-01-01T00:01:40.000Z",
            "last_error": "***: no space",
            "runbook": "docs/runbook.md#sink_failing",
        }
    ]
    families = {each.name: each for each in text_fd_to_metric_families(StringIO(answers["metrics"]))}
    assert {f"{METRIC_PREFIX}{each.metric}" for each in DECLARATIONS.values() if each.metric} <= families.keys()
    [backlog] = families["asset_worker_sink_backlog_events"].samples
    assert (backlog.labels, backlog.value) == ({"sink": "file:/***"}, 4.0)
    assert families["asset_worker_detection_lag_seconds"].type == "histogram"
    assert "process_cpu_seconds" in families


Logs = list[Any]


@asynccontextmanager
async def served(read: Callable[[], Snapshot] = lambda: NOTHING, **options: Any) -> AsyncIterator[tuple[int, Logs]]:
    """Serve on a free port. Yield it, and the log after `admin.serving`."""
    with capture_logs() as logs:
        async with serving(read, **{"host": "127.0.0.1", "port": 0} | options):
            port = int(logs.pop(0)["addresses"][0].rpartition(":")[2])
            yield port, logs


async def connected(port: int, sent: bytes = b"") -> socket.socket:
    loop, client = asyncio.get_running_loop(), socket.socket()
    client.setblocking(False)
    await loop.sock_connect(client, ("127.0.0.1", port))
    await loop.sock_sendall(client, sent)
    return client


async def received(client: socket.socket) -> bytes:
    """What comes until the server closes the connection."""
    loop, found = asyncio.get_running_loop(), b""
    with client:
        try:
            while data := await loop.sock_recv(client, 1 << 16):
                found += data
        except ConnectionResetError:
            pass
        return found


async def asked(port: int, sent: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the answer to what is sent."""
    head, _, body = (await received(await connected(port, sent))).partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return int(status.split()[1]), headers, body


@pytest.mark.virtual_time
@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nX: ", id="half a head"),
    ],
)
async def test_a_request_must_be_whole_within_seconds(sent: bytes):
    """However slowly it goes on."""
    loop = asyncio.get_running_loop()
    async with served() as (port, logs):
        client = await connected(port, sent)
        began = loop.time()

        async def drip() -> None:
            while sent:
                await asyncio.sleep(0.7)
                await loop.sock_sendall(client, b"x")

        dripping = loop.create_task(drip())
        assert await received(client) == b""
        assert loop.time() - began == pytest.approx(5.0, abs=0.01)
        dripping.cancel()
        await asyncio.wait([dripping])
    assert [(each["event"], each["what"], each["client"]) for each in logs] == [
        ("admin.refused", "too slow", "127.0.0.1")
    ]


@pytest.mark.virtual_time
async def test_an_answer_must_be_read_within_seconds(monkeypatch: pytest.MonkeyPatch):
    long = snapshot(problems=(Problem(Reason.SINK_DOWN, "x" * (16 << 20)),), is_ready=False)
    loop = asyncio.get_running_loop()
    async with served(lambda: long) as (port, logs):
        client = await connected(port, b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        began = loop.time()
        await asyncio.sleep(REQUEST_SECONDS + 1)
        assert len(await received(client)) < 16 << 20
        assert loop.time() - began < REQUEST_SECONDS + 2
    assert [each["what"] for each in logs] == ["too slow"]


@pytest.mark.virtual_time
async def test_nothing_is_awaited_of_a_request_once_it_is_answered():
    """Such as the rest of a body, which no endpoint reads."""
    loop = asyncio.get_running_loop()
    async with served() as (port, logs):
        began = loop.time()
        sent = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nab"
        assert (await asked(port, sent))[0] == 200
        assert loop.time() - began < 1
    assert logs == []


async def test_connections_that_have_ended_take_no_room():
    async with served() as (port, logs):
        client = await connected(port, b"GET /")
        for _ in range(2 * MOST_CONNECTIONS):
            assert (await asked(port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"))[0] == 200
        assert is_open(client)
        client.close()
    assert logs == []


async def test_the_oldest_connection_makes_room_for_a_new_one():
    async with served() as (port, logs):
        clients = [await connected(port, b"GET /") for _ in range(3 * 32)]
        status, _, _ = await asked(port, b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert status == 200
        await asyncio.sleep(0.05)
        assert [is_open(each) for each in clients] == [False] * (2 * 32 + 1) + [True] * (32 - 1)
        for each in clients:
            each.close()
    assert [(each["event"], each["what"]) for each in logs] == [("admin.refused", "too many connections")]


async def test_few_connections_are_left_where_only_the_reserved_descriptors_are(monkeypatch: pytest.MonkeyPatch):
    limit = (RESERVED_DESCRIPTORS, 1 << 20)
    monkeypatch.setattr(resource, "getrlimit", lambda _: limit)
    async with served() as (port, _):
        clients = [await connected(port, b"GET /") for _ in range(10)]
        assert (await asked(port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"))[0] == 200
        await asyncio.sleep(0.05)
        assert [is_open(each) for each in clients] == [False] * 7 + [True] * 3
        limit = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        clients += [await connected(port, b"GET /") for _ in range(10)]
        assert (await asked(port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"))[0] == 200
        assert [is_open(each) for each in clients[7:]] == [True] * 13
        for each in clients:
            each.close()


@pytest.mark.virtual_time
async def test_a_new_connection_has_its_chance_however_many_follow():
    """Its request may come a moment later."""
    loop = asyncio.get_running_loop()
    async with served() as (port, _):
        before = [await connected(port, b"GET /") for _ in range(MOST_CONNECTIONS)]
        client = await connected(port)
        after = [await connected(port, b"GET /") for _ in range(2 * MOST_CONNECTIONS)]
        await asyncio.sleep(0.08)
        await loop.sock_sendall(client, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await received(client)).startswith(b"HTTP/1.1 200 ")
        for each in (*before, *after):
            each.close()


def is_open(client: socket.socket) -> bool:
    try:
        return bool(client.recv(1))
    except BlockingIOError:
        return True
    except ConnectionResetError:
        return False


async def test_an_answer_names_no_version_and_ends_the_connection():
    requests = {
        200: b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        400: b"\x16\x03\x01\r\n\r\n",
        403: b"GET /readyz HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        404: b"GET /else HTTP/1.1\r\nHost: localhost\r\n\r\n",
        405: b"PUT /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    }
    async with served() as (port, _):
        answers = {expected: await asked(port, request) for expected, request in requests.items()}
    assert {expected: status for expected, (status, _, _) in answers.items()} == {each: each for each in requests}
    assert {headers["Server"] for _, headers, _ in answers.values()} == {"asset-worker"}
    assert answers[200][1]["Connection"] == "close"
    assert (b"ready" in answers[200][2], b"problems" in answers[403][2]) == (True, False)


@pytest.mark.virtual_time
async def test_malformed_requests_are_one_line_a_spell_without_a_traceback():
    sent = b"GET /\x00\x1b[2J" + b"x" * 1000 + b" HTTP/1.1\r\n\r\n"
    async with served() as (port, logs):
        for _ in range(20):
            status, _, body = await asked(port, sent)
            assert (status, body) == (400, b"400\n")
        assert len(logs) == 1
        await asyncio.sleep(120)
        await asked(port, b"\r\n\r\njunk\r\n\r\n")
    assert [(each["event"], each["what"], each["client"], each["unlogged"]) for each in logs] == [
        ("admin.refused", "malformed request", "127.0.0.1", 0),
        ("admin.refused", "malformed request", "127.0.0.1", 19),
    ]
    assert all(len(each["detail"]) <= 200 and "exc_info" not in each and "exception" not in each for each in logs)


async def test_an_unknown_host_is_refused_and_logged():
    async with served() as (port, logs):
        for host, expected in (
            (f"127.0.0.1:{port}", 200),
            ("localhost", 200),
            ("worker:9090", 200),
            ("10.1.2.3:9090", 200),
            (socket.gethostname(), 200),
            ("evil.example:9090", 403),
        ):
            sent = f"GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n"
            assert (host, (await asked(port, sent.encode()))[0]) == (host, expected)
        assert (await asked(port, b"GET /healthz HTTP/1.0\r\n\r\n"))[0] == 200  # no page can leave it out
        sent = "GET http://evil.example/metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
        assert (await asked(port, sent.encode()))[0] == 403
    assert [(each["event"], each["what"], each["detail"]) for each in logs] == [
        ("admin.refused", "unknown host", "evil.example:9090")
    ]


async def test_the_machine_is_known_by_its_full_name(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(admin, "_full_name", lambda: "web1.example.com")
    async with served() as (port, _):
        await asyncio.sleep(0.1)
        assert (await asked(port, b"GET /healthz HTTP/1.1\r\nHost: web1.example.com:9090\r\n\r\n"))[0] == 200


async def test_the_name_of_the_machine_and_that_of_the_setting_are_known(monkeypatch: pytest.MonkeyPatch):
    async def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]

    monkeypatch.setattr(admin, "_full_name", lambda: "")
    monkeypatch.setattr(socket, "gethostname", lambda: "web2.example.com")
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    async with served(host="worker.example.com") as (port, _):
        for host, expected in (("web2.example.com", 200), ("worker.example.com", 200), ("web3.example.com", 403)):
            sent = f"GET /healthz HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n"
            assert (host, (await asked(port, sent.encode()))[0]) == (host, expected)


async def test_a_request_that_fails_is_logged_once_and_shows_nothing():
    def read() -> Snapshot:
        raise KeyError("a bug")

    async with served(read) as (port, logs):
        for _ in range(3):
            status, _, body = await asked(port, b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert (status, body) == (500, b"500\n")
    assert [(each["event"], each["error"], each["exc_info"]) for each in logs] == [("admin.failed", "'a bug'", True)]


@pytest.mark.virtual_time
async def test_a_connection_that_can_not_be_accepted_is_tried_again_and_logged_once(monkeypatch: pytest.MonkeyPatch):
    """And those that are open are closed: the work may need their descriptors."""
    loop = asyncio.get_running_loop()
    accept, until = loop.sock_accept, loop.time() + 30
    tries = []

    async def sock_accept(listener: socket.socket) -> Any:
        if len(tries) and loop.time() < until:
            tries.append(loop.time())
            raise OSError(errno.EMFILE, "Too many open files")
        accepted = await accept(listener)
        tries.append(loop.time())
        return accepted

    monkeypatch.setattr(loop, "sock_accept", sock_accept)
    async with served() as (port, logs):
        assert await received(await connected(port, b"GET /")) == b""
        assert loop.time() < REQUEST_SECONDS
        assert (await asked(port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"))[0] == 200
        assert loop.time() >= until
    assert len(tries) == pytest.approx(30 / RETRY_SECONDS, abs=3)
    assert [each["event"] for each in logs] == ["admin.failed", "admin.refused"]
    assert "Too many open files" in logs[0]["error"]


async def test_a_connection_that_is_gone_when_it_is_accepted_is_no_error(monkeypatch: pytest.MonkeyPatch):
    loop = asyncio.get_running_loop()
    connect, gone = loop.connect_accepted_socket, [OSError(errno.ENOTCONN, "Transport endpoint is not connected")]

    async def connect_accepted_socket(*options: Any, **more: Any) -> Any:
        if gone:
            raise gone.pop()
        return await connect(*options, **more)

    monkeypatch.setattr(loop, "connect_accepted_socket", connect_accepted_socket)
    async with served() as (port, logs):
        assert await received(await connected(port)) == b""
        assert (await asked(port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"))[0] == 200
    assert (gone, logs) == ([], [])


@pytest.mark.parametrize(
    ("descriptor", "limit", "expected"),
    [
        (20, 1024, MOST_CONNECTIONS),
        (1024 - RESERVED_DESCRIPTORS - 1, 1024, MOST_CONNECTIONS),
        (1024 - RESERVED_DESCRIPTORS, 1024, FEW_CONNECTIONS),
        (1023, 1024, FEW_CONNECTIONS),
        (20, 64, FEW_CONNECTIONS),
        (5000, float("inf"), MOST_CONNECTIONS),
    ],
)
def test_the_last_descriptors_are_left_to_the_work(descriptor: int, limit: float, expected: int):
    assert room(descriptor, limit) == expected


async def test_a_name_is_served_at_its_addresses_of_the_families_that_are_used(monkeypatch: pytest.MonkeyPatch):
    """`localhost` is often also ::1, which a machine without IPv6 doesn't have."""
    loop = asyncio.get_running_loop()
    v4, v6 = ("127.0.0.1", 0), ("2001:db8::1", 0, 0, 0)

    async def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", v6),
            *[(socket.AF_INET, socket.SOCK_STREAM, 6, "", v4)] * 2,
        ]

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    with capture_logs() as logs:
        async with serving(lambda: NOTHING, host="both.example", port=0):
            assert [each.rpartition(":")[0] for each in logs[0]["addresses"]] == ["127.0.0.1"]
    monkeypatch.setattr(
        socket, "create_server", lambda *_, **__: (_ for _ in ()).throw(OSError(errno.EAFNOSUPPORT, ""))
    )
    with pytest.raises(AdminAddressError):
        async with serving(lambda: NOTHING, host="both.example", port=0):
            pass
