"""Whatever bytes come in, the only errors raised are those of this package."""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from itertools import pairwise

import msgspec
import pytest
from aioresponses import aioresponses
from hypothesis import example, given
from hypothesis import strategies as st

from asset_worker.api.bodies import decode_body, decode_error
from asset_worker.api.client import AssetsApi
from asset_worker.api.errors import ApiError, MalformedAnswerError
from asset_worker.api.gate import Gate
from asset_worker.api.key import ApiKey
from asset_worker.api.limits.rate_limit_headers import (
    LONGEST_RESET_SECONDS,
    LONGEST_RETRY_AFTER_SECONDS,
    MAX_QUOTAS,
    parse_rate_limits,
)
from asset_worker.api.limits.server_clock import ServerClock, parse_by_clocks
from asset_worker.api.retry import Retries
from asset_worker.api.session import open_session
from asset_worker.domain.assets import (
    ASSET_ID,
    Ages,
    Asset,
    AssetId,
    Done,
    Expectations,
    MalformedAssetError,
    Outcome,
    Waiting,
    assess,
    asset_from,
)
from asset_worker.domain.events import Event, Times, completed, rejected
from asset_worker.domain.submissions import Options, Rejection, Submission
from asset_worker.intake.lines import parse
from asset_worker.intake.splitter import LINE_BYTES_LIMIT, LineSplitter
from asset_worker.runtime.redaction import Secrets
from asset_worker.runtime.stop import Stop
from asset_worker.schedule.learned import LearnedState, UnreadableState, from_bytes, to_bytes
from tests.doubles.clocks import ManualClock
from tests.doubles.virtual_time import run_virtually

ID = AssetId("6298d673f1090f1100476d4c")
OTHER_ID = AssetId("7" * 24)
BASE = "https://api.example.com/v1.3"
BOM = b"\xef\xbb\xbf"

pytestmark = pytest.mark.timeout(600)  # for the thorough profile on a busy machine

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)
statuses = st.sampled_from(["processing", "ready", "failed", "pending", "error", "archived", ""])
renditions = values | st.fixed_dictionaries({"status": statuses | values})
assets = st.fixed_dictionaries(
    {},
    optional={
        "_id": values | st.just(ID),
        "status": statuses | values,
        "hls": renditions,
        "thumbnail": renditions,
        "error": values | st.fixed_dictionaries({"message": values}),
        "file_type": values,
        "method": values,
    },
)


@given(values | assets)
def test_any_document_is_an_asset_or_malformed(document):
    try:
        asset = asset_from(document)
    except MalformedAssetError:
        return
    assert isinstance(asset, Asset)
    assert document["_id"] == asset.id
    assert isinstance(assess(asset, Expectations(), Ages(1e9, 1e9)), Done)
    assert isinstance(assess(asset, Expectations(), Ages(0.0, 0.0)), Done | Waiting)


@given(st.binary(max_size=300))
def test_any_bytes_are_what_was_learned_or_unreadable(kept):
    assert isinstance(from_bytes(kept), LearnedState | UnreadableState)


@given(st.integers(0, 40), st.binary(min_size=1, max_size=3))
def test_what_was_learned_with_a_few_bytes_changed_is_no_error(place, changed):
    kept = bytearray(to_bytes(LearnedState(price=1.5)))
    place %= len(kept)
    kept[place : place + len(changed)] = changed
    assert isinstance(from_bytes(bytes(kept)), LearnedState | UnreadableState)


# What the API answers

numbers = st.one_of(
    st.integers().map(str),
    st.integers(0, 5_000).map(lambda digits: "9" * digits),
    st.from_regex(r"-?[0-9]{1,25}(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,4})?", fullmatch=True),
).map(str.encode)


def written(value: object) -> bytes:
    """As Python writes it: with NaN and lone surrogates, which JSON has not."""
    return json.dumps(value, ensure_ascii=False).encode(errors="surrogatepass")


