"""The client over aioresponses: what each answer becomes, and what is retried."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import ssl
from pathlib import Path

import aiohttp
import msgspec
import pytest
from aiohttp.client_reqrep import ConnectionKey
from aioresponses import CallbackResult, aioresponses
from multidict import CIMultiDict, CIMultiDictProxy
from structlog.testing import capture_logs
from yarl import URL

from asset_worker.api.bodies import ASSET_BYTES_LIMIT, LIST_BYTES_LIMIT
from asset_worker.api.client import LIST_LIMIT, SHORTEST_LIST, AssetsApi
from asset_worker.api.errors import (
    ApiError,
    BadIdError,
    EdgeRefusedError,
    KeyRefusedError,
    NotFoundError,
    RateLimitedError,
    TransientError,
)
from asset_worker.api.gate import Gate
from asset_worker.api.key import ApiKey, BadKeyError
from asset_worker.api.responses import LONGEST_TEXT
from asset_worker.api.retry import ATTEMPTS, Retries
from asset_worker.api.session import open_session
from asset_worker.domain.assets import AssetId
from asset_worker.runtime.clock import SystemClock
from asset_worker.runtime.redaction import REDACTED, Secrets
from asset_worker.runtime.stop import Stop

BASE = "https://api.example.com/v1.3"
ID = AssetId("6298d673f1090f1100476d4c")
URL_OF_IT = f"{BASE}/assets/{ID}"
KEY = "tlk_4F2SECRET"
SECRETS = Secrets()
SECRETS.add(KEY)
ASSET = {"_id": ID, "status": "processing", "novelty": {"x": 1}}

pytestmark = pytest.mark.virtual_time


@pytest.fixture
def server():
    with aioresponses() as mocked:
        yield mocked


@pytest.fixture
async def client():
    stop = Stop()
    async with open_session(BASE, total_timeout=10) as session:
        retries = Retries(stop)
        gate = Gate(clock=SystemClock(), requests_per_second=0, concurrency=20, share=1.0, uniform=lambda: 0.5)
        key = ApiKey(value=KEY, file=None, on_read=lambda _: None)
        api = AssetsApi(session, BASE, key, gate, retries, redact=SECRETS.redact)
        api.retries, api.gate = retries, gate  # type: ignore[attr-defined]
        yield api


async def test_an_asset_is_retrieved_with_the_key_and_unknown_fields_are_kept(client, server):
    server.get(URL_OF_IT, payload=ASSET)
    asset = await client.retrieve(ID)
    assert asset.document == ASSET
    [call] = server.requests["GET", URL(URL_OF_IT)]
    assert call.kwargs["headers"]["x-api-key"] == KEY
    assert call.kwargs["allow_redirects"] is False
    assert client.retries.count == 0


@pytest.mark.parametrize("status", [200, 203])
async def test_an_answer_that_a_proxy_has_changed_is_read_as_any_other(client, server, status):
    server.get(URL_OF_IT, status=status, payload=ASSET)
    assert (await client.retrieve(ID)).document == ASSET
    server.get(re.compile(rf"{BASE}/assets\?.*"), status=status, payload={"data": [ASSET]})
    assert (await client.list_assets([ID]))[ID].document == ASSET


GATEWAY = "<html><body>Bad Gateway</body></html>"


def vendor_error(code, *, nested=False):
    body = {"code": code, "message": f"about {code}"}
    return {"error": body} if nested else body


@pytest.mark.parametrize("nested", [False, True], ids=["flat", "nested"])
@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (400, "parameter_invalid", BadIdError),
        (401, "api_key_invalid", KeyRefusedError),
        (403, "api_not_allowed", KeyRefusedError),
        (403, "a_code_to_come", KeyRefusedError),
        (404, "resource_not_exist", NotFoundError),
        (410, "resource_not_exist", NotFoundError),
    ],
)
async def test_a_final_answer_is_asked_for_once(client, server, status, code, error, nested):
    server.get(URL_OF_IT, status=status, payload=vendor_error(code, nested=nested))
    with pytest.raises(error, match=f"{status} about {code}"):
        await client.retrieve(ID)
    assert client.gate.traffic.sent == 1


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param({"status": 500, "payload": vendor_error("internal")}, id="500"),
        pytest.param({"status": 502, "body": GATEWAY, "content_type": "text/html"}, id="502 html"),
        pytest.param({"status": 408}, id="408"),
        pytest.param({"status": 404, "body": GATEWAY, "content_type": "text/html"}, id="404 of a gateway"),
        pytest.param({"status": 404, "payload": []}, id="404 of no shape"),
        pytest.param({"status": 404, "payload": vendor_error("endpoint_not_exist")}, id="404 of a path"),
        pytest.param({"status": 400, "body": GATEWAY}, id="400 of a gateway"),
        pytest.param({"status": 302, "headers": {"Location": "https://elsewhere.example.com"}}, id="redirect"),
        pytest.param({"status": 204}, id="204"),
        pytest.param({"status": 200, "body": b""}, id="empty"),
        pytest.param({"status": 200, "body": b'{"_id": "62'}, id="cut"),
        pytest.param({"status": 200, "body": b"[" * 100_000}, id="nested too deep"),
        pytest.param({"status": 200, "body": b'{"_id": "\xff", "status": "ready"}'}, id="not UTF-8"),
        pytest.param({"status": 200, "payload": [ASSET]}, id="a list"),
        pytest.param({"status": 200, "payload": ASSET | {"status": 7}}, id="wrong types"),
        pytest.param({"status": 200, "payload": ASSET | {"_id": "5" * 24}}, id="somebody else's asset"),
        pytest.param({"status": 200, "body": b" " * (ASSET_BYTES_LIMIT + 1)}, id="too large"),
        pytest.param({"exception": aiohttp.ServerDisconnectedError()}, id="disconnected"),
        pytest.param({"exception": aiohttp.ClientPayloadError("cut")}, id="payload cut"),
        pytest.param({"exception": TimeoutError()}, id="timeout"),
        pytest.param({"exception": OSError("no route")}, id="no route"),
        pytest.param({"exception": RuntimeError("the handler is closed")}, id="uvloop's transport closed"),
    ],
)
async def test_a_transient_failure_is_retried(client, server, answer):
    server.get(URL_OF_IT, **answer)
    server.get(URL_OF_IT, payload=ASSET)
    assert (await client.retrieve(ID)).status == "processing"
    assert client.retries.count == 1


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    "page",
    [
        pytest.param({"body": b"<html>Just a moment...</html>", "content_type": "text/html"}, id="a page"),
        pytest.param({"body": b"<html>" + b" " * 70_000, "content_type": "text/html"}, id="a long page"),
        pytest.param({"body": b""}, id="nothing"),
        pytest.param({"payload": {"message": "Forbidden"}}, id="JSON without a code"),
        pytest.param({"payload": {"code": 1020, "message": "Forbidden"}}, id="a number as code"),
        pytest.param({"payload": {"success": False, "errors": [{"code": "x"}]}}, id="JSON of another form"),
    ],
)
async def test_a_refusal_that_is_not_the_apis_is_an_outage(client, server, status, page):
    server.get(URL_OF_IT, status=status, repeat=True, **page)
    with pytest.raises(EdgeRefusedError, match=rf"^{status} .*proxy, a login page, or the key"):
        await client.retrieve(ID)
    assert client.gate.traffic.sent == ATTEMPTS


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        pytest.param(rb"cat\ud83d", "cat\ufffd", id="the first half of a pair"),
        pytest.param(rb"\uDE00cat", "\ufffdcat", id="the second half"),
        pytest.param(rb"\ud83d\ud83d\ude00", "\ufffd\U0001f600", id="a half and a whole"),
        pytest.param(rb"\\ud83d\ud83d", "\\ud83d\ufffd", id="a backslash and a half"),
        pytest.param(b"caf\xe9", "caf\ufffd", id="Latin-1"),
    ],
)
async def test_an_asset_whose_name_is_no_text_is_read_all_the_same(client, server, sent, name):
    """Uploaders cut names where they like; the asset is ready all the same."""
    body = b'{"_id": "%s", "status": "ready", "filename": "%s"}' % (ID.encode(), sent)
    server.get(URL_OF_IT, body=body)
    asset = await client.retrieve(ID)
    assert (asset.status, asset.document["filename"]) == ("ready", name)
    server.get(re.compile(".*asset_ids.*"), body=b'{"data": [%s]}' % body)
    assert (await client.list_assets([ID]))[ID].document["filename"] == name


async def test_an_error_of_the_connection_shows_no_password_and_can_be_encoded(client, server):
    """aiohttp names the proxy's whole URL in some, and undecodable bytes stand in others."""
    proxy = URL("http://user:pr0xy-s3cret@proxy.example:3128")
    about = aiohttp.RequestInfo(proxy, "CONNECT", CIMultiDictProxy(CIMultiDict()), proxy)
    for error in (
        aiohttp.ClientResponseError(about, (), status=400, message="Bad status line:\n\n  b'f\udcfcr'"),
        aiohttp.ClientHttpProxyError(about, (), status=407, message="f\udcfcr"),
    ):
        server.get(URL_OF_IT, exception=error, repeat=ATTEMPTS)
        with pytest.raises(TransientError) as raised:
            await client.retrieve(ID)
        assert "s3cret" not in str(raised.value)
        assert "\\udcfcr" in str(raised.value)
        assert "\n" not in str(raised.value)
        msgspec.json.encode(str(raised.value))


