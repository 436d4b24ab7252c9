"""The stand-in: lifecycles, limits, faults, and what a client sees of each."""

from __future__ import annotations

import math
from email.utils import parsedate_to_datetime
from random import Random

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset_worker.domain.assets import Ages, Done, Expectations, assess, asset_from
from asset_worker.simulator.faults import Fault, FaultKind, pick_fault
from asset_worker.simulator.lifecycles import (
    KINDS,
    Created,
    FailureRates,
    Lifecycle,
    Rendition,
    document,
    draw,
    outcome,
)
from asset_worker.simulator.limits import Limit, Style, Window
from asset_worker.simulator.server import Options, Simulator

CREATED = Created("0" * 24, "2026-11-24T00:00:00Z", "talk.mp4", "video/mp4", "direct", 1000, 60.0)

renditions = st.none() | st.builds(
    Rendition, ends_after=st.floats(0, 100), ends_in=st.sampled_from(["ready", "error"]), starts_after=st.floats(0, 50)
)
lifecycles = st.builds(
    Lifecycle,
    ends_after=st.floats(0, 100),
    ends_in=st.sampled_from(["ready", "failed"]),
    visible_after=st.floats(0, 10),
    hls=renditions,
    thumbnail=renditions,
)


@given(lifecycles)
def test_the_outcome_is_what_the_worker_decides_from_the_last_state(lifecycle):
    last = document(CREATED, lifecycle, 1000.0)
    assert last is not None
    verdict = assess(asset_from(last), Expectations(), Ages(1.0, 0.5))
    assert isinstance(verdict, Done)
    assert verdict.outcome == outcome(lifecycle)


@given(lifecycles, st.lists(st.floats(0, 300), min_size=2).map(sorted))
def test_nothing_that_has_ended_starts_again(lifecycle, ages):
    order = {"pending": 0, "processing": 1, "ready": 2, "error": 2, "failed": 2}
    seen = [found for age in ages if (found := document(CREATED, lifecycle, age)) is not None]
    for states in (
        [each["status"] for each in seen],
        [each["hls"]["status"] for each in seen if "hls" in each],
        [each["thumbnail"]["status"] for each in seen if "thumbnail" in each],
    ):
        assert [order[state] for state in states] == sorted(order[state] for state in states)


def test_an_asset_that_never_ends_has_no_outcome():
    assert outcome(Lifecycle(math.inf)) is None
    assert outcome(Lifecycle(hls=Rendition(math.inf))) is None
    assert outcome(Lifecycle(ends_in="archived")) is None


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_durations_lie_around_the_median_of_the_kind_and_are_repeatable(kind):
    drawn = sorted(draw(kind, Random(number)).ends_after for number in range(400))
    assert 0.8 * kind.ready < drawn[200] < 1.25 * kind.ready
    assert draw(kind, Random(7)) == draw(kind, Random(7))
    quiet = draw(kind, Random(1), failure_rates=FailureRates(failed=1), enable_hls=False)
    assert (quiet.ends_in, quiet.hls) == ("failed", None)


