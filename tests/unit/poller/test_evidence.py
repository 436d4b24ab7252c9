"""What a list's document is worth, and whether a retrieve agrees with it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset_worker.domain.assets import Expectations, Missing, WaitFor, asset_from
from asset_worker.domain.progress import LastSeen, Progress
from asset_worker.poller.decide import Settle
from asset_worker.poller.evidence import (
    Shape,
    Worth,
    agree_on_state,
    difference,
    identity_of,
    is_behind,
    is_older,
    shape_of,
    worth_of,
)
from tests.doubles.looks import ID, NOW, decided, lease, seen

HLS = {"status": "ready", "manifest_url": "https://x/m"}
BORN = {"created_at": "2026-11-24T10:00:00Z", "filename": "a.mp4", "file_type": "video/mp4", "method": "direct"}
DONE = seen("ready", hls=HLS, thumbnail={"status": "ready", "representative_url": "https://x/t"}, **BORN)
IGNORING = Expectations(wait_for={"hls": WaitFor.IGNORE, "thumbnail": WaitFor.IGNORE})


def without(asset, *keys):
    return asset_from({key: value for key, value in asset.document.items() if key not in keys})


def changed(asset, **fields):
    return asset_from(asset.document | fields)


def worth(listed, before=None, *, age=10.0, ready_age=None, expectations=None, steps=()):
    before = before or Progress()
    expectations = expectations or Expectations()
    found = lease(age=age, ready_age=ready_age, progress=before)
    step = decided(found, listed, is_retrieve=False, expectations=expectations)
    return worth_of(listed, before, step.progress, expectations, is_over=isinstance(step, Settle), steps=steps, now=NOW)


def known(asset, **more):
    """The progress after a look at this asset."""
    return Progress(
        polls=1,
        last_seen=LastSeen(asset.status, asset.renditions, asset.file_type, asset.method),
        identity=identity_of(asset),
        **more,
    )


PROCESSING = seen(**BORN)
WAITING_FOR_HLS = seen("ready", hls={"status": "processing"}, **BORN)


@pytest.mark.parametrize(
    ("listed", "before", "expected"),
    [
        pytest.param(PROCESSING, None, Worth.STATE, id="first look, in process"),
        pytest.param(DONE, None, Worth.END, id="first look, done"),
        pytest.param(seen("failed", error={"message": "no"}), None, Worth.END, id="first look, failed"),
        pytest.param(seen("queued"), None, Worth.STATE, id="unknown status"),
        pytest.param(Missing(), None, Worth.DOUBTFUL, id="left out"),
        pytest.param(Missing(), known(PROCESSING), Worth.DOUBTFUL, id="left out after it was shown"),
        pytest.param(Missing(), Progress(last_seen=LastSeen("missing")), Worth.STATE, id="left out again"),
        pytest.param(DONE, known(PROCESSING), Worth.END, id="done after a look"),
        pytest.param(PROCESSING, known(DONE), Worth.DOUBTFUL, id="status taken back"),
        pytest.param(
            PROCESSING,
            Progress(last_seen=LastSeen("missing", was="ready"), identity=identity_of(DONE)),
            Worth.DOUBTFUL,
            id="status taken back after it was missing",
        ),
        pytest.param(seen("failed", **BORN), known(DONE), Worth.DOUBTFUL, id="failed after ready"),
        pytest.param(without(DONE, "hls"), known(WAITING_FOR_HLS), Worth.DOUBTFUL, id="rendition gone"),
        pytest.param(WAITING_FOR_HLS, known(DONE), Worth.DOUBTFUL, id="rendition gone, another taken back"),
        pytest.param(
            changed(DONE, hls={"status": "processing"}), known(DONE), Worth.DOUBTFUL, id="rendition taken back"
        ),
        *(
            pytest.param(changed(DONE, **{name: value}), known(PROCESSING), Worth.DOUBTFUL, id=f"another {name}")
            for name, value in {
                "created_at": "2026-11-24T10:00:01Z",
                "filename": "b.mp4",
                "file_type": "video/quicktime",
                "method": "url",
            }.items()
        ),
        pytest.param(
            changed(PROCESSING, filename="b.mp4"), known(PROCESSING), Worth.DOUBTFUL, id="another asset, in process"
        ),
        pytest.param(
            changed(DONE, created_at="2026-11-24T11:00:00.000+01:00"), known(PROCESSING), Worth.END, id="same instant"
        ),
        pytest.param(
            changed(DONE, created_at="2026-11-24T10:00:00.417Z"), known(PROCESSING), Worth.END, id="same second"
        ),
        pytest.param(WAITING_FOR_HLS, None, Worth.STATE, id="rendition in process"),
    ],
)
def test_what_a_document_is_worth(listed, before, expected):
    assert worth(listed, before) is expected


@pytest.mark.parametrize(
    ("listed", "ages"),
    [
        pytest.param(PROCESSING, {"age": 14400.0}, id="timed_out"),
        pytest.param(WAITING_FOR_HLS, {"age": 5000.0, "ready_age": 3600.0}, id="degraded, late"),
        pytest.param(Missing(), {"age": 61.0}, id="not_found"),
    ],
)
def test_an_outcome_that_a_deadline_makes_needs_a_retrieve(listed, ages):
    before = Progress(last_seen=LastSeen("missing")) if isinstance(listed, Missing) else known(listed)
    assert worth(listed, before, **ages) is Worth.DOUBTFUL


@pytest.mark.parametrize(("ready_for", "expected"), [(359.0, Worth.STATE), (360.0, Worth.DOUBTFUL)])
def test_after_a_tenth_of_the_deadline_of_renditions_a_retrieve_must_have_shown_ready(ready_for, expected):
    before = known(WAITING_FOR_HLS, ready_at=NOW - ready_for)
    assert worth(WAITING_FOR_HLS, before, age=5000.0, ready_age=ready_for) is expected
    certain = known(WAITING_FOR_HLS, ready_at=NOW - ready_for, ready_is_certain=True)
    assert worth(WAITING_FOR_HLS, certain, age=5000.0, ready_age=ready_for) is Worth.STATE


@pytest.mark.parametrize("limit", ["deadline", "rendition_deadline"])
def test_a_deadline_of_less_than_a_second_ends_no_wait_that_goes_on(limit):
    expectations = Expectations(**{limit: 0.5})
    assert worth(WAITING_FOR_HLS, age=0.2, expectations=expectations) is Worth.STATE


def test_renditions_that_are_not_awaited_hold_up_nothing():
    assert worth(WAITING_FOR_HLS, expectations=IGNORING) is Worth.END


@pytest.mark.parametrize(
    ("retrieved", "why"),
    [
        pytest.param(DONE, None, id="same"),
        pytest.param(changed(DONE, hls=HLS | {"status": "error"}), "hls error", id="other outcome"),
        pytest.param(changed(DONE, status="processing"), "the retrieve processing", id="not done"),
        pytest.param(changed(DONE, hls={"status": "processing"}), "hls processing", id="rendition not done"),
        pytest.param(Missing(), "the retrieve did not", id="missing"),
        pytest.param(changed(DONE, size=1, duration=2), "lacked duration, size", id="keys"),
        pytest.param(changed(DONE, user_metadata={}), "lacked user_metadata", id="the user's own"),
        pytest.param(changed(DONE, hls=HLS | {"codec": "x"}), "lacked hls.codec", id="keys of a rendition"),
        pytest.param(changed(DONE, error=None), "lacked error", id="key without a value"),
        pytest.param(changed(DONE, filename="b.mp4"), "another asset", id="another asset"),
    ],
)
def test_in_what_a_list_was_wrong(retrieved, why):
    found = difference(DONE, retrieved, Expectations())
    assert found is None if why is None else why in str(found)


def test_a_rendition_without_a_value_is_lacking():
    listed = changed(DONE, hls=None)
    assert difference(listed, DONE, Expectations()) == "the list lacked hls"
    assert difference(listed, listed, Expectations()) is None


def test_a_list_may_show_more_than_a_retrieve():
    assert difference(changed(DONE, size=1), DONE, Expectations()) is None


def test_the_reason_of_a_failure_must_be_the_same():
    failed, otherwise = (seen("failed", error={"message": text}) for text in ("no", "not at all"))
    assert difference(failed, failed, Expectations()) is None
    assert difference(failed, otherwise, Expectations()) is not None


def test_a_rendition_that_is_not_awaited_may_have_moved_on():
    assert difference(WAITING_FOR_HLS, without(DONE, "thumbnail"), IGNORING) is None
    assert difference(WAITING_FOR_HLS, DONE, IGNORING) == "the list lacked thumbnail"


@pytest.mark.parametrize(
    ("listed", "retrieved"),
    [
        pytest.param(
            seen("failed", hls={"status": "ready"}), seen("failed", hls={"status": "ready", "codec": "x"}), id="failed"
        ),
        pytest.param(DONE, changed(DONE, hls="ready"), id="a rendition that is only its status"),
        pytest.param(WAITING_FOR_HLS, WAITING_FOR_HLS, id="it waits on"),
        pytest.param(
            changed(WAITING_FOR_HLS, thumbnail={"status": "ready"}),
            changed(WAITING_FOR_HLS, thumbnail={"status": "ready"}),
            id="it waits on, and a rendition has ended",
        ),
    ],
)
def test_a_list_is_right_although_the_documents_differ_in_what_nobody_waits_for(listed, retrieved):
    assert difference(listed, retrieved, Expectations()) is None


def test_at_most_five_lacking_keys_are_named():
    more = {f"key-{number}": 1 for number in range(9)}
    assert str(difference(DONE, changed(DONE, **more), Expectations())).count("key-") == 5


def test_a_shape_is_made_of_type_status_renditions_and_keys():
    shape = shape_of(DONE)
    assert shape == shape_of(changed(DONE, _id="a" * 24, filename="b.mp4", file_type="video/quicktime"))
    assert shape == shape_of(changed(DONE, user_metadata={"a": 1}))
    others = [
        changed(DONE, file_type="image/png"),
        changed(DONE, status="failed"),
        changed(DONE, hls=HLS | {"status": "error"}),
        changed(DONE, hls={"status": "ready"}),
        changed(DONE, size=1),
        without(DONE, "thumbnail"),
    ]
    assert len({shape, *map(shape_of, others)}) == 1 + len(others)


def test_an_asset_without_a_type_has_a_shape_without_a_kind():
    assert shape_of(seen("ready")) == Shape("", "ready", (), frozenset({"_id", "status"}))


def test_the_text_of_a_shape_names_all_of_it():
    asset = asset_from({"_id": ID, "status": "ready", "file_type": "Image/PNG", "hls": {"status": "error"}})
    assert str(shape_of(asset)) == "image ready, hls error with _id file_type hls hls.status status"


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"hls": "ready"}, id="odd"),
        pytest.param({f"key-{number}": 1 for number in range(65 - len(DONE.document))}, id="too many keys"),
        pytest.param({"hls": HLS | {f"key-{number}": 1 for number in range(63)}}, id="too many keys of a rendition"),
        pytest.param({"k" * 65: 1}, id="too long a key"),
    ],
)
def test_what_is_odd_has_no_shape(fields):
    assert shape_of(changed(DONE, **fields)) is None


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({f"key-{number}": 1 for number in range(64 - len(DONE.document))}, id="keys"),
        pytest.param({"hls": HLS | {f"key-{number}": 1 for number in range(62)}}, id="keys of a rendition"),
        pytest.param({"k" * 64: 1}, id="characters of a key"),
    ],
)
def test_what_has_as_much_as_a_shape_may_have_has_one(fields):
    assert shape_of(changed(DONE, **fields)) is not None


@pytest.mark.parametrize(
    "created_at", ["", "yesterday", "9999-99-99", None, 7, ["x"], "\ud800", "0001-01-01T00:00:00Z"]
)
def test_an_identity_can_be_made_of_any_document(created_at):
    assert 0 <= identity_of(changed(DONE, created_at=created_at, filename="\ud800")) < 2**30


STATUS = st.sampled_from(["processing", "ready", "failed", "new"])
RENDITION = st.none() | st.sampled_from(["pending", "processing", "ready", "error", "new"])


@st.composite
def assets(draw):
    renditions = {name: draw(RENDITION) for name in ("hls", "thumbnail")}
    return seen(draw(STATUS), **{name: {"status": status} for name, status in renditions.items() if status})


@given(assets(), assets())
def test_no_state_is_older_than_itself_and_agreeing_is_mutual(one, other):
    state = LastSeen(one.status, one.renditions)
    assert not is_older(state, LastSeen(one.status, one.renditions))
    assert agree_on_state(one, one)
    assert agree_on_state(one, other) == agree_on_state(other, one)


@given(assets(), assets())
def test_what_agrees_gives_the_same_outcome(one, other):
    if worth(one) is Worth.END and difference(one, other, Expectations()) is None:
        assert worth(other) is Worth.END
        assert decided(lease(), one).verdict == decided(lease(), other).verdict


def test_the_document_of_another_asset_is_neither_behind_nor_in_agreement():
    another = changed(PROCESSING, filename="b.mp4")
    assert is_behind(PROCESSING, DONE)
    assert not is_behind(another, DONE)
    assert not is_behind(DONE, PROCESSING)
    assert agree_on_state(PROCESSING, PROCESSING)
    assert not agree_on_state(another, PROCESSING)


def test_an_asset_that_one_of_both_leaves_out_is_neither_behind_nor_in_agreement():
    assert not is_behind(Missing(), DONE)
    assert not agree_on_state(Missing(), DONE)
    assert not agree_on_state(DONE, Missing())
    assert agree_on_state(Missing(), Missing())


def test_what_was_never_seen_is_older_than_nothing():
    assert not is_older(None, LastSeen("ready"))
    assert not is_older(LastSeen("ready"), None)


@pytest.mark.parametrize(
    ("steps", "before", "expected"),
    [
        pytest.param((), None, Worth.STATE, id="no new step"),
        pytest.param(("processed",), None, Worth.STEP, id="a new step"),
        pytest.param(("processed",), known(DONE), Worth.DOUBTFUL, id="a new step, and a rendition taken back"),
        pytest.param(("overdue",), None, Worth.DOUBTFUL, id="overdue"),
        pytest.param(("playable", "overdue"), None, Worth.DOUBTFUL, id="a step, and overdue"),
    ],
)
def test_a_step_is_worth_what_its_shape_has_proved_and_overdue_needs_a_retrieve(steps, before, expected):
    assert worth(WAITING_FOR_HLS, before, steps=steps) is expected


def test_a_step_that_ends_the_wait_is_worth_an_end():
    assert worth(DONE, steps=("playable",)) is Worth.END


@pytest.mark.parametrize(
    ("retrieved", "why"),
    [
        pytest.param(WAITING_FOR_HLS, None, id="the same"),
        pytest.param(DONE, None, id="moved on to the end"),
        pytest.param(changed(WAITING_FOR_HLS, hls={"status": "error"}), None, id="moved on to an error"),
        pytest.param(PROCESSING, "the list showed ready, hls processing, and the retrieve processing", id="not ready"),
        pytest.param(Missing(), "the list showed the asset, and the retrieve did not", id="missing"),
        pytest.param(changed(WAITING_FOR_HLS, size=1), "the list lacked size", id="lacks a key"),
        pytest.param(
            changed(WAITING_FOR_HLS, filename="b.mp4"), "the list showed the document of another asset", id="another"
        ),
    ],
)
def test_a_retrieve_agrees_about_a_step_if_it_takes_nothing_back(retrieved, why):
    assert difference(WAITING_FOR_HLS, retrieved, Expectations()) == why


def test_a_rendition_that_has_ended_in_another_way_disagrees():
    listed = changed(WAITING_FOR_HLS, thumbnail={"status": "ready"})
    retrieved = changed(WAITING_FOR_HLS, thumbnail={"status": "error"})
    assert difference(listed, retrieved, Expectations()) is not None
