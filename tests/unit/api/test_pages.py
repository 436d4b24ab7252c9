"""Pages of all assets: what is asked for, and what each answer becomes."""

from __future__ import annotations

import re

import pytest
from aioresponses import CallbackResult, aioresponses
from structlog.testing import capture_logs

from asset_worker.api.bodies import LIST_BYTES_LIMIT
from asset_worker.api.client import AssetsApi
from asset_worker.api.gate import Gate
from asset_worker.api.key import ApiKey
from asset_worker.api.retry import Retries
from asset_worker.api.session import open_session
from asset_worker.domain.listings import NoPage, Page
from asset_worker.runtime.clock import SystemClock
from asset_worker.runtime.redaction import REDACTED, Secrets
from asset_worker.runtime.stop import Stop

BASE = "https://api.example.com/v1.3"
PAGES = re.compile(re.escape(f"{BASE}/assets?"))
KEY = "tlk_4F2SECRET"
SECRETS = Secrets()
SECRETS.add(KEY)
DATE = {"Date": "Fri, 27 Nov 2026 12:00:00 GMT"}

pytestmark = pytest.mark.virtual_time


@pytest.fixture
def server():
    with aioresponses() as mocked:
        yield mocked


@pytest.fixture
async def api():
    async with open_session(BASE, total_timeout=10) as session:
        gate = Gate(clock=SystemClock(), requests_per_second=0, concurrency=20, share=1.0, uniform=lambda: 0.5)
        key = ApiKey(value=KEY, file=None, on_read=lambda _: None)
        yield AssetsApi(session, BASE, key, gate, Retries(Stop()), redact=SECRETS.redact)


def asset(number):
    return {"_id": f"{number:024x}", "status": "processing", "created_at": "2026-11-27T11:59:59Z"}


def queries(server):
    return [list(url.query.items()) for (_, url), calls in server.requests.items() for _ in calls]


async def test_a_page_is_asked_for_by_its_number_and_the_filters(api, server):
    server.get(PAGES, payload={"data": [asset(2), asset(1)], "page_info": {"total_results": 52}}, headers=DATE)
    page = await api.page(2, types=("video", "audio"), filename="a&b")
    [query] = queries(server)
    assert sorted(query) == [
        ("asset_types", "audio"),
        ("asset_types", "video"),
        ("filename", "a&b"),
        ("page", "2"),
        ("page_limit", "50"),
    ]
    assert isinstance(page, Page)
    assert [each.document for each in page.assets] == [asset(2), asset(1)]
    assert (page.unreadable, page.total, page.served_at) == (0, 52, 1_795_780_800.0)


@pytest.mark.parametrize(
    "page_info",
    [None, [], {}, {"total_results": "52"}, {"total_results": None}, {"total_results": True}, {"total_results": -1}],
)
async def test_an_odd_total_is_unknown(api, server, page_info):
    server.get(PAGES, payload={"data": [asset(1)], "page_info": page_info}, headers={"Date": "yesterday"})
    page = await api.page(1)
    assert (page.total, page.served_at, len(page.assets)) == (None, None, 1)


async def test_elements_that_are_no_assets_are_counted_and_reported_and_the_others_are_read(api, server):
    data = [asset(3), {"_id": "x" * 24}, "?", {"status": "ready"}, asset(1)]
    server.get(PAGES, payload={"data": data})
    with capture_logs() as logs:
        page = await api.page(1)
    assert ([each.document for each in page.assets], page.unreadable) == ([asset(3), asset(1)], 3)
    assert {line["event"] for line in logs} == {"api.odd_answer"}


async def test_the_key_is_redacted_in_what_a_page_shows(api, server):
    server.get(PAGES, payload={"data": [asset(1) | {"filename": KEY}]})
    page = await api.page(1)
    assert page.assets[0].document["filename"] == REDACTED


async def test_a_page_that_is_too_large_is_read_in_parts(api, server):
    assets = [asset(number) for number in range(100, 0, -1)]

    def answer(url, **_):
        number, length = int(url.query["page"]), int(url.query["page_limit"])
        if length > 10:
            return CallbackResult(body=b" " * (LIST_BYTES_LIMIT + 1))
        data = assets[(number - 1) * length : number * length]
        return CallbackResult(payload={"data": data, "page_info": {"total_results": 100}}, headers=DATE)

    server.get(PAGES, callback=answer, repeat=True)
    page = await api.page(2)
    assert [each.document for each in page.assets] == assets[50:]
    assert (page.unreadable, page.total, page.served_at) == (0, 100, 1_795_780_800.0)


async def test_two_assets_that_are_too_large_make_no_page(api, server):
    server.get(PAGES, body=b" " * (LIST_BYTES_LIMIT + 1), repeat=True)
    page = await api.page(1)
    assert isinstance(page, NoPage)
    assert "larger than" in page.why


@pytest.mark.parametrize(
    ("answer", "why", "retry_after"),
    [
        ({"status": 429, "headers": {"Retry-After": "7"}}, "429 Too Many Requests", 7.0),
        ({"status": 403, "payload": {"code": "api_not_allowed", "message": "not here"}}, "403 not here", 0.0),
        ({"status": 502, "body": "<html>"}, "502 Bad Gateway", 0.0),
        ({"status": 200, "body": "{}"}, "the answer is not a list of assets", 0.0),
    ],
)
async def test_a_page_that_can_not_be_read_says_why(api, server, answer, why, retry_after):
    server.get(PAGES, repeat=True, **answer)
    page = await api.page(1)
    assert isinstance(page, NoPage)
    assert page.why == why
    assert page.retry_after == pytest.approx(retry_after)


async def test_a_page_that_fails_is_asked_for_once_more(api, server):
    server.get(PAGES, status=500)
    server.get(PAGES, payload={"data": []})
    assert isinstance(await api.page(1), Page)