async def test_attempts_are_bounded_and_the_last_error_is_raised(client, server):
    server.get(URL_OF_IT, status=503, payload=vendor_error("down"), repeat=True)
    with pytest.raises(TransientError, match="503 about down"):
        await client.retrieve(ID)
    assert client.gate.traffic.sent == ATTEMPTS


@pytest.mark.parametrize(
    ("status", "attempts"),
    [pytest.param(500, 1, id="a failure of this asset"), pytest.param(404, ATTEMPTS, id="a 404 without a code")],
)
async def test_only_what_may_settle_an_asset_that_fails_alone_is_tried_again(client, server, status, attempts):
    other = f"{BASE}/assets/{'f' * 24}"
    server.get(URL_OF_IT, status=status, body=GATEWAY, content_type="text/html", repeat=True)
    server.get(other, payload={**ASSET, "_id": "f" * 24}, repeat=True)
    for _ in range(2):
        with pytest.raises(TransientError):
            await client.retrieve(ID)
        await client.retrieve("f" * 24)
    before = client.gate.traffic.sent
    with pytest.raises(TransientError):
        await client.retrieve(ID)
    assert client.gate.traffic.sent - before == attempts


async def test_a_requested_wait_is_slept(client, server):
    server.get(URL_OF_IT, status=429, payload=vendor_error("too_many_requests"), headers={"Retry-After": "7"})
    server.get(URL_OF_IT, payload=ASSET)
    loop = asyncio.get_running_loop()
    start = loop.time()
    await client.retrieve(ID)
    assert loop.time() - start >= 7
    assert client.gate.traffic.refused == 1


