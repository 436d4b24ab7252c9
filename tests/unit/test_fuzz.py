"""Whatever comes in, no error goes out that isn't ours."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from worker.api.client import _told_error
from worker.assets import Ages, Asset, Done, Expectations, MalformedAssetError, Waiting, assess, asset_from
from worker.schedule.memory import Learned, Unreadable, from_bytes, to_bytes

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
)
statuses = st.sampled_from(["processing", "ready", "failed", "pending", "error", "archived", ""])
renditions = values | st.fixed_dictionaries({"status": statuses | values})
assets = st.fixed_dictionaries(
    {},
    optional={
        "_id": values | st.just("6298d673f1090f1100476d4c"),
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


@given(st.binary(max_size=200) | values.map(lambda value: msgspec.json.encode(value, enc_hook=str)))
def test_any_body_of_an_error_is_read(body):
    told = _told_error(body)
    assert told.code is None or isinstance(told.code, str)


@given(st.binary(max_size=300))
def test_any_bytes_are_what_was_learned_or_unreadable(kept):
    assert isinstance(from_bytes(kept), Learned | Unreadable)


@given(st.integers(0, 40), st.binary(min_size=1, max_size=3))
def test_what_was_learned_with_a_few_bytes_changed_is_no_error(place, changed):
    kept = bytearray(to_bytes(Learned(price=1.5)))
    place %= len(kept)
    kept[place : place + len(changed)] = changed
    assert isinstance(from_bytes(bytes(kept)), Learned | Unreadable)