def nested(levels: int, inner: bytes) -> bytes:
    return b'{"a":[' * (levels // 2) + inner + b"]}" * (levels // 2)


levels = st.integers(0, 600) | st.sampled_from([99, 100, 101, 5_000])
odd_values = st.one_of(
    numbers,
    values.map(written),
    st.text(max_size=20).map(json.dumps).map(str.encode),
    st.builds(nested, levels, numbers),
    st.binary(max_size=20),
)
well_typed_assets = st.fixed_dictionaries(
    {"_id": st.sampled_from([ID, ID.upper(), OTHER_ID]), "status": statuses | st.text(max_size=9)},
    optional={
        "hls": st.fixed_dictionaries({"status": statuses}),
        "thumbnail": st.fixed_dictionaries({"status": statuses}),
        "error": st.fixed_dictionaries({"message": st.text() | st.none()}),
        "file_type": st.text(max_size=9),
    },
)
asset_bodies = st.builds(
    lambda document, odd: written(document)[:-1] + b',"odd":' + odd + b"}", well_typed_assets | assets, odd_values
)
list_bodies = st.lists(asset_bodies | odd_values, max_size=4).map(lambda each: b'{"data":[' + b",".join(each) + b"]}")
error_bodies = st.builds(
    lambda code, odd: b'{"code":"%s","message":%s}' % (code, odd),
    st.sampled_from([b"parameter_invalid", b"resource_not_exist", b""]),
    odd_values,
)
broken_bodies = st.binary(max_size=200) | odd_values
cut_bodies = st.builds(lambda body, share: body[: int(len(body) * share)], asset_bodies | list_bodies, st.floats(0, 1))

header_values = st.one_of(
    st.integers(-10, 10**13).map(str),
    st.floats().map(str),
    # As aiohttp decodes what is no UTF-8.
    st.binary(max_size=60).map(lambda value: value.decode(errors="surrogateescape")),
    st.text(max_size=60),
    st.from_regex(r'("[a-z]*";[rtqw]=[0-9.-]{1,20}(;[rtqw]=[0-9]{1,20})?,? ?){1,4}', fullmatch=True),
    st.from_regex(
        r"(Wed, )?[0-9]{1,3} (Jan|Xyz) [0-9]{1,9} [0-9]{1,3}:[0-9]{2}:[0-9]{2} [+-]?[0-9A-Z]{3,9}", fullmatch=True
    ),
)
header_names = st.sampled_from(
    ["Retry-After", "Date", "RateLimit", "ratelimit-policy", "RATELIMIT-RESET", "Content-Encoding"]
    + [f"X-Ratelimit-{part}" for part in ("Limit", "Remaining", "Reset", "Used")]
)
headers = st.dictionaries(header_names | header_names | header_names | st.text(max_size=20), header_values, max_size=6)
answer_statuses = st.just(200) | st.sampled_from([204, 206, 302, 400, 401, 403, 404, 408, 429, 500, 503, 599])


async def answered(
    ask: Callable[[AssetsApi], Awaitable[object]], status: int, headers: Mapping[str, str], body: bytes
) -> object:
    """What one attempt makes of an answer."""
    stop, secrets = Stop(), Secrets()
    stop.set("one attempt")
    key = ApiKey(value="tlk_4F2SECRET", file=None, on_read=secrets.add)
    clock = ManualClock()
    clock.wall = 1_795_442_400.0
    gate = Gate(clock=clock, requests_per_second=0, concurrency=20, share=1.0)
    async with open_session(BASE, total_timeout=10) as session:
        api = AssetsApi(session, BASE, key, gate, Retries(stop), redact=secrets.redact)
        with aioresponses() as server:
            server.get(re.compile(".*"), status=status, headers=headers, body=body)
            return await ask(api)


@given(answer_statuses, headers, asset_bodies | error_bodies | broken_bodies | cut_bodies)
def test_any_answer_about_an_asset_is_one_or_an_error_of_ours(status, headers, body):
    with suppress(ApiError):
        asset = run_virtually(answered(lambda api: api.retrieve(ID), status, headers, body))
        assert isinstance(asset, Asset)
        assert (asset.id.lower(), status) == (ID, 200)


@given(answer_statuses, headers, list_bodies | error_bodies | broken_bodies | cut_bodies)
def test_any_answer_to_a_list_is_one_or_an_error_of_ours(status, headers, body):
    with suppress(ApiError):
        found = run_virtually(answered(lambda api: api.list_assets([ID]), status, headers, body))
        assert isinstance(found, dict)
        assert found.keys() <= {ID}
        assert status == 200


@given(asset_bodies | broken_bodies | cut_bodies)
def test_any_bytes_are_an_asset_or_malformed(body):
    with suppress(ApiError, MalformedAssetError):
        assert isinstance(asset_from(decode_body(body).document), Asset)


@given(error_bodies | broken_bodies)
@example(b'{"error":' * 20_000)
@example(b'{"message":"\xff"}')
def test_any_body_of_an_error_is_read(body):
    error = decode_error(body)
    assert error.code is None or isinstance(error.code, str)
    assert error.message is None or isinstance(error.message, str)


def at_depth(frames: int, call: Callable[[], Event]) -> Event:
    """What `call` returns with this many more frames on the stack."""
    return at_depth(frames - 1, call) if frames else call()


def completion_event(asset: Asset, outcome: Outcome = Outcome.READY, reason: str | None = None) -> Event:
    return completed(
        Submission(ID, "stdin", 1),
        Done(outcome, reason),
        asset=asset,
        completion=1,
        times=Times(submitted=0.0, seen=1.0),
        polls=1,
        redact=Secrets().redact,
        source="s",
    )


@given(asset_bodies, st.sampled_from(Outcome), st.text() | st.none())
def test_any_asset_makes_an_event_of_one_line(body, outcome, reason):
    try:
        asset = asset_from(decode_body(body).document)
    except (MalformedAnswerError, MalformedAssetError):
        return
    event = completion_event(asset, outcome, reason)
    assert b"\n" not in event.body
    assert b"\r" not in event.body
    data = msgspec.json.decode(event.body)["data"]
    assert (data["asset"], data["reason"]) == (asset.document, reason)
    assert data["renditions"] == {name: asset.renditions.get(name) for name in ("hls", "thumbnail")}


def decodes(body: bytes) -> bool:
    try:
        msgspec.json.decode(body)
    except RecursionError:
        return False
    return True


@pytest.mark.parametrize("frames", [0, 50, 200])
def test_an_asset_that_nests_as_deeply_as_can_be_decoded_makes_an_event(frames):
    """However much deeper the stack is when the event is made."""

    def body(levels: int) -> bytes:
        return b'{"_id":"%s","status":"ready","odd":%s}' % (ID.encode(), b"[" * levels + b"]" * levels)

    deepest = bisect_left(range(100_000), True, key=lambda levels: not decodes(body(levels)))
    for levels in {*range(max(0, deepest - 300), deepest + 10, 7), *range(0, min(deepest, 1_000), 50)}:
        try:
            asset = asset_from(decode_body(body(levels)).document)
        except (MalformedAnswerError, MalformedAssetError):
            continue
        assert at_depth(frames, partial(completion_event, asset)).body
    assert asset_from(decode_body(body(50)).document).status == "ready"


@given(headers, st.floats(0, 4e9), st.floats(0, 1e6), st.floats(0, 100))
def test_any_headers_are_read_within_bounds(headers, server_now, now, took):
    report = parse_rate_limits(headers, server_now=server_now)
    assert len(report.quotas) <= MAX_QUOTAS
    assert report.requested_wait is None or 0 <= report.requested_wait <= LONGEST_RETRY_AFTER_SECONDS
    assert all(0 < quota.reset_in <= LONGEST_RESET_SECONDS for quota in report.quotas)
    assert all(quota.remaining >= 0 and quota.limit >= 1 for quota in report.quotas)
    clock = ServerClock()
    for date in headers.values():
        clocks = clock.read(date, now=now + took, own=server_now, took=took)
        assert all(map(math.isfinite, clocks))
        assert parse_by_clocks(headers, clocks).requested_wait in {
            parse_rate_limits(headers, server_now=each).requested_wait for each in clocks
        }


# What stands in a queue file

object_lines = st.builds(
    lambda left, odd, right: b'{"asset_id":"a1",' + left + b'"metadata":{"a":' + odd + b"}," + right + b"}",
    st.just(b"") | st.binary(max_size=20),
    odd_values,
    st.sampled_from(
        [b'"deadline":' + b"9" * 400, b'"deadline":"1h"', b'"not_found_grace":"1d"', b'"traceparent":"00-"']
    ),
)
queue_lines = st.one_of(
    st.binary(max_size=100),
    object_lines,
    st.sampled_from([ID.encode(), b"# comment", BOM + b"a1", b"a1" + b" " * LINE_BYTES_LIMIT, b"\xe2\x82" * 600]),
    st.tuples(st.binary(min_size=1, max_size=3), st.integers(0, 70_000)).map(lambda each: each[0] * each[1]),
)


@given(
    st.lists(queue_lines, max_size=4), st.sampled_from([b"\n", b"\r\n"]), st.lists(st.integers(0, 1_000), max_size=3)
)
@example([b"a1" + b" " * 70_000], b"\n", [])
@example([b'{"asset_id":"a1","metadata":' + nested(6_000, b"0") + b"}"], b"\n", [])
@example([b"x" * 1023 + b"\xe2\x82"], b"\n", [])
def test_any_bytes_in_a_queue_file_are_submissions_or_rejections_that_make_an_event(lines, ending, cuts):
    data = ending.join(lines)
    edges = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    splitter = LineSplitter(0)
    found = [line for start, end in pairwise(edges) for line in splitter.feed(data[start:end])]
    found += splitter.finish()
    assert [line.offset for line in found[1:]] == [line.end for line in found[:-1]]
    for number, line in enumerate(found, start=1):
        what = parse(line, number=number, origin="file:/spool/queue", stream="1:2")
        match what:
            case Submission():
                assert ASSET_ID.fullmatch(what.asset_id)
                kept = msgspec.json.encode(what.options)
                assert msgspec.json.decode(kept, type=Options | None) == what.options
            case Rejection():
                event = rejected(what, at=0.0, source="s")
                assert b"\n" not in event.body
                shown = msgspec.json.decode(event.body)["data"]["line"]
                assert len(shown.encode()) <= 1024
            case None:
                assert not line.too_long
