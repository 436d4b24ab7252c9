"""The client, answer by answer: what a list or page shows of odd assets, what is logged, and what the gate allows."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import pytest
from aioresponses import CallbackResult, aioresponses
from structlog.testing import capture_logs

from asset_worker.api.bodies import LIST_BYTES_LIMIT
from asset_worker.api.breaker import FAILURES_TO_OPEN, KEPT
from asset_worker.api.client import AssetsApi
from asset_worker.api.errors import HeldError, MalformedAnswerError, TransientError
from asset_worker.api.gate import Gate
from asset_worker.api.key import ApiKey
from asset_worker.api.retry import Retries
from asset_worker.api.session import open_session
from asset_worker.api.subjects import Endpoint, Subject
from asset_worker.domain.assets import AssetId
from asset_worker.domain.listings import Page
from asset_worker.runtime.redaction import Secrets
from asset_worker.runtime.stop import Stop
from tests.doubles.clocks import LoopClock

BASE = "https://api.example.com/v1.3"
LISTS = re.compile(re.escape(f"{BASE}/assets?"))
NO_HEADERS: Mapping[str, str] = {}
LISTING = Subject(Endpoint.LIST, "a")
LOWER, UPPER, OTHER = AssetId("a" * 24), AssetId("A" * 24), AssetId("b" * 24)

pytestmark = pytest.mark.virtual_time


@pytest.fixture
def server():
    with aioresponses() as mocked:
        yield mocked


@pytest.fixture
async def api():
    async with open_session(BASE, total_timeout=10) as session:
        clock = LoopClock(asyncio.get_running_loop())
        gate = Gate(clock=clock, requests_per_second=0, concurrency=20, share=1.0, uniform=lambda: 0.5)
        key = ApiKey(value="tlk_test", file=None, on_read=lambda _: None)
        api = AssetsApi(session, BASE, key, gate, Retries(Stop()), redact=Secrets().redact)
        api.gate = gate  # type: ignore[attr-defined]
        yield api


def shows(server, *elements: str) -> None:
    server.get(LISTS, body=f'{{"data": [{", ".join(elements)}], "page_info": {{"total_results": 1}}}}')


def ready(asset_id: str, more: str = "") -> str:
    return f'{{"_id": "{asset_id}", "status": "ready"{more}}}'


def odd_answers(logs):
    return [(line["what"], line.get("asset_id")) for line in logs if line["event"] == "api.odd_answer"]


def refuse_large_lists(server, *, largest: int, data_of: Callable[[int, int], Sequence[str]] = lambda *_: ()):
    """Answer each page up to a length with `data_of` its number and length; return the pages that were asked for."""
    asked = []

    def answer(url, **_):
        number, length = int(url.query["page"]), len(url.query.getall("asset_ids", ())) or int(url.query["page_limit"])
        asked.append((number, length))
        if length > largest:
            return CallbackResult(body=b" " * (LIST_BYTES_LIMIT + 1))
        body = f'{{"data": [{", ".join(data_of(number, length))}], "page_info": {{"total_results": {50 + number}}}}}'
        return CallbackResult(body=body, headers={"Date": f"Fri, 27 Nov 2026 12:00:{number:02} GMT"})

    server.get(LISTS, callback=answer, repeat=True)
    return asked


async def fail(gate: Gate, subject: Subject, status: int = 500, headers: Mapping[str, str] = NO_HEADERS) -> None:
    with suppress(TransientError):
        async with gate.permit(subject) as permit:
            permit.answered(status, headers)
            raise TransientError(str(status))


async def test_a_retrieve_that_is_held_back_in_an_outage_fails_at_once(api, server):
    ids = [AssetId(f"{number:024x}") for number in range(FAILURES_TO_OPEN)]
    for asset_id in ids:
        await fail(api.gate, Subject(Endpoint.RETRIEVE, asset_id))
    looks = [asyncio.create_task(api.retrieve(asset_id)) for asset_id in ids[: KEPT + 1]]
    await asyncio.sleep(0.1)
    held = [look.exception() for look in looks if look.done()]
    assert [type(error) for error in held] == [HeldError]
    assert api.latest_failure is None, "it says nothing new"
    for look in looks:
        look.cancel()


async def test_what_the_gate_allows_is_what_the_client_allows(api):
    assert (api.may_list, api.lists_are_limited, api.has_capacity, api.stalled_for) == (True, False, True, 0.0)
    await asyncio.wait_for(api.wait_for_capacity(), 1)
    for pause in range(3):
        await fail(api.gate, LISTING, 429, {"Retry-After": "30"})
        assert (api.may_list, api.lists_are_limited) == (False, pause == 2)
        if pause < 2:
            await asyncio.sleep(7)
            assert api.stalled_for == 7
            async with api.gate.permit(Subject(Endpoint.RETRIEVE, OTHER)) as permit:
                permit.answered(200, {})


async def test_the_client_has_no_capacity_while_one_waits(api):
    begun = asyncio.Event()

    async def hold(seconds: float) -> None:
        async with api.gate.permit(Subject(Endpoint.RETRIEVE, OTHER)) as permit:
            begun.set()
            await asyncio.sleep(seconds)
            permit.answered(200, {})

    holding = [asyncio.create_task(hold(0.5)) for _ in range(2)]
    await begun.wait()
    assert not api.has_capacity
    waiting = asyncio.create_task(api.wait_for_capacity())
    await asyncio.sleep(0.1)
    assert not waiting.done()
    await asyncio.gather(*holding)
    assert api.has_capacity
    await waiting


async def test_the_latest_failure_is_told(api, server):
    server.get(f"{BASE}/assets/{OTHER}", status=502)
    server.get(f"{BASE}/assets/{OTHER}", body=ready(OTHER))
    assert api.latest_failure is None
    await api.retrieve(OTHER)
    assert api.latest_failure == "502 Bad Gateway"


async def test_a_list_has_fifty_assets_at_most_however_many_were_read(api, server):
    asked = refuse_large_lists(server, largest=50)
    for _ in range(2):
        await api.list_assets([AssetId(f"{number:024x}") for number in range(101)])
    assert asked == [(1, 50), (1, 50), (1, 1)] * 2


@pytest.mark.parametrize("status", ["7", '"ready"'], ids=["unreadable", "readable"])
@pytest.mark.parametrize(
    ("wanted", "shown", "is_found"),
    [
        pytest.param([LOWER, OTHER], UPPER, LOWER, id="of other case"),
        pytest.param([UPPER, OTHER], LOWER, UPPER, id="of lower case"),
        pytest.param([LOWER, UPPER], UPPER, UPPER, id="one of two that differ in case"),
        pytest.param([UPPER, LOWER], UPPER, UPPER, id="one of two that differ in case, the other way round"),
    ],
)
async def test_an_element_of_a_list_is_about_the_asset_with_its_id_whatever_the_case(
    api, server, wanted, shown, is_found, status
):
    shows(server, f'{{"_id": "{shown}", "status": {status}}}')
    found = await api.list_assets(wanted)
    assert {asset_id: asset and asset.status for asset_id, asset in found.items()} == {
        is_found: None if status == "7" else "ready"
    }


async def test_a_list_is_the_first_page(api, server):
    asked = refuse_large_lists(server, largest=50)
    await api.list_assets([LOWER, OTHER])
    assert asked == [(1, 2)]
    [[(_, url), _]] = server.requests.items()
    assert sorted(url.query.items()) == [
        ("asset_ids", LOWER),
        ("asset_ids", OTHER),
        ("page", "1"),
        ("page_limit", "50"),
    ]


@pytest.mark.parametrize(
    ("more", "what"),
    [
        pytest.param(', "duration": NaN', "NaN or Infinity", id="repaired"),
        pytest.param(', "hls": "ready"', "hls is a text", id="odd"),
    ],
)
@pytest.mark.parametrize("is_page", [False, True], ids=["list", "page"])
async def test_what_is_odd_in_a_list_or_a_page_is_logged_with_its_asset(api, server, more, what, is_page):
    shows(server, ready(OTHER, more))
    with capture_logs() as logs:
        await (api.page(1) if is_page else api.list_assets([OTHER]))
    assert odd_answers(logs) == [(what, OTHER)]


async def test_of_a_page_in_parts_the_total_is_the_latest_and_the_time_the_earliest(api, server):
    asked = refuse_large_lists(
        server, largest=10, data_of=lambda number, _: [ready(f"{number:024x}"), f'{{"_id": "{number:024x}"}}']
    )
    with capture_logs() as logs:
        page = await api.page(2)
    assert asked == [(2, 50), *((number, 10) for number in range(6, 11))]
    assert isinstance(page, Page)
    assert [asset.id for asset in page.assets] == [f"{number:024x}" for number in range(6, 11)]
    assert (page.unreadable, page.total, page.served_at) == (5, 60, 1_795_780_806.0)
    assert odd_answers(logs)[0] == (f"a list is too large: the answer is larger than {LIST_BYTES_LIMIT} bytes", None)


async def test_an_asset_with_another_id_is_not_taken_for_the_one_that_was_asked_for(api, server):
    server.get(f"{BASE}/assets/{LOWER}", body=ready(OTHER), repeat=True)
    with pytest.raises(MalformedAnswerError, match="about another asset"):
        await api.retrieve(LOWER)
