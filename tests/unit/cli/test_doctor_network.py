"""The checks of `doctor` that use the network, against servers of this process."""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from pathlib import Path

import pytest
from aiohttp.abc import AbstractResolver
from yarl import URL

from asset_worker.api.key import ApiKey
from asset_worker.cli import doctor_network
from asset_worker.cli.diagnosis import Check
from asset_worker.cli.doctor import LOCAL_SECONDS
from asset_worker.cli.doctor_network import (
    CONNECTION_SECONDS,
    LOOKUP_SECONDS,
    REQUEST_SECONDS,
    check_api,
    check_name,
    check_receiver,
)
from asset_worker.settings.tree import Settings
from asset_worker.sinks.webhook.target import WebhookTarget
from tests.doubles.network import Authority, Listen, Proxy, listening

KEY = "tlk_0123456789SECRET"
PASSWORD = "pr0xy-s3cret"
LIST = b'{"data": [], "page_info": {"total_results": 0}}'
NAMES = ["proxy", "dns", "tls", "api", "key", "clock", "limits"]


@pytest.fixture
async def listen() -> AsyncIterator[Listen]:
    async with listening() as start:
        yield start


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    found = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(found.file))
    return found


class Api:
    """Answers every request with one answer, in a connection of its own."""

    def __init__(self, body: bytes = LIST, *, status: str = "200 OK", ahead: float = 0.0) -> None:
        date = formatdate(datetime.now(UTC).timestamp() + ahead, usegmt=True)
        head = f"HTTP/1.1 {status}\r\nDate: {date}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        self._answer = head.encode() + body
        self.heads: list[str] = []
        """The heads of the requests so far."""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(self._answer)
        await writer.drain()


async def checked(base_url: str, key: str | None = KEY, seconds: float = 10.0) -> dict[str, Check]:
    settings = Settings.model_validate({"api": {"base_url": base_url, "timeout": seconds}})
    api_key = None if key is None else ApiKey(value=key, file=None, on_read=lambda _: None)
    checks = await check_api(settings, api_key, lambda text: text.replace(KEY, "*"))
    assert [check.name for check in checks] == [name for name in NAMES if key is not None or name != "key"]
    return {check.name: check for check in checks}


def states(checks: dict[str, Check]) -> str:
    """The state of each check by its first letter, in their order."""
    return "".join(check.state[0] for check in checks.values())


async def test_one_request_shows_everything(listen: Listen, authority: Authority):
    api = Api()
    port = await listen(api, ssl=authority.context("localhost"))
    found = await checked(f"https://localhost:{port}/v1.3")
    assert states(found) == "ooooooo"
    [head] = api.heads
    assert head.startswith("GET /v1.3/assets?page=1&page_limit=1 HTTP/1.1\r\n")
    assert f"x-api-key: {KEY}\r\n" in head
    assert found["dns"].text.startswith("localhost is at ")


async def test_without_a_key_the_network_is_checked_all_the_same(listen: Listen, authority: Authority):
    api = Api(b'{"code": "api_key_invalid", "message": "no key"}', status="401 Unauthorized")
    port = await listen(api, ssl=authority.context("localhost"))
    assert states(await checked(f"https://localhost:{port}/v1.3", key=None)) == "oooooo"
    assert "x-api-key" not in api.heads[0]


@pytest.mark.parametrize(
    ("body", "status", "ahead", "expected"),
    [
        pytest.param(b'{"code": "api_key_invalid"}', "401 Unauthorized", 0, "ossopoo", id="a refused key"),
        pytest.param(b"<html>Not here</html>", "404 Not Found", 0, "osspsoo", id="another server"),
        pytest.param(b"<html>Log in</html>", "200 OK", 0, "osspsoo", id="a login page"),
        pytest.param(LIST, "200 OK", 660, "ossoopo", id="a clock that is eleven minutes off"),
        pytest.param(b"x" * 70_000, "502 Bad Gateway", 0, "osspsoo", id="a long page of a gateway"),
        pytest.param(b'{"code": "too_many_requests"}', "429 Too Many Requests", 0, "osswsoo", id="the rate limit"),
    ],
)
async def test_an_answer_that_is_wrong_is_found(
    listen: Listen, authority: Authority, body: bytes, status: str, ahead: float, expected: str
):
    port = await listen(Api(body, status=status, ahead=ahead))
    assert states(await checked(f"http://127.0.0.1:{port}/v1.3")) == expected