@pytest.mark.parametrize("style", Style)
def test_no_window_allows_more_requests_and_its_headers_are_true(style):
    window, allowed = Window(Limit(5, 10.0, style)), []
    for tick in range(300):
        now = 1_000_000.0 + tick / 10
        answer = window.charge(now)
        if answer.allowed:
            allowed.append(now)
        elif style in {Style.VENDOR, Style.RETRY_AFTER}:
            assert (now + int(answer.headers["Retry-After"])) // 10 > now // 10
        elif style is Style.RETRY_AFTER_DATE:
            assert parsedate_to_datetime(answer.headers["Retry-After"]).timestamp() == math.ceil((now // 10 + 1) * 10)
    assert [sum(at // 10 == number for at in allowed) for number in range(100_000, 100_003)] == [5, 5, 5]


@pytest.mark.parametrize(
    ("text", "limit"),
    [("60/60", Limit(60, 60.0)), ("5/0.5:ietf", Limit(5, 0.5, Style.IETF)), ("1/1:none", Limit(1, 1.0, Style.NONE))],
)
def test_a_limit_is_parsed(text, limit):
    assert Limit.parse(text) == limit


@pytest.mark.parametrize("text", ["", "60", "60/", "0/1", "1/0", "60/60:loud", "-1/1", "a/b", "1/9999999999"])
def test_text_that_is_no_limit_is_refused(text):
    with pytest.raises(ValueError, match="is no"):
        Limit.parse(text)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("status", Fault(FaultKind.STATUS, "503")),
        ("status=500:0.25", Fault(FaultKind.STATUS, "500", 0.25)),
        ("hang@5-10", Fault(FaultKind.HANG, "", 1.0, 5.0, 10.0)),
        ("slow=0.5:.5@2-", Fault(FaultKind.SLOW, "0.5", 0.5, 2.0)),
        ("redirect=https://a.example:8443/x", Fault(FaultKind.REDIRECT, "https://a.example:8443/x")),
    ],
)
def test_a_fault_is_parsed(text, fault):
    assert Fault.parse(text) == fault


@pytest.mark.parametrize(
    "text",
    [
        *("", "flood", "status=999", "status=ok", "slow=x", "hang:2", "hang@", "hang@a-b"),
        *("huge=inf", "slow=nan", "slow=-1", "huge=1e300", "redirect=https://x.example/\rA: b"),
    ],
)
def test_text_that_is_no_fault_is_refused_with_what_to_write(text):
    with pytest.raises(ValueError, match=r"is no|at most|holds a control character"):
        Fault.parse(text)


@given(st.text(max_size=30))
def test_any_text_is_a_fault_or_is_refused(text):
    try:
        Fault.parse(text)
    except ValueError:
        return


def test_a_fault_occurs_with_its_probability_and_in_its_time():
    random, fault = Random(1), Fault.parse("reset:0.3@10-20")
    assert pick_fault([fault], random, since=9.9, is_list=False) is None
    assert pick_fault([fault], random, since=20.0, is_list=False) is None
    hits = sum(pick_fault([fault], random, since=15.0, is_list=False) is fault for _ in range(2000))
    assert 500 < hits < 700


@pytest.fixture
async def simulator():
    async with Simulator(Options(key="k", time_scale=1000)) as it:
        yield it


@pytest.fixture
async def session():
    async with aiohttp.ClientSession(headers={"x-api-key": "k"}) as it:
        yield it


async def got(session, url, **options):
    async with session.get(url, allow_redirects=False, **options) as response:
        return response.status, await response.read(), response.headers


async def test_each_fault_is_what_a_client_sees(simulator, session):
    asset_id = simulator.store.add(Lifecycle())
    url = f"{simulator.base_url}/assets/{asset_id}"
    quick = {"timeout": aiohttp.ClientTimeout(total=0.3)}

    simulator.set_faults("status=500")
    status, body, _ = await got(session, url)
    assert (status, b'"code"' in body) == (500, True)
    simulator.set_faults("html=504")
    status, body, headers = await got(session, url)
    assert (status, body[:6], headers["Content-Type"]) == (504, b"<html>", "text/html")
    for text, error, options in (
        ("hang", TimeoutError, quick),
        ("slow=1", TimeoutError, quick),
        ("drip=0.1", TimeoutError, quick),
        ("reset", aiohttp.ClientConnectionError, {}),
        ("cut", aiohttp.ClientPayloadError, {}),
    ):
        simulator.set_faults(text)
        with pytest.raises(error):
            await got(session, url, **options)
    simulator.set_faults("text")
    assert (await got(session, url))[1] == b"Service temporarily unavailable"
    simulator.set_faults("types")
    assert b'"status":7' in (await got(session, url))[1]
    simulator.set_faults("stranger")
    assert asset_id.encode() not in (await got(session, url))[1]
    simulator.set_faults("redirect=https://elsewhere.example/")
    assert (await got(session, url))[2]["Location"] == "https://elsewhere.example/"
    simulator.set_faults("huge=3145728")
    assert len((await got(session, url))[1]) == 3 << 20
    simulator.set_faults()
    assert (await got(session, url))[0] == 200


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("lag=100", [(0, "processing", "pending"), (1, "processing", "pending")]),
        ("mix", [(1, "ready", "ready"), (0, "ready", "processing")]),
        ("bare", [(0, "ready", None), (1, "ready", None)]),
        ("lie", [(0, "ready", "ready"), (1, "ready", "ready")]),
    ],
)
async def test_faults_of_lists_change_lists_alone(session, fault, expected):
    """What a list shows under each ID: whose fields, its status and that of its stream."""
    async with Simulator() as simulator:
        age, now = 50.0, simulator.store._clock()
        simulator.store._clock = lambda: now
        lifecycles = [Lifecycle(10, hls=Rendition(60)), Lifecycle(10, hls=Rendition(20))]
        ids = [simulator.store.add(each, kind=KINDS["clip"]) for each in lifecycles]
        simulator.store._clock = lambda: now + age
        simulator.set_faults(fault)
        views = [simulator.store.view(asset_id) or {} for asset_id in ids]
        names = [each["filename"] for each in views]
        async with session.get(f"{simulator.base_url}/assets?asset_ids={ids[0]}&asset_ids={ids[1]}") as response:
            listed = {asset["_id"]: asset for asset in (await response.json())["data"]}
        shown = [
            (names.index(listed[each]["filename"]), listed[each]["status"], listed[each].get("hls", {}).get("status"))
            for each in ids
        ]
        assert shown == expected
        for asset_id, view in zip(ids, views, strict=True):
            async with session.get(f"{simulator.base_url}/assets/{asset_id}") as response:
                assert await response.json() == view
        assert simulator.stats.by_fault == {fault.partition("=")[0]: 1}


