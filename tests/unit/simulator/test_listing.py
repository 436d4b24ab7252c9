"""The stand-in's list of all assets: which page shows what, by which clock, and at what cost."""

from __future__ import annotations

import math
from collections import Counter
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from random import Random

import aiohttp
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset_worker.simulator.lifecycles import KINDS, Lifecycle, document
from asset_worker.simulator.limits import Limit
from asset_worker.simulator.listing import MOST_FILTERS
from asset_worker.simulator.server import Options, Simulator
from asset_worker.simulator.store import Store

FAMILIES = {"image": "image", "clip": "video", "audio": "audio", "text": "document", "document": "document"}
START = 1_700_000_000.0

adds = st.tuples(
    st.just("add"),
    st.sampled_from(sorted(FAMILIES)),
    st.sampled_from(["a.mp4", "B-a.jpg", "c", "ab"]),
    st.sampled_from([0.0, 0.0, 1.0, 5.0, 1000.0]),  # visible after
    st.sampled_from([0.0, 0.0, 2.0, 100.0]),  # age
    st.sampled_from([None, None, START, START + 1e9]),  # created_at
)
steps = st.lists(
    adds
    | st.tuples(st.just("pass"), st.sampled_from([0.001, 1.0, 4.0, 60.0]))
    | st.tuples(st.just("delete"), st.integers(0, 30))
    | st.tuples(st.just("change"), st.integers(0, 30), st.sampled_from([0.0, 3.0, math.inf]))
    | st.tuples(
        st.just("read"),
        st.sets(st.sampled_from(["image", "video", "audio", "document"]), max_size=2),
        st.sampled_from(["", "A", "b-", "none"]),
    ),
    max_size=60,
)


class Expected(msgspec.Struct):
    """What the model knows of one asset."""

    asset_id: str
    number: int
    family: str
    filename: str
    created_at: float
    visible_at: float


