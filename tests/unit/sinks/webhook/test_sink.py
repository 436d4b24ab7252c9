"""The sink that sends each event as a request, over real connections to this machine."""

from __future__ import annotations

import asyncio
import time
from base64 import b64encode
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aioresponses import aioresponses
from hypothesis import given, settings
from hypothesis import strategies as st
from standardwebhooks.webhooks import WebhookVerificationError
from structlog.testing import capture_logs

from asset_worker.domain.events import Stored
from asset_worker.runtime.redaction import Secrets
from asset_worker.sinks.ports import (
    Attempt,
    Delivered,
    Failed,
    Gone,
    TargetNotReadyError,
    UnusableTargetError,
)
from asset_worker.sinks.registry import find_problem, find_warnings
from asset_worker.sinks.webhook.sink import BODY_BYTES
from tests.doubles.clocks import ManualClock
from tests.doubles.webhooks import (
    BODY,
    EVENT,
    ONE,
    OTHER,
    attempt,
    put,
    receiving,
    serving,
    target_of,
    webhook,
)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_an_event_arrives_signed_and_byte_for_byte(secret_file: Path, host: str):
    async with receiving() as receiver:
        assert await attempt(f"http://{host}:{receiver.port}/hooks?a=b", secret_file=secret_file) == Delivered()
    [request] = receiver.received
    assert request.body == BODY
    assert request.path == "/hooks?a=b"
    assert request.verify(ONE)["id"] == "a1.1"
    assert request.headers["webhook-id"] == "a1.1"
    assert abs(float(request.headers["webhook-timestamp"]) - time.time()) < 10
    assert request.headers["Content-Type"] == "application/cloudevents+json"
    assert request.headers["User-Agent"].startswith("asset-worker/")
    assert request.headers["Accept-Encoding"] == "identity"


async def test_a_binary_request_is_signed_as_it_is_sent(secret_file: Path):
    async with receiving() as receiver:
        await attempt(f"http://127.0.0.1:{receiver.port}/", secret_file=secret_file, mode="binary")
    [request] = receiver.received
    assert request.verify(ONE) == {"asset_id": "a1", "outcome": "ready"}
    assert request.headers["ce-id"] == request.headers["webhook-id"] == "a1.1"


async def test_headers_come_from_the_table_and_from_files_that_may_change(tmp_path: Path):
    token = tmp_path / "token"
    token.write_text("Bearer first-token\n")
    token.chmod(0o600)
    clock, secrets = ManualClock(), Secrets()
    async with receiving() as receiver:
        sink = webhook(
            f"http://127.0.0.1:{receiver.port}/",
            clock=clock,
            secrets=secrets,
            headers={"X-Team": "films", "user-agent": "ours", "Authorization": {"file": token}},
        )
        assert await sink.attempt(EVENT) == Delivered()
        token.write_text("Bearer the-second-token")
        clock.move(2)
        assert await sink.attempt(EVENT) == Delivered()
        await sink.close()
    first, second = receiver.received
    assert (first.headers["X-Team"], first.headers.getall("User-Agent")) == ("films", ["ours"])
    assert (first.headers["Authorization"], second.headers["Authorization"]) == (
        "Bearer first-token",
        "Bearer the-second-token",
    )
    assert secrets.redact("a Bearer first-token, the-second-token, films") == "a ********, ********, films"


async def test_a_user_in_the_url_is_sent_as_basic_authentication():
    async with receiving() as receiver:
        assert await attempt(f"http://ada:p%40ss%E2%82%AC@127.0.0.1:{receiver.port}/") == Delivered()
    [request] = receiver.received
    assert request.headers["Authorization"] == "Basic " + b64encode("ada:p@ss€".encode()).decode()


async def test_secrets_that_change_sign_the_next_request(secret_file: Path):
    """While both sign, receivers with either accept what comes."""
    clock = ManualClock(time.time())
    async with receiving() as receiver:
        sink = webhook(f"http://127.0.0.1:{receiver.port}/", clock=clock, secret_file=secret_file)
        for text in (ONE, f"{OTHER}\n{ONE}\n", OTHER):
            put(secret_file, text)
            clock.move(1)
            assert await sink.attempt(EVENT) == Delivered()
        put(secret_file, None)
        clock.move(1)
        assert await sink.attempt(EVENT) == Delivered()
        await sink.close()
    before, both, after, gone = receiver.received
    before.verify(ONE)
    both.verify(ONE)
    both.verify(OTHER)
    after.verify(OTHER)
    gone.verify(OTHER)
    for request, secret in ((before, OTHER), (after, ONE)):
        with pytest.raises(WebhookVerificationError):
            request.verify(secret)