async def test_the_wait_that_a_503_requests_is_slept_too(client, server):
    server.get(URL_OF_IT, status=503, headers={"Retry-After": "7"})
    server.get(URL_OF_IT, payload=ASSET)
    start = asyncio.get_running_loop().time()
    await client.retrieve(ID)
    assert asyncio.get_running_loop().time() - start >= 7


async def test_a_long_requested_wait_is_left_to_the_queue(client, server):
    server.get(URL_OF_IT, status=429, headers={"Retry-After": "600"})
    with pytest.raises(RateLimitedError) as raised:
        await client.retrieve(ID)
    assert raised.value.retry_after == 600
    assert client.gate.traffic.sent == 1


async def test_an_id_of_other_case_is_the_same_asset(client, server):
    server.get(URL_OF_IT, payload=ASSET | {"_id": ID.upper()})
    assert (await client.retrieve(ID)).status == "processing"


async def test_two_ids_that_differ_in_case_are_two_assets(client, server):
    ids = [AssetId("a" * 24), AssetId("A" * 24)]
    server.get(re.compile(".*asset_ids.*"), payload={"data": [ASSET | {"_id": each} for each in ids]})
    found = await client.list_assets(ids)
    assert {asset_id: asset.id for asset_id, asset in found.items()} == {each: each for each in ids}