@given(steps, st.sampled_from([1.0, 60.0]), st.integers(1, 3))
def test_pages_show_exactly_the_visible_assets_newest_first(steps, time_scale, page_limit):
    """Against a model that sorts all of them for each page."""
    now = START
    store = Store(Random(1), lambda: now, time_scale=time_scale)
    model: list[Expected] = []
    for number, step in enumerate(steps):
        match step:
            case "add", kind, filename, visible_after, age, created_at:
                lifecycle = Lifecycle(visible_after=visible_after)
                found = store.add(lifecycle, kind=KINDS[kind], filename=filename, age=age, created_at=created_at)
                born = now - age
                stamp = born if created_at is None else created_at
                visible_at = born + visible_after / time_scale
                model.append(Expected(found, number, FAMILIES[kind], filename, stamp, visible_at))
            case "pass", seconds:
                now += seconds
            case "delete", place if model:
                assert store.delete(model.pop(place % len(model)).asset_id)
            case "change", place, visible_after if model:
                chosen = model[place % len(model)]
                store.change(chosen.asset_id, Lifecycle(visible_after=visible_after))
                chosen.visible_at = now + visible_after / time_scale
            case "read", types, filename:
                passing = [
                    each
                    for each in model
                    if each.visible_at <= now
                    and (not types or each.family in types)
                    and filename.lower() in each.filename.lower()
                ]
                passing.sort(key=lambda each: (each.created_at, each.number), reverse=True)
                shown = []
                for page in range(1, len(passing) // page_limit + 3):
                    assets, total = store.page(
                        page=page, page_limit=page_limit, asset_types=sorted(types), filename=filename
                    )
                    assert total == len(passing)
                    assert len(assets) <= page_limit
                    shown += [asset["_id"] for asset in assets]
                assert shown == [each.asset_id for each in passing]
                assert {each.asset_id for each in model if store.view(each.asset_id)} == {
                    each.asset_id for each in model if each.visible_at <= now
                }


def test_a_page_costs_what_is_on_it(monkeypatch):
    """However many assets there are, and with a filter, too."""
    rendered: Counter[str] = Counter()

    def counted(created, *about):
        rendered[created.id] += 1
        return document(created, *about)

    monkeypatch.setattr("asset_worker.simulator.store.document", counted)
    store = Store(Random(1), lambda: START)
    for _ in range(5_000):
        store.add(Lifecycle(), kind=KINDS["clip"])
    for options in ({}, {"asset_types": ["video"]}, {"filename": "file"}):
        rendered.clear()
        assets, total = store.page(page=60, page_limit=50, **options)
        assert (len(assets), total, rendered.total()) == (50, 5_000, 50)


def test_many_filters_do_not_add_up():
    store = Store(Random(1), lambda: START)
    for _ in range(10):
        store.add(Lifecycle(), kind=KINDS["clip"])
    for number in range(3 * MOST_FILTERS):
        assert store.page(page=1, page_limit=50, filename=str(number)) is not None
    assert len(store._listing._found) <= MOST_FILTERS + 1
    assert store.page(page=1, page_limit=50)[1] == 10


def test_a_late_asset_appears_below_newer_ones():
    now = START
    store = Store(Random(1), lambda: now)
    late = store.add(Lifecycle(visible_after=30))
    newer = [store.add(Lifecycle()) for _ in range(3)]
    assert [asset["_id"] for asset in store.page(page=1, page_limit=50)[0]] == newer[::-1]
    now = START + 29.999
    assert store.page(page=1, page_limit=50)[1] == 3
    now = START + 30
    assert [asset["_id"] for asset in store.page(page=2, page_limit=3)[0]] == [late]


@pytest.mark.parametrize("skew", [0.0, 3600.0, -86_400.0 * 400])
async def test_one_clock_stamps_answers_and_assets(skew):
    """`created_at` and `Date` show the server's clock, whatever the time scale."""
    async with (
        Simulator(Options(time_scale=1000, clock_skew=skew)) as simulator,
        aiohttp.ClientSession(headers={"x-api-key": "k"}) as session,
    ):
        simulator.store.add(Lifecycle())
        before = simulator.clock.now()
        async with session.get(f"{simulator.base_url}/assets") as response:
            [asset] = (await response.json())["data"]
            date = parsedate_to_datetime(response.headers["Date"]).timestamp()
        assert before - 1 <= date <= simulator.clock.now()
        assert datetime.fromisoformat(asset["created_at"]).timestamp() <= before
        assert abs(before - datetime.now(UTC).timestamp() - skew) < 60


async def test_a_limit_resets_by_the_servers_clock():
    """`X-Ratelimit-Reset` would mean nothing beside a `Date` of another clock."""
    async with Simulator(Options(clock_skew=1e6)) as simulator:
        simulator.set_limit(Limit(5, 60.0))
        async with (
            aiohttp.ClientSession(headers={"x-api-key": "k"}) as session,
            session.get(f"{simulator.base_url}/assets") as response,
        ):
            date = parsedate_to_datetime(response.headers["Date"]).timestamp()
            assert 0 < int(response.headers["X-Ratelimit-Reset"]) - date <= 61


@pytest.fixture
async def simulator():
    async with Simulator() as it:
        yield it


@pytest.fixture
async def session():
    async with aiohttp.ClientSession(headers={"x-api-key": "k"}) as it:
        yield it


async def test_older_assets_can_be_ordered(simulator, session):
    """Evenly spread, with equal stamps, or late."""
    at, now = simulator.base_url.removesuffix("/v1.3") + "/_simulator/assets", simulator.clock.now()

    async def ordered(**wanted):
        async with session.post(at, json=wanted) as response:
            assert response.status == 200
            return [each["id"] for each in (await response.json())["assets"]]

    async def created(asset_id):
        async with session.get(f"{simulator.base_url}/assets/{asset_id}") as response:
            if response.status == 404:
                return None
            return datetime.fromisoformat((await response.json())["created_at"]).timestamp()

    spread = await ordered(count=5, age=1000, spread=400, visible_after=0)
    assert [now - await created(each) for each in spread] == pytest.approx([1000, 900, 800, 700, 600], abs=60)
    same = await ordered(count=2, created_at="2099-01-01T00:00:00+01:00", visible_after=0)
    assert {await created(each) for each in same} == {datetime(2098, 12, 31, 23, tzinfo=UTC).timestamp()}
    [late] = await ordered(age=50, visible_after=1e9)
    assert await created(late) is None
    assert simulator.store.visible_at(late) == pytest.approx(now - 50 + 1e9, abs=60)
    async with session.get(f"{simulator.base_url}/assets") as response:
        assert [each["_id"] for each in (await response.json())["data"]] == [*same[::-1], *spread[::-1]]
    async with session.get(at.replace("assets", "stats")) as response:
        assert (await response.json())["pages"] == {"first": 1, "later": 0}


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({"age": 5, "spread": 6}, "spread: at most the age"),
        ({"age": -1}, "age"),
        ({"visible_after": 1e300}, "visible_after"),
        ({"created_at": "yesterday"}, "created_at: "),
        ({"created_at": "2026-11-24T10:00:00"}, "offset from UTC"),
        ({"created_at": "0001-01-01T00:00:00+14:00"}, ""),
    ],
    ids=str,
)
async def test_an_order_that_makes_no_sense_is_refused(simulator, session, wanted, says):
    at = simulator.base_url.removesuffix("/v1.3") + "/_simulator/assets"
    async with session.post(at, json=wanted) as response:
        assert (response.status, says in await response.text()) == (400, True)
    assert len(simulator.store) == 0


async def test_the_first_look_at_each_asset_is_recorded(simulator, session):
    asset_id = simulator.store.add(Lifecycle())
    before = simulator.clock.now()
    for _ in range(2):
        async with session.get(f"{simulator.base_url}/assets"):
            pass
    assert before <= simulator.stats.first_looks[asset_id] <= simulator.clock.now()
    assert simulator.stats.looks[asset_id] == 2