async def test_lists_have_pages_and_filters_and_leave_out_invisible_assets(simulator, session):
    ids = [simulator.store.add(Lifecycle(), kind=KINDS["clip" if n % 2 else "image"]) for n in range(7)]
    hidden = simulator.store.add(Lifecycle(visible_after=math.inf))
    url = f"{simulator.base_url}/assets"

    async def listed(*query):
        async with session.get(url, params=list(query)) as response:
            return await response.json()

    first = await listed(("page_limit", "3"))
    assert [each["_id"] for each in first["data"]] == ids[:3:-1]
    assert first["page_info"] == {"page": 1, "limit_per_page": 3, "total_page": 3, "total_results": 7}
    wanted = await listed(*(("asset_ids", each) for each in (ids[0], hidden, "f" * 24)))
    assert [each["_id"] for each in wanted["data"]] == [ids[0]]
    assert len((await listed(("asset_types", "image")))["data"]) == 4
    for query in (("page_limit", "51"), ("page", "0"), ("page", "x"), ("asset_ids", "../x")):
        assert (await listed(query))["code"] == "parameter_invalid"


@pytest.mark.parametrize("name", ["page", "page_limit"])
@pytest.mark.parametrize("text", ["9" * 5000, "0" * 5000 + "1", "-1", "1.0", "\u0661", "1_0", ""])
async def test_text_that_is_no_number_is_refused(simulator, session, name, text):
    async with session.get(f"{simulator.base_url}/assets", params={name: text}) as response:
        assert (response.status, (await response.json())["code"]) == (400, "parameter_invalid")


async def test_an_upload_is_answered_with_an_asset_that_is_processing(simulator, session):
    """Even if a read does not show it yet, or would show it done."""
    hidden = 0
    for number in range(200):
        form = aiohttp.FormData({"method": "direct" if number % 2 else "url"}, default_to_multipart=True)
        name = f"file-{number}{('.mp4', '.jpg', '.txt', '')[number // 2 % 4]}"
        if number % 2:
            form.add_field("file", b"x" * number, filename=name)
        else:
            form.add_field("url", f"https://media.example/{name}")
        async with session.post(f"{simulator.base_url}/assets", data=form) as response:
            created = await response.json()
            assert response.status == 201
        assert created.keys() >= {"_id", "created_at", "file_type", "filename", "method", "status"}
        assert (created["status"], created["filename"]) == ("processing", name)
        assert created["method"] == ("direct" if number % 2 else "url")
        asset_from(created)
        hidden += simulator.store.lifecycle(created["_id"]).visible_after > 0
    assert hidden
    assert len(simulator.store) == 200