async def test_a_list_shows_those_that_were_asked_for(client, server):
    ids = [AssetId(f"{number:024x}") for number in range(3)]
    stranger = {"_id": "f" * 24, "status": "ready"}
    data = [{"_id": ids[0], "status": "ready"}, stranger, {"_id": ids[1]}, {"_id": ids[2], "status": "processing"}]
    asked = []

    def answer(url, **_):
        asked.append(url)
        return CallbackResult(payload={"data": data, "page_info": {}})

    server.get(re.compile(re.escape(f"{BASE}/assets?") + ".*"), callback=answer)
    found = await client.list_assets(ids)
    statuses = {asset_id: asset and asset.status for asset_id, asset in found.items()}
    assert statuses == {ids[0]: "ready", ids[1]: None, ids[2]: "processing"}
    assert asked[0].query.getall("asset_ids") == ids
    assert asked[0].query["page_limit"] == str(LIST_LIMIT)


FIFTY = [AssetId(f"{number:024x}") for number in range(1, 51)]
LISTS = re.compile(".*asset_ids.*")


def listing(server, body_of, *, reject=lambda asset_ids: False):
    """Answer each list with the bodies of its assets; return the lengths of the lists that were asked for."""
    lengths = []

    def answer(url, **_):
        asked = url.query.getall("asset_ids")
        lengths.append(len(asked))
        if reject(asked):
            return CallbackResult(body=b" " * (LIST_BYTES_LIMIT + 1))
        return CallbackResult(body=b'{"data": [' + b", ".join(map(body_of, asked)) + b"]}")

    server.get(LISTS, callback=answer, repeat=True)
    return lengths


def ready(asset_id, *, more=b""):
    return b'{"_id": "%s", "status": "ready"%s}' % (asset_id.encode(), more)


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(b'{"_id": "%s", "status": 7}', id="no status"),
        pytest.param(b'{"_id": "%s", "status": "ready", "duration": 1.2.3}', id="no JSON"),
        pytest.param(b'{"id": "%s", "status": "ready"}', id="no ID"),
        pytest.param(b'"%s"', id="no object"),
    ],
)
async def test_one_odd_asset_in_a_list_leaves_the_others_readable(client, server, odd):
    strange = FIFTY[7]
    listing(server, lambda each: odd % each.encode() if each == strange else ready(each))
    found = await client.list_assets(FIFTY)
    assert set(found) == set(FIFTY)
    assert [asset_id for asset_id, asset in found.items() if asset is None] == [strange]


@pytest.mark.parametrize("times", [2, 3])
async def test_an_asset_that_a_list_shows_twice_and_not_alike_is_left_to_a_retrieve(client, server, times):
    same, twice = FIFTY[:2]
    differing = b", ".join(ready(twice, more=b', "size": %d' % number) for number in (1, 2, 2)[:times])
    listing(server, lambda each: differing if each == twice else b", ".join([ready(each)] * 2))
    found = await client.list_assets([same, twice])
    assert found[same].status == "ready"
    assert found[twice] is None


async def test_what_was_odd_is_logged_once_for_each_kind(client, server):
    listing(server, lambda each: ready(each, more=b', "duration": NaN, "hls": "ready"'))
    server.get(URL_OF_IT, body=ready(ID, more=b', "duration": NaN, "method": 7'), repeat=True)
    with capture_logs() as logs:
        for _ in range(2):
            assert all(asset.document["duration"] is None for asset in (await client.list_assets(FIFTY)).values())
            assert (await client.retrieve(ID)).document == {
                "_id": ID,
                "status": "ready",
                "duration": None,
                "method": 7,
            }
    assert [(line["what"], line["asset_id"]) for line in logs if line["event"] == "api.odd_answer"] == [
        ("NaN or Infinity", FIFTY[0]),
        ("hls is a text", FIFTY[0]),
        ("method is a number", ID),
    ]