@pytest.mark.parametrize(
    ("names", "expires", "is_known", "says"),
    [
        pytest.param(["localhost"], None, False, "SSL_CERT_FILE", id="an unknown authority"),
        pytest.param(["localhost"], datetime.now(UTC) - timedelta(days=1), True, "clock", id="expired"),
        pytest.param(["other.example"], None, True, "api.base_url", id="another host"),
    ],
)
async def test_a_certificate_that_is_not_trusted_is_a_problem_of_tls(
    listen: Listen, authority: Authority, tmp_path: Path, names: list[str], expires: datetime, is_known: bool, says: str
):
    """And the key is not sent."""
    if not is_known:
        (tmp_path / "other").mkdir()
    issuer = authority if is_known else Authority(tmp_path / "other")
    api = Api()
    port = await listen(api, ssl=issuer.context(*names, expires=expires))
    found = await checked(f"https://localhost:{port}/v1.3")
    assert states(found) == "oopssss"
    assert says in (found["tls"].fix or "")
    assert api.heads == []


async def test_an_api_that_does_not_answer_is_given_up_in_time(listen: Listen, authority: Authority):
    async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    port = await listen(hang)
    found = await checked(f"http://127.0.0.1:{port}/v1.3", seconds=0.2)
    assert (states(found), found["api"].text) == ("osspsss", "no answer of 127.0.0.1 within 0.2 s")


def test_all_checks_end_within_fifteen_seconds():
    assert LOCAL_SECONDS + LOOKUP_SECONDS + REQUEST_SECONDS + 1 < 15
    assert LOCAL_SECONDS + CONNECTION_SECONDS < 15


async def test_a_port_that_nobody_listens_on_is_a_problem_of_the_api(authority: Authority):
    found = await checked("http://127.0.0.1:1/v1.3")
    assert (states(found), "Connection refused" in found["api"].text) == ("osspsss", True)


async def test_a_proxy_is_used_and_shown_without_its_password(
    listen: Listen, authority: Authority, monkeypatch: pytest.MonkeyPatch
):
    proxy = Proxy(await listen(Api(), ssl=authority.context("api.example")))
    port = await listen(proxy)
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:{PASSWORD}@127.0.0.1:{port}")
    found = await checked("https://api.example/v1.3")
    assert states(found) == "osooooo"
    assert found["proxy"].text == f"http://127.0.0.1:{port} is used"


@pytest.mark.parametrize(
    ("status", "says"), [("407 Proxy Authentication Required", "USER:PASSWORD"), ("403 Forbidden", "NO_PROXY")]
)
async def test_a_proxy_that_refuses_is_a_problem_of_the_proxy(
    listen: Listen, authority: Authority, monkeypatch: pytest.MonkeyPatch, status: str, says: str
):
    port = await listen(Proxy(0, status=status))
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:{PASSWORD}@127.0.0.1:{port}")
    found = await checked("https://api.example/v1.3")
    assert (states(found), says in (found["proxy"].fix or "")) == ("pssssss", True)
    assert PASSWORD not in str(found)


async def test_a_proxy_of_another_kind_is_a_problem_of_the_settings(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:1")
    found = await checked("https://api.example/v1.3")
    assert (states(found), found["proxy"].code) == ("pssssss", 2)


class Lookups(AbstractResolver):
    def __init__(self, error: OSError | None) -> None:
        self._error = error

    async def resolve(self, host, port=0, family=socket.AF_INET):
        if self._error is not None:
            raise self._error
        await asyncio.sleep(3600)

    async def close(self):
        pass


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (socket.gaierror(-2, "Name or service not known"), "can't be looked up (Name or service not known)"),
        (None, "does not answer for api.example in 3 s"),
    ],
    ids=["an unknown name", "a name server that hangs"],
)
@pytest.mark.virtual_time
async def test_a_name_that_can_not_be_looked_up_is_a_problem(error: OSError | None, says: str):
    found = await check_name(URL("https://api.example"), resolver=Lookups(error))
    assert (found.state, says in found.text) == ("problem", True), found.text


