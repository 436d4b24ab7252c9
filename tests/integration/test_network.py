"""The connection to the API: verified TLS, and the proxy that the environment names."""

from __future__ import annotations

import base64
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme
from aiohttp import web

from asset_worker.simulator.lifecycles import Lifecycle
from tests.doubles.network import Authority, Listen, Proxy, join, listening
from tests.integration.processes import KEY, eventually

HOST = "api.example"
PASSWORD = "pr0xy-s3cret"


@pytest.fixture
async def listen() -> AsyncIterator[Listen]:
    """Serves connections: `port = await listen(serve, ssl=…)`."""
    async with listening() as start:
        yield start


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def port_of(base_url: str) -> int:
    return int(base_url.split(":")[2].partition("/")[0])


@pytest.mark.parametrize(
    ("names", "trusted", "outcome"),
    [
        pytest.param(["localhost"], True, "ready", id="an authority that the environment names"),
        pytest.param(["localhost"], False, "timed_out", id="an unknown authority"),
        pytest.param(["other.example"], True, "timed_out", id="a certificate of another host"),
    ],
)
async def test_the_certificate_is_verified_before_anything_is_sent(
    serve, worker, listen, authority, names, trusted, outcome
):
    """No other server receives the key."""
    simulator = await serve()
    asset_id = simulator.store.add(Lifecycle())
    port = await listen(
        lambda reader, writer: join(reader, writer, port_of(simulator.base_url)), ssl=authority.context(*names)
    )
    run = worker.start(
        "wait",
        asset_id,
        "--timeout",
        "600" if outcome == "ready" else "5",
        base_url=f"https://localhost:{port}/v1.3",
        before=f"export SSL_CERT_FILE={authority.file};" if trusted else "",
    )
    assert await run.end() == (0 if outcome == "ready" else 4), run.stderr
    [event] = run.events()
    assert event["data"]["outcome"] == outcome
    if outcome != "ready":
        assert simulator.stats.by_route == {}
        assert "can't be trusted" in event["data"]["reason"]


async def test_a_new_authority_is_trusted_after_a_hangup(serve, worker, listen, authority, tmp_path):
    """Without a restart."""
    simulator = await serve()
    port = await listen(
        lambda reader, writer: join(reader, writer, port_of(simulator.base_url)), ssl=authority.context("localhost")
    )
    roots = tmp_path / "roots.pem"
    trustme.CA().cert_pem.write_to_path(roots)
    worker.submit(simulator.store.add(Lifecycle()))
    run = worker.run(base_url=f"https://localhost:{port}/v1.3", before=f"export SSL_CERT_FILE={roots};")
    assert "can't be trusted" in (await run.until("api.retry"))["error"]
    roots.write_bytes(authority.file.read_bytes())
    run.send(signal.SIGHUP)
    await run.until("worker.reloaded")
    await eventually(worker.events, otherwise=lambda: run.stderr)
    run.send(signal.SIGTERM)
    assert await run.end() == 0


async def test_requests_go_through_the_proxy_that_the_environment_names(
    worker, listen, authority, tmp_path, aiohttp_server_of
):
    """In a tunnel that is reused: the proxy sees no key, and the API no password of the proxy or of a netrc."""
    seen: list[dict[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(dict(request.headers))
        return web.json_response({"_id": request.match_info["id"], "status": "ready"})

    api = await aiohttp_server_of(web.get("/v1.3/assets/{id}", answer))
    tls = await listen(lambda reader, writer: join(reader, writer, port_of(api)), ssl=authority.context(HOST))
    proxy = Proxy(tls)
    port = await listen(proxy)
    (tmp_path / ".netrc").write_text("default login someone password else\n")
    worker.submit(*(f"asset{number}" for number in range(40)))
    run = worker.run(
        "--once",
        base_url=f"https://{HOST}/v1.3",
        before="unset no_proxy NO_PROXY https_proxy; "
        f"export SSL_CERT_FILE={authority.file} HTTPS_PROXY=http://user:{PASSWORD}@127.0.0.1:{port} "
        f"HOME={tmp_path};",
        POLL__BATCH="off",
        LIMITS__CONCURRENCY="2",
    )
    assert await run.end() == 0, run.stderr
    assert len(worker.events()) == len(seen) == 40
    assert 1 <= len(proxy.asked) <= 2
    credentials = base64.b64encode(f"user:{PASSWORD}".encode()).decode()
    for head in proxy.asked:
        assert head.startswith(f"CONNECT {HOST}:443 HTTP/1.1\r\n")
        assert f"Proxy-Authorization: Basic {credentials}\r\n" in head
        assert KEY not in head
    for headers in seen:
        assert headers["x-api-key"] == KEY
        assert not {name for name in headers if "authorization" in name.lower()}
    assert run.logs("api.proxy")[0]["proxy"] == f"http://127.0.0.1:{port}"
    assert PASSWORD not in run.stderr


async def test_a_proxy_that_refuses_is_an_outage_that_names_it(worker, listen):
    """Its password is not shown, even if the proxy sends it back."""
    proxy = Proxy(0, status=f"407 Wrong password {PASSWORD}")
    port = await listen(proxy)
    run = worker.start(
        "wait",
        "asset",
        "--timeout",
        "5",
        base_url=f"https://{HOST}/v1.3",
        before=f"unset no_proxy NO_PROXY HTTPS_PROXY; export https_proxy=http://user:{PASSWORD}@127.0.0.1:{port};",
    )
    assert await run.end() == 4
    [event] = run.events()
    assert "the proxy refuses to connect: 407 Wrong password ********" in event["data"]["reason"]
    assert proxy.asked
    assert PASSWORD not in run.stderr + run.stdout.decode()


async def test_a_proxy_that_can_not_be_used_is_an_error_of_usage(worker):
    """The proxy is never bypassed."""
    run = worker.start(
        "wait",
        "asset",
        base_url=f"https://{HOST}/v1.3",
        before=f"unset no_proxy NO_PROXY https_proxy; export HTTPS_PROXY=socks5://u:{PASSWORD}@127.0.0.1:1;",
    )
    assert await run.end() == 2
    assert "HTTPS_PROXY" in run.stderr
    assert "socks5" in run.stderr
    assert PASSWORD not in run.stderr