async def test_without_secrets_this_machine_gets_unsigned_requests():
    async with receiving() as receiver:
        assert await attempt(f"http://127.0.0.1:{receiver.port}/") == Delivered()
    assert "webhook-signature" not in receiver.received[0].headers
    assert receiver.received[0].headers["webhook-id"] == "a1.1"


@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        (200, Delivered()),
        (204, Delivered()),
        (301, Failed("HTTP 301: redirects are not followed: give the URL that it leads to")),
        (307, Failed("HTTP 307: redirects are not followed: give the URL that it leads to")),
        (404, Failed("HTTP 404: nothing here", 7.0)),
        (410, Gone("HTTP 410: nothing here")),
        (503, Failed("HTTP 503: nothing here", 7.0)),
    ],
)
async def test_the_status_decides(status: int, meaning: Attempt):
    async def answer(_: web.Request) -> web.Response:
        headers = {"Location": "/elsewhere"} if 300 <= status < 400 else {"Retry-After": "7"}
        return web.Response(status=status, headers=headers, body=b"" if status == 204 else b"nothing here")

    async with receiving(answer) as receiver:
        assert await attempt(f"http://127.0.0.1:{receiver.port}/hooks") == meaning
    assert [request.path for request in receiver.received] == ["/hooks"]


async def test_an_answer_may_be_of_any_status_that_http_has():
    async with receiving() as receiver:
        sink = webhook(f"http://127.0.0.1:{receiver.port}/")
        with aioresponses() as faked:
            for status in (100, 205, 299, 300, 399, 400, 410, 418, 499, 599):
                faked.post(f"http://127.0.0.1:{receiver.port}/", status=status)
                found = await sink.attempt(EVENT)
                expected = Delivered if 200 <= status < 300 else Gone if status == 410 else Failed
                assert isinstance(found, expected), status
        await sink.close()