async def test_after_a_lookup_that_failed_nothing_is_requested(authority: Authority):
    assert states(await checked("https://nowhere.invalid/v1.3")) == "opsssss"


def webhook(url: str, *, allow_private: bool = True) -> WebhookTarget:
    return WebhookTarget(
        url=url, name="hook", timeout=1, concurrency=1, mode="structured", retry=(), allow_private=allow_private
    )


async def received(url: str, **options: bool) -> Check:
    [check] = await check_receiver(webhook(url, **options))
    assert (check.name, check.subject) == ("sink", "hook")
    return check


async def test_a_receiver_is_connected_to_and_sent_nothing(listen: Listen, authority: Authority):
    sent: list[bytes] = []

    async def receive(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        sent.append(await reader.read())

    port = await listen(receive, ssl=authority.context("localhost"))
    found = await received(f"https://user:secret@localhost:{port}/hooks?token=secret")
    assert (found.state, "secret" in str(found)) == ("ok", False)
    plain = await listen(receive)
    assert (await received(f"http://127.0.0.1:{plain}/")).state == "ok"
    async with asyncio.timeout(30):
        while len(sent) < 2:  # noqa: ASYNC110 - the server's side of the connections
            await asyncio.sleep(0.01)
    assert sent == [b"", b""]


async def test_a_receiver_behind_a_proxy_is_reached_through_it(
    listen: Listen, authority: Authority, monkeypatch: pytest.MonkeyPatch
):
    tls = await listen(lambda reader, writer: reader.read(), ssl=authority.context("app.example"))
    proxy = Proxy(tls)
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:{PASSWORD}@127.0.0.1:{await listen(proxy)}")
    assert (await received("https://app.example/hooks", allow_private=False)).state == "ok"
    credentials = base64.b64encode(f"user:{PASSWORD}".encode()).decode()
    assert proxy.asked[0] == (
        f"CONNECT app.example:443 HTTP/1.1\r\nHost: app.example:443\r\nProxy-Authorization: Basic {credentials}\r\n\r\n"
    )
    proxy.to = await listen(lambda reader, writer: reader.read(), ssl=authority.context("other.example"))
    found = await received("https://app.example/hooks")
    assert "the certificate of app.example can't be trusted" in found.text
    proxy.status = "403 Forbidden"
    assert (await received("https://app.example/hooks")).text == "the proxy refuses the connection (HTTP 403)"


async def test_a_receiver_in_a_private_network_is_connected_to_only_if_that_is_allowed(
    listen: Listen, authority: Authority, monkeypatch: pytest.MonkeyPatch
):
    port = await listen(Api())
    address = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))
    monkeypatch.setattr("asset_worker.runtime.resolver.socket.getaddrinfo", lambda *_, **__: [address])
    refused = await received(f"http://app.example:{port}/", allow_private=False)
    assert (refused.state, "allow_private" in (refused.fix or "")) == ("problem", True)


async def test_a_receiver_that_can_not_be_reached_is_a_problem(
    listen: Listen, authority: Authority, monkeypatch: pytest.MonkeyPatch
):
    refused = await received("http://127.0.0.1:1/")
    assert (refused.state, "Connection refused" in refused.text) == ("problem", True)
    unknown = await received("https://nowhere.invalid/")
    assert "nowhere.invalid can't be looked up" in unknown.text
    other = await listen(Api(), ssl=authority.context("other.example"))
    assert "the certificate of localhost can't be trusted" in (await received(f"https://localhost:{other}/")).text

    async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    monkeypatch.setattr(doctor_network, "CONNECTION_SECONDS", 0.3)
    silent = await received(f"https://localhost:{await listen(hang)}/")
    assert silent.text == "no answer of localhost within 0.3 s"