async def test_a_list_that_is_too_large_as_a_whole_is_asked_again_in_halves(client, server):
    lengths = listing(server, ready, reject=lambda asked: len(asked) > 20)
    with capture_logs() as logs:
        found = await client.list_assets(FIFTY)
    assert set(found) == set(FIFTY)
    assert None not in found.values()
    assert lengths == [50, 25, 13, 12, 25, 13, 12]
    assert {line["event"] for line in logs} == {"api.odd_answer"}
    lengths.clear()
    assert len(await client.list_assets(FIFTY)) == 50
    assert lengths == [14, 14, 14, 8]  # those that were too large are not asked for again


async def test_lists_grow_again_step_by_step_after_one_that_was_too_large(client, server):
    largest = 30
    lengths = listing(server, ready, reject=lambda asked: len(asked) > largest)
    await client.list_assets(FIFTY)
    largest = 50
    for _ in range(50):
        await client.list_assets(FIFTY)
    assert max(lengths[3:]) == 50


async def test_an_asset_that_alone_makes_every_list_too_large_is_left_to_a_retrieve(client, server):
    huge = FIFTY[0]
    lengths = listing(server, ready, reject=lambda asked: huge in asked)
    found = await client.list_assets(FIFTY)
    assert set(found) == set(FIFTY)
    assert [asset_id for asset_id, asset in found.items() if asset is None] == FIFTY[:2]
    assert sorted(lengths, reverse=True) == [50, 25, 25, 13, 12, 7, 6, 4, 3, 2, 2]
    lengths.clear()
    await client.list_assets(FIFTY)
    assert max(lengths) == SHORTEST_LIST
    assert len(lengths) <= 11


async def test_a_key_that_comes_back_in_an_error_is_redacted(client, server):
    server.get(URL_OF_IT, status=400, payload={"code": "parameter_invalid", "message": f"bad key {KEY}"})
    with pytest.raises(BadIdError) as raised:
        await client.retrieve(ID)
    assert str(raised.value) == f"400 bad key {REDACTED}"
    server.get(URL_OF_IT, status=503, reason=f"no {KEY}", repeat=True)
    with pytest.raises(TransientError) as failed:
        await client.retrieve(ID)
    assert KEY not in str(failed.value)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            ConnectionRefusedError(errno.ECONNREFUSED, "x"),
            "api.example.com:443 can't be connected to (Connection refused)",
        ),
        (aiohttp.ServerDisconnectedError(), "the connection was closed without an answer"),
        (aiohttp.ClientPayloadError(), "the answer was cut off"),
        (
            aiohttp.ClientConnectorSSLError(
                ConnectionKey("api.example.com", 443, True, True, None, None, None), ssl.SSLError(1, "unexpected end")
            ),
            "TLS with api.example.com:443 fails (unexpected end)",
        ),
        (RuntimeError("unexpected"), "RuntimeError: unexpected"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_the_text_of_a_failed_connection_is_in_plain_words(client, server, error, text):
    if isinstance(error, ConnectionRefusedError):
        key = ConnectionKey("api.example.com", 443, True, True, None, None, None)
        error = aiohttp.ClientConnectorError(key, error)
    server.get(URL_OF_IT, exception=error, repeat=True)
    with pytest.raises(TransientError) as failed:
        await client.retrieve(ID)
    assert str(failed.value) == f"the request failed: {text}"


REQUEST = aiohttp.RequestInfo(URL(URL_OF_IT), "GET", {}, URL(URL_OF_IT))


@pytest.mark.parametrize("length", range(LONGEST_TEXT - len(KEY) - 50, LONGEST_TEXT + 1, 4))
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda text: {"status": 400, "payload": {"code": "parameter_invalid", "message": text}}, id="400"),
        pytest.param(lambda text: {"status": 503, "payload": {"code": text, "message": ""}}, id="503"),
        pytest.param(lambda text: {"exception": aiohttp.ClientResponseError(REQUEST, (), message=text)}, id="no HTTP"),
        pytest.param(lambda text: {"exception": aiohttp.ClientHttpProxyError(REQUEST, (), message=text)}, id="proxy"),
        pytest.param(lambda text: {"exception": aiohttp.ClientConnectionError(text)}, id="connection"),
    ],
)
async def test_a_key_at_the_place_where_an_errors_text_is_cut_is_redacted_whole(client, server, answer, length):
    """Of whatever kind the error is: a refusal of the API, or an answer that aiohttp can't read."""
    server.get(URL_OF_IT, repeat=True, **answer(f"{'x' * length}{KEY}"))
    with pytest.raises(ApiError) as raised:
        await client.retrieve(ID)
    assert "tl" not in str(raised.value)
    assert str(raised.value).endswith("*" * 4 if length < LONGEST_TEXT - 50 else ("x", "*"))
    assert len(str(raised.value)) <= LONGEST_TEXT