async def test_a_timeout_is_a_failure_after_that_time():
    async def answer(_: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    async with receiving(answer) as receiver:
        begun = time.monotonic()
        assert await attempt(f"http://127.0.0.1:{receiver.port}/", timeout=0.3) == Failed("no answer within 0.3 s")
        assert 0.3 <= time.monotonic() - begun < 30


async def test_a_2xx_whose_body_does_not_end_is_a_failure():
    """It may be a gateway's answer, cut off because the receiver died."""

    async def stall(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"thanks")
        await asyncio.sleep(30)
        return response

    async with receiving(stall) as receiver:
        found = await attempt(f"http://127.0.0.1:{receiver.port}/", timeout=3)
        assert found == Failed("HTTP 200, but its body did not come to an end: no answer within 3 s")

    async def cut(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nthanks")
        await writer.drain()

    async with serving(cut) as port:
        found = await attempt(f"http://127.0.0.1:{port}/")
        assert found == Failed("HTTP 200, but its body did not come to an end: the answer was cut off")


@pytest.mark.parametrize(("status", "kind"), [(200, Delivered), (500, Failed), (410, Gone)])
async def test_an_endless_body_is_read_to_its_limit(status: int, kind: type):
    written = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal written
        response = web.StreamResponse(status=status)
        await response.prepare(request)
        with suppress(ConnectionError):
            while True:
                await response.write(b"x" * 10_000)
                written += 10_000
        return response

    async with receiving(endless) as receiver:
        assert isinstance(await attempt(f"http://127.0.0.1:{receiver.port}/", timeout=30), kind)
    assert BODY_BYTES < written < 100 * BODY_BYTES  # what the buffers of both ends take comes on top


async def test_a_slow_failure_is_known_by_its_status():
    async def slow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=503, headers={"Retry-After": "9"})
        await response.prepare(request)
        while True:
            await response.write(b"no ")
            await asyncio.sleep(0.5)

    async with receiving(slow) as receiver:
        found = await attempt(f"http://127.0.0.1:{receiver.port}/", timeout=3)
    assert isinstance(found, Failed)
    assert found.reason.startswith("HTTP 503: no")
    assert found.retry_after == 9


async def test_a_reset_and_a_closed_connection_are_failures():
    async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with serving(reset) as port:
        found = await attempt(f"http://127.0.0.1:{port}/")
    assert found in {
        Failed("the connection was reset"),
        Failed("the connection was closed without an answer"),
    }

    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with serving(close) as port:
        assert await attempt(f"http://127.0.0.1:{port}/") == Failed("the connection was closed without an answer")
        port_of_nobody = port
    found = await attempt(f"http://127.0.0.1:{port_of_nobody}/")
    assert found == Failed("127.0.0.1 can't be connected to (Connection refused)")


async def test_an_answer_that_is_not_http_is_a_failure():
    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")
        await writer.drain()

    async with serving(babble) as port:
        assert await attempt(f"http://127.0.0.1:{port}/") == Failed("the answer is not HTTP, or its head is too long")


@settings(max_examples=30)
@given(st.binary(max_size=300))
def test_whatever_comes_back_is_an_attempt(answer: bytes):
    async def run() -> Attempt:
        async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(answer)
            await writer.drain()

        async with serving(babble) as port:
            return await attempt(f"http://127.0.0.1:{port}/", timeout=2)

    assert isinstance(asyncio.run(run()), Failed)


@settings(max_examples=60)
@given(
    st.integers(100, 999),
    st.dictionaries(
        st.sampled_from(["Retry-After", "Date", "Content-Encoding", "Content-Type", "Set-Cookie", "Location", "X"]),
        st.text(st.characters(codec="latin-1", exclude_characters="\r\n\0"), max_size=30),
    ),
    st.binary(max_size=2000),
)
def test_any_status_headers_and_body_are_an_attempt(status: int, headers: dict[str, str], body: bytes):
    async def run() -> Attempt:
        async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in headers.items())]
            head += [f"Content-Length: {len(body)}", "", ""]
            writer.write("\r\n".join(head).encode("latin-1") + body)
            await writer.drain()

        async with serving(answer) as port:
            return await attempt(f"http://127.0.0.1:{port}/", timeout=2)

    found = asyncio.run(run())
    assert isinstance(found, Delivered | Failed | Gone)
    assert status // 100 == 2 or not isinstance(found, Delivered)