async def test_the_stand_in_is_controlled_over_http_and_refuses_invalid_values(simulator, session):
    at = simulator.base_url.removesuffix("/v1.3") + "/_simulator"
    async with session.post(f"{at}/assets", json={"count": 3, "kind": "image"}) as response:
        assert len((await response.json())["assets"]) == 3
    async with session.post(f"{at}/assets", json={"kind": "hologram"}) as response:
        assert response.status == 400
    async with session.put(f"{at}/faults", json=["flood"]) as response:
        assert (response.status, "flood" in await response.text()) == (400, True)
    async with session.put(f"{at}/limit", json="1/3600:vendor") as response:
        assert response.status == 200
    statuses = [(await got(session, f"{simulator.base_url}/assets"))[0] for _ in range(3)]
    assert 429 in statuses
    async with session.get(f"{at}/stats") as response:
        assert (await response.json())["by_status"]["429"] >= 1


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        *(
            ("POST", "assets", body, 400)
            for body in (
                *(b"junk", b"[]", b"\xff", b"[" * 60_000, b'{"count": "3"}', b'{"count": -1}', b'{"count": null}'),
                *(b'{"count": 1.5}', b'{"kind": 7}', b'{"cuont": 1}', b'{"count": 100001}'),
            )
        ),
        *(("PUT", "faults", body, 400) for body in (b"", b"junk", b"7", b'{"a": 1}', b"[7]", b'["huge=inf"]')),
        *(("PUT", "limit", body, 400) for body in (b"", b"7", b'""', b'"' + b"9" * 5000 + b'/1"', b'"1/99999999999"')),
        *(("PUT", "key", body, 400) for body in (b"", b"7", b'""', b"[]")),
        *((method, path, b" " * 70_000, 413) for method, path in (("POST", "assets"), ("PUT", "key"))),
    ],
)
async def test_a_bad_body_is_refused_and_changes_nothing(simulator, session, method, path, body, status):
    at = simulator.base_url.removesuffix("/v1.3") + "/_simulator"
    async with session.request(method, f"{at}/{path}", data=body) as response:
        assert (response.status, "Traceback" in await response.text()) == (status, False)
    assert (len(simulator.store), simulator.key) == (0, "k")
    assert (await got(session, f"{simulator.base_url}/assets"))[0] == 200


async def test_the_number_of_assets_is_limited(simulator, session, monkeypatch):
    monkeypatch.setattr("asset_worker.simulator.server.MOST_ASSETS", 10)
    at = simulator.base_url.removesuffix("/v1.3") + "/_simulator/assets"
    statuses = []
    for count in (6, 6, 4, 1, 0):
        async with session.post(at, json={"count": count}) as response:
            statuses.append(response.status)
    assert (statuses, len(simulator.store)) == ([200, 400, 200, 400, 200], 10)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:8123"}, 200),
        ({"Host": "sim.localhost"}, 200),
        ({"Host": "[::1]:8123"}, 200),
        ({"Host": "192.0.2.7:1", "Origin": "http://192.0.2.7:1"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "localhost.evil.example:8123"}, 403),
        ({"Host": "evil.example@[::1"}, 403),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "http://localhost:3000"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
    ],
)
async def test_no_web_page_controls_the_stand_in(simulator, session, headers, status):
    """Neither one of another origin, nor one whose name leads here (DNS rebinding)."""
    at = simulator.base_url.removesuffix("/v1.3") + "/_simulator"
    for method, path, body in (
        ("POST", "assets", b'{"count": 1}'),
        ("PUT", "faults", b"[]"),
        ("PUT", "limit", b"null"),
        ("PUT", "key", b'"k"'),
        ("GET", "stats", b""),
    ):
        async with session.request(method, f"{at}/{path}", data=body, headers=headers) as response:
            assert (path, response.status) == (path, status)
    assert len(simulator.store) == (status == 200)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b"junk"),
        ("multipart/form-data; boundary=x", b"junk"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n\xff\r\n--x--\r\n',
        ),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="a"\r\nContent-Type: a/b; charset=none\r\n\r\na\r\n--x--\r\n',
        ),
    ],
)
async def test_an_upload_that_is_no_form_is_refused(simulator, session, content_type, body):
    url, headers = f"{simulator.base_url}/assets", {"Content-Type": content_type}
    async with session.post(url, data=body, headers=headers) as response:
        assert (response.status, (await response.json())["code"]) == (400, "parameter_invalid")


async def test_requests_to_unknown_paths_are_recorded(simulator, session):
    host = simulator.base_url.removesuffix("/v1.3")
    for path in ("/v1.3/assets/a/b", "/v1.3/indexes", "/"):
        assert (await got(session, host + path))[0] == 404
    assert simulator.stats.unknown_paths == ["GET /v1.3/assets/a/b", "GET /v1.3/indexes", "GET /"]