@pytest.mark.parametrize("field", ["status", "method", "file_type", "hls", "error", "filename", "user_metadata"])
@pytest.mark.parametrize("shown", [KEY, KEY.upper(), KEY.replace("_", "%5f")])
async def test_a_key_that_comes_back_in_an_answer_is_kept_nowhere(client, server, field, shown):
    """The status is in the journal and in `asset-worker status`, which don't know the key."""
    value = {"hls": {"status": shown}, "error": {"message": shown}, "user_metadata": {shown: [shown]}}.get(field, shown)
    server.get(URL_OF_IT, payload=ASSET | {field: value})
    server.get(re.compile(rf"{BASE}/assets\?.*"), payload={"data": [ASSET | {field: value}]})
    retrieved = await client.retrieve(ID)
    listed = (await client.list_assets([ID]))[ID]
    assert retrieved == listed
    assert shown not in repr(retrieved)
    assert REDACTED in repr(retrieved)


async def test_the_key_is_in_no_error(client, server):
    server.get(URL_OF_IT, exception=aiohttp.ClientConnectionError("refused"), repeat=True)
    with pytest.raises(TransientError) as raised:
        await client.retrieve(ID)
    error: BaseException | None = raised.value
    while error is not None:
        assert KEY not in f"{error} {error!r}"
        error = error.__cause__


@pytest.mark.parametrize(
    "text",
    ["", "  ", "a\nb", "a b", "schlüssel", "a\x00b", "tlk\x7f"],
    ids=["empty", "blank", "two lines", "two words", "not ascii", "nul", "del"],
)
def test_what_can_be_no_key_is_refused_without_being_shown(tmp_path, text):
    with pytest.raises(BadKeyError) as raised:
        ApiKey(value=text, file=None, on_read=lambda _: None)
    assert not text.strip() or text not in str(raised.value)


def test_a_key_file_that_is_a_pipe_is_refused(tmp_path):
    """To read it would wait for whoever writes into it, and the whole worker with it."""
    os.mkfifo(tmp_path / "key")
    with pytest.raises(BadKeyError, match="not a regular file"):
        ApiKey(value=None, file=tmp_path / "key", on_read=lambda _: None)


def test_a_key_in_the_place_of_its_file_is_not_shown():
    with pytest.raises(BadKeyError, match="can't be read") as raised:
        ApiKey(value=None, file=Path(KEY), on_read=lambda _: None)
    assert KEY not in str(raised.value)


async def test_the_key_file_is_read_again_when_it_changes(tmp_path):
    path = tmp_path / "key"

    def write(text, *, at):
        path.write_text(text)
        os.utime(path, (at, at))  # virtual time passes within one tick of the file system's clock

    write("first\n", at=1)
    read, changes = [], []
    key = ApiKey(value="ignored", file=path, on_read=read.append)
    stop = Stop()
    watching = asyncio.ensure_future(key.watch(stop, lambda: changes.append(key.value)))
    await asyncio.sleep(3)
    path.unlink()
    await asyncio.sleep(3)
    assert key.value == "first"
    write("second", at=7)
    await asyncio.sleep(3)
    stop.set("test")
    await watching
    assert (key.value, changes, read) == ("second", ["second"], ["first", "second"])