@pytest.mark.parametrize(
    ("status", "meaning"), [(200, Delivered()), (500, Failed("HTTP 500: Internal Server Error"))], ids=str
)
async def test_a_compressed_answer_is_not_decompressed(status: int, meaning: Attempt):
    """A few bytes could become gigabytes; and these here would be an error."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, body=b"\x1f\x8b bomb", headers={"Content-Encoding": "gzip"})

    async with receiving(answer) as receiver:
        assert await attempt(f"http://127.0.0.1:{receiver.port}/") == meaning


async def test_long_and_many_headers_are_no_failure():
    async def answer(_: web.Request) -> web.Response:
        many = {f"X-{number}": "x" for number in range(500)}
        return web.Response(headers=many | {"Content-Security-Policy": "x" * 50_000})

    async with receiving(answer) as receiver:
        assert await attempt(f"http://127.0.0.1:{receiver.port}/") == Delivered()


async def test_nothing_that_is_secret_is_in_a_reason(secret_file: Path, tmp_path: Path):
    """The receiver repeats all it got."""
    (tmp_path / "token").write_text("Bearer S3CRET-of-file")

    async def echo(request: web.Request) -> web.Response:
        parts = [request.path_qs, *request.headers.values()]
        return web.Response(status=500, text=parts[part] if part >= 0 else await request.text())

    part = -1
    async with receiving(echo) as receiver:
        url = f"http://ada:S3CRETpass@127.0.0.1:{receiver.port}/hooks?token=S3CRETquery&x=S3%43RETmore"
        sink = webhook(
            url, secret_file=secret_file, headers={"X-A": "S3CRETheader", "X-B": {"file": tmp_path / "token"}}
        )
        for part in range(-1, 11):  # noqa: B007 - `echo` reads it
            found = await sink.attempt(EVENT)
            assert isinstance(found, Failed)
            assert "S3CRET" not in found.reason
            assert "S3%43RET" not in found.reason
            assert "specversion" not in found.reason
            assert b64encode(b"ada").decode() not in found.reason  # of Basic authentication
            assert "ada" not in found.reason
        assert "S3CRET" not in sink.name
        await sink.close()


async def test_a_reload_reads_secrets_at_once(secret_file: Path):
    clock = ManualClock(time.time())
    async with receiving() as receiver:
        sink = webhook(f"http://127.0.0.1:{receiver.port}/", clock=clock, secret_file=secret_file)
        await sink.attempt(EVENT)
        put(secret_file, OTHER)
        await sink.reload()
        await sink.attempt(EVENT)
        await sink.close()
    receiver.received[1].verify(OTHER)


@pytest.mark.parametrize("mode", ["structured", "binary"])
async def test_a_damaged_event_is_a_failure_and_no_error(mode: str):
    async with receiving() as receiver:
        sink = webhook(f"http://127.0.0.1:{receiver.port}/", mode=mode, outcomes=["failed"])
        damaged = Stored(1, "a1.1", b"{")
        assert sink.wants(damaged)
        assert isinstance(await sink.attempt(damaged), Failed if mode == "binary" else Delivered)
        await sink.close()


async def test_no_error_of_the_client_gets_out(monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    sink = webhook("http://127.0.0.1:1/")
    monkeypatch.setattr(aiohttp.ClientSession, "_request", broken)
    assert await sink.attempt(EVENT) == Failed("the request failed (ZeroDivisionError)")
    await sink.close()


def test_outcomes_filter_by_the_last_word_of_the_type():
    sink = webhook("http://127.0.0.1:1/", outcomes=["failed", "timed_out"])
    assert not sink.wants(EVENT)
    assert sink.wants(Stored(2, "a2.1", BODY.replace(b"asset.ready", b"asset.failed")))
    assert webhook("http://127.0.0.1:1/").wants(EVENT)


async def test_what_the_settings_say_is_what_the_delivery_sees():
    sink = webhook("http://127.0.0.1:1/", name="hooks", retry=["1s", 2], concurrency=5)
    assert (sink.name, sink.concurrency, list(sink.retry)) == ("hooks", 5, [1.0, 2.0])
    assert not sink.writes_to(1)
    await sink.close()


def test_a_secret_is_redacted_everywhere(secret_file: Path):
    secrets = Secrets()
    webhook("http://u:S3CRETpass@127.0.0.1:1/", secret_file=secret_file, secrets=secrets)
    assert secrets.redact(["S3CRETpass", ONE, ONE.removeprefix("whsec_")]) == ["********"] * 3


@pytest.mark.parametrize(
    ("content", "kind", "is_final"),
    [(None, TargetNotReadyError, False), ("", TargetNotReadyError, False), ("S3CRET", UnusableTargetError, True)],
)
def test_secrets_that_are_missing_are_awaited_and_bad_ones_refused(
    secret_file: Path, content: str | None, kind: type, is_final: bool
):
    put(secret_file, content)
    with pytest.raises(UnusableTargetError) as refused:
        webhook("http://127.0.0.1:1/", secret_file=secret_file)
    assert type(refused.value) is kind
    target = target_of("http://127.0.0.1:1/", secret_file=secret_file)
    problem = find_problem(target)
    assert problem is not None
    assert problem.is_final == is_final
    assert str(secret_file) in problem.text
    assert "S3CRET" not in problem.text + str(refused.value)


def test_what_somebody_should_correct_is_found_and_logged(secret_file: Path):
    secret_file.write_text("whsec_" + b64encode(b"short").decode())
    secret_file.chmod(0o644)
    target = target_of("http://127.0.0.1:1/", secret_file=secret_file)
    assert find_problem(target) is None
    exposed, short = find_warnings(target)
    assert "mode 0644" in exposed
    assert "fewer than 24 bytes" in short
    with capture_logs() as logs:
        webhook("http://127.0.0.1:1/", secret_file=secret_file)
    assert [log["event"] for log in logs] == ["sink.secret_short", "sink.file_exposed"]
    assert "c2hvcnQ" not in exposed + short + repr(logs)
