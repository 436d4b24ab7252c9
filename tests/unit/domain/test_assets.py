"""`assess`: every combination of the three statuses, the expectations and the ages."""

from itertools import product

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset_worker.domain.assets import (
    NEVER_SHOWN,
    Ages,
    Asset,
    Done,
    Expectations,
    MalformedAssetError,
    Missing,
    Outcome,
    Unanswered,
    WaitFor,
    Waiting,
    assess,
    asset_from,
    asset_id,
    has_usual_form,
)

EXPECTATIONS = Expectations()
YOUNG, OLD = 10.0, 14400.0
STATUSES = ["processing", "ready", "failed", "queued"]
RENDITIONS = [None, "pending", "processing", "ready", "error", "transcoding"]


def asset(status="processing", hls=None, thumbnail=None, error=None):
    return Asset(
        id=asset_id("6298d673f1090f1100476d4c"),
        status=status,
        renditions={name: status for name, status in (("hls", hls), ("thumbnail", thumbnail)) if status is not None},
        error=error,
        file_type="video/mp4",
        method="direct",
        document={},
    )


def expected_outcome(status, hls, thumbnail, wait_hls, wait_thumbnail, accepted, ready):
    """The rules of the outcomes, said a second time as plainly as can be."""
    if status == "failed":
        return Outcome.FAILED
    if status != "ready":
        return Outcome.TIMED_OUT if accepted >= 14400 else None
    awaited = [
        state
        for state, wait_for in ((hls, wait_hls), (thumbnail, wait_thumbnail))
        if wait_for == "required" or (wait_for == "if_requested" and state is not None)
    ]
    unfinished = [state for state in awaited if state not in ("ready", "error")]
    if not unfinished:
        return Outcome.DEGRADED if "error" in awaited else Outcome.READY
    if ready >= 3600:
        return Outcome.DEGRADED
    if accepted >= 14400:
        return Outcome.DEGRADED if "error" in awaited else Outcome.TIMED_OUT
    return None


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("accepted", [0.0, YOUNG, 14399.9, OLD, OLD * 9])
def test_every_combination_has_the_outcome_that_the_rules_give(status, accepted):
    """2,880 combinations a status: renditions × expectations × ages."""
    for hls, thumbnail, wait_hls, wait_thumbnail, ready in product(
        RENDITIONS, RENDITIONS, WaitFor, WaitFor, [None, 0.0, 3599.9, 3600.0]
    ):
        expectations = Expectations(wait_for={"hls": wait_hls, "thumbnail": wait_thumbnail})
        verdict = assess(asset(status, hls, thumbnail), expectations, Ages(accepted, ready))
        expected = expected_outcome(status, hls, thumbnail, wait_hls, wait_thumbnail, accepted, ready or 0.0)
        found = verdict.outcome if isinstance(verdict, Done) else None
        assert found == expected, (status, hls, thumbnail, wait_hls, wait_thumbnail, accepted, ready)
        if isinstance(verdict, Waiting):
            assert verdict.decides_in > 0
            assert verdict.on


@pytest.mark.parametrize(
    ("observation", "accepted", "outcome"),
    [
        pytest.param(Missing(), 0.0, None, id="404 at once: the upload races ahead"),
        pytest.param(Missing(), 59.9, None, id="404 within the grace"),
        pytest.param(Missing(), 60.0, Outcome.NOT_FOUND, id="404 past the grace"),
        pytest.param(Missing(refused="bad"), 0.0, Outcome.NOT_FOUND, id="the ID is refused"),
        pytest.param(Unanswered("503"), 0.0, None, id="no answer says nothing"),
        pytest.param(Unanswered("503"), 14400.0, None, id="no answer at the deadline says nothing yet"),
        pytest.param(Unanswered("503"), 28800.0, Outcome.TIMED_OUT, id="no answer for two deadlines ends the wait"),
    ],
)
def test_a_look_without_an_asset(observation, accepted, outcome):
    verdict = assess(observation, EXPECTATIONS, Ages(accepted))
    assert (verdict.outcome if isinstance(verdict, Done) else None) == outcome


@pytest.mark.parametrize(
    ("accepted", "missing", "expected"),
    [
        pytest.param(0.0, None, 60.0, id="never seen, at once"),
        pytest.param(59.9, None, 60 - 59.9, id="never seen, within the grace"),
        pytest.param(60.0, None, Outcome.NOT_FOUND, id="never seen, the grace is over"),
        pytest.param(60.0, 0.0, 60.0, id="just gone, old enough for one never seen"),
        pytest.param(59.9, 59.9, 60 - 59.9, id="gone since it was accepted, within the grace"),
        pytest.param(500.0, 0.0, 60.0, id="just gone"),
        pytest.param(500.0, 59.9, 60 - 59.9, id="gone, within the grace"),
        pytest.param(500.0, 60.0, Outcome.NOT_FOUND, id="gone for the grace"),
        pytest.param(14399.0, 0.0, 1.0, id="just gone, and the deadline is nearer than the grace"),
        pytest.param(14400.0, None, Outcome.NOT_FOUND, id="never seen until the deadline"),
        pytest.param(14400.0, 0.0, Outcome.TIMED_OUT, id="just gone, at the deadline"),
        pytest.param(14400.0, 59.9, Outcome.TIMED_OUT, id="gone, within the grace, at the deadline"),
        pytest.param(14400.0, 60.0, Outcome.NOT_FOUND, id="gone for the grace, at the deadline"),
    ],
)
def test_one_that_is_missing_has_the_grace_from_acceptance_or_since_it_was_missed(accepted, missing, expected):
    verdict = assess(Missing(), EXPECTATIONS, Ages(accepted, missing=missing))
    if isinstance(expected, Outcome):
        assert isinstance(verdict, Done)
        assert verdict.outcome == expected
        assert verdict.reason is not None
        if expected is Outcome.NOT_FOUND:
            never_seen = "after acceptance (wrong ID, deleted, or another account's)"
            assert verdict.reason.endswith("found missing (deleted)" if missing is not None else never_seen)
    else:
        assert verdict == Waiting(("visibility",), expected)


@pytest.mark.parametrize(("accepted", "expected"), [(9.0, Waiting(("visibility",), 1.0)), (10.0, Outcome.TIMED_OUT)])
def test_a_deadline_shorter_than_the_grace_ends_the_wait_for_one_that_is_missing(accepted, expected):
    verdict = assess(Missing(), Expectations(deadline=10, not_found_grace=60), Ages(accepted))
    assert (verdict.outcome if isinstance(verdict, Done) else verdict) == expected


@pytest.mark.parametrize(
    ("factor", "accepted", "decides_in"),
    [
        pytest.param(2.0, 0.0, 14400.0, id="at once"),
        pytest.param(2.0, 14390.0, 10.0, id="before the deadline: an answer could decide then"),
        pytest.param(2.0, 14400.0, 14400.0, id="at the deadline: only the unanswered deadline can"),
        pytest.param(2.0, 28790.0, 10.0, id="past the deadline"),
        pytest.param(1.0, 14390.0, 10.0, id="no time beyond the deadline"),
    ],
)
def test_without_an_answer_the_next_look_is_due_when_one_could_decide(factor, accepted, decides_in):
    verdict = assess(Unanswered("503"), Expectations(unanswered_factor=factor), Ages(accepted))
    assert verdict == Waiting(("answer",), decides_in)


def test_with_a_factor_of_1_the_deadline_ends_a_wait_without_an_answer():
    verdict = assess(Unanswered("503"), Expectations(unanswered_factor=1.0), Ages(14400.0))
    assert verdict == Done(Outcome.TIMED_OUT, "no answer about it 14400 s after acceptance: 503")


def test_an_asset_that_alone_is_denied_is_not_found_after_the_grace_and_no_sooner():
    """For however long it has been pending."""
    why = "403 no_access"
    for age in (60.0, 14000.0):
        verdict = assess(Unanswered(why, denied_for=58.0), EXPECTATIONS, Ages(age))
        assert verdict == Waiting(("answer",), 2.0)
        verdict = assess(Unanswered(why, denied_for=60.0), EXPECTATIONS, Ages(age))
        assert verdict == Done(Outcome.NOT_FOUND, "denied for 60 s or more while others were answered: 403 no_access")


def test_a_failed_asset_has_the_apis_reason_and_waits_for_no_rendition():
    verdict = assess(asset("failed", hls="processing", error="codec not supported"), EXPECTATIONS, Ages(1.0))
    assert verdict == Done(Outcome.FAILED, "codec not supported")


def test_a_degraded_asset_says_which_rendition_broke():
    verdict = assess(asset("ready", hls="error", thumbnail="ready"), EXPECTATIONS, Ages(1.0, 0.0))
    assert verdict == Done(Outcome.DEGRADED, "hls ended in error")


def test_a_broken_rendition_does_not_hide_how_the_other_ends():
    """There is one event for each asset, so it waits until both have ended."""
    verdict = assess(asset("ready", hls="error", thumbnail="processing"), EXPECTATIONS, Ages(1.0, 0.0))
    assert verdict == Waiting(("thumbnail",), 3600.0)


def test_the_wait_is_decided_by_the_earlier_deadline():
    assert assess(asset("ready", hls="pending"), EXPECTATIONS, Ages(14000.0, 0.0)) == Waiting(("hls",), 400.0)
    assert assess(Missing(), EXPECTATIONS, Ages(20.0)) == Waiting(("visibility",), 40.0)


@pytest.mark.parametrize(
    ("found", "ages", "expected"),
    [
        (
            asset("ready"),
            Ages(14400.0, 1.0),
            Done(Outcome.TIMED_OUT, f"hls still missing 14400 s after acceptance ({NEVER_SHOWN})"),
        ),
        (
            asset("ready"),
            Ages(3600.0, 3600.0),
            Done(Outcome.DEGRADED, f"hls still missing 3600 s after ready ({NEVER_SHOWN})"),
        ),
        (
            asset("ready", hls="pending"),
            Ages(14400.0, 1.0),
            Done(Outcome.TIMED_OUT, "hls still pending 14400 s after acceptance"),
        ),
    ],
    ids=["never shown", "never shown, after ready", "shown"],
)
def test_the_reason_says_that_a_required_rendition_which_the_api_does_not_show_may_never_come(found, ages, expected):
    """An image never gets a stream: to wait again, or for longer, would not help."""
    assert assess(found, Expectations(wait_for={"hls": WaitFor.REQUIRED}), ages) == expected


def test_an_answer_outweighs_the_deadline():
    assert assess(asset("ready"), EXPECTATIONS, Ages(99999.0)) == Done(Outcome.READY)


PROGRESS: dict[str | None, list[str | None]] = {
    None: [None, "pending", "processing", "ready", "error"],
    "pending": ["pending", "processing", "ready", "error"],
    "processing": ["processing", "ready", "error"],
    "ready": ["ready"],
    "error": ["error"],
}
ages = st.floats(0, 100_000, allow_nan=False)
renditions = st.sampled_from([None, "pending", "processing", "ready", "error"])


@given(
    st.sampled_from(["processing", "ready", "failed"]),
    renditions,
    renditions,
    st.sampled_from(WaitFor),
    st.sampled_from(WaitFor),
    ages,
    ages,
    st.data(),
)
def test_more_information_never_turns_a_terminal_outcome_back(
    status, hls, thumbnail, wait_hls, wait_thumbnail, age, later, data
):
    """Once the wait is over, no later stage of the same asset, and no later time, makes it wait again."""
    expectations = Expectations(wait_for={"hls": wait_hls, "thumbnail": wait_thumbnail})
    ready = age if status == "ready" else None
    if not isinstance(assess(asset(status, hls, thumbnail), expectations, Ages(age, ready)), Done):
        return
    next_hls = data.draw(st.sampled_from(PROGRESS[hls] if hls else [None]))
    next_thumbnail = data.draw(st.sampled_from(PROGRESS[thumbnail] if thumbnail else [None]))
    next_status = data.draw(st.sampled_from(["ready", "failed"])) if status == "processing" else status
    next_ready = None if next_status != "ready" else (ready or 0.0) + later
    again = assess(asset(next_status, next_hls, next_thumbnail), expectations, Ages(age + later, next_ready))
    assert isinstance(again, Done)


def test_unknown_fields_are_kept_and_unknown_statuses_wait():
    document = {"_id": "a1", "status": "queued", "hls": {"status": "warming", "x": 1}, "new": {"deep": [1]}}
    found = asset_from(document)
    assert found.document is document
    assert isinstance(assess(found, EXPECTATIONS, Ages(1.0)), Waiting)


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(None, id="null"),
        pytest.param([], id="list"),
        pytest.param({}, id="no fields"),
        pytest.param({"_id": "a"}, id="no status"),
        pytest.param({"_id": 7, "status": "ready"}, id="id is a number"),
        pytest.param({"_id": "a/../b", "status": "ready"}, id="id is a path"),
        pytest.param({"_id": "a", "status": None}, id="status is null"),
        pytest.param({"_id": "a", "status": ["ready"], "error": "x"}, id="status is a list"),
        pytest.param({"id": "a", "status": "ready"}, id="id under another name"),
    ],
)
def test_an_answer_without_id_or_status_is_malformed(document):
    with pytest.raises(MalformedAssetError):
        asset_from(document)


@pytest.mark.parametrize(
    ("error", "reason", "oddities"),
    [
        pytest.param({"message": "bad codec", "code": 7}, "bad codec", [], id="as documented"),
        pytest.param(None, None, [], id="null"),
        pytest.param("bad codec", "bad codec", ["error is a text"], id="text"),
        pytest.param("", None, ["error is a text"], id="empty text"),
        pytest.param(["bad codec", None, "bad frame"], "bad codec; bad frame", ["error is a list"], id="list of texts"),
        pytest.param([{"message": "a"}, {"code": 1}], 'a; {"code":1}', ["error is a list"], id="list of objects"),
        pytest.param({"message": ["a", "b"]}, "a; b", ["error.message is a list"], id="message is a list"),
        pytest.param({"message": 7}, '{"message":7}', ["error.message is a number"], id="message is a number"),
        pytest.param(7, "7", ["error is a number"], id="number"),
        pytest.param(False, None, ["error is a boolean"], id="false"),
        pytest.param([None], None, ["error is a list"], id="list of nothing"),
    ],
)
def test_the_reason_of_a_failure_comes_from_an_error_of_any_type(error, reason, oddities):
    found = asset_from({"_id": "a", "status": "failed", "error": error})
    assert assess(found, EXPECTATIONS, Ages(1.0)) == Done(Outcome.FAILED, reason)
    assert found.oddities == tuple(oddities)


@pytest.mark.parametrize(
    ("field", "oddity"),
    [
        ({"file_type": 7}, "file_type is a number"),
        ({"file_type": None}, None),
        ({"method": {"via": "url"}}, "method is an object"),
        ({"method": ["url"]}, "method is a list"),
        ({"error": "x", "method": True}, "method is a boolean"),
        ({"hls": "ready"}, "hls is a text"),
        ({"hls": "https://x.example/a.m3u8"}, "hls is a text"),
        ({"hls": []}, "hls is a list"),
        ({"hls": {}}, "hls.status is null"),
        ({"thumbnail": {"status": 1}}, "thumbnail.status is a number"),
        ({"thumbnail": True}, "thumbnail is a boolean"),
    ],
    ids=str,
)
def test_the_status_decides_whatever_the_other_fields_are(field, oddity):
    document = {"_id": "a", "status": "ready", **field}
    found = asset_from(document)
    assert found.document == {"_id": "a", "status": "ready", **field}
    assert (oddity in found.oddities) if oddity else not found.oddities
    assert assess(found, EXPECTATIONS, Ages(1.0, 0.0)) == Done(Outcome.READY)


@pytest.mark.parametrize(
    ("shown", "verdict"),
    [
        ("processing", Waiting(("hls",), 3600.0)),
        ("error", Done(Outcome.DEGRADED, "hls ended in error")),
    ],
)
def test_a_rendition_that_is_only_its_status_is_read(shown, verdict):
    found = asset_from({"_id": "a", "status": "ready", "hls": shown})
    assert assess(found, EXPECTATIONS, Ages(1.0, 0.0)) == verdict


def test_the_other_fields_of_an_odd_asset_are_read():
    found = asset_from({"_id": "a", "status": "ready", "error": 1, "file_type": "video/mp4", "method": "url"})
    assert (found.id, found.file_type, found.method) == ("a", "video/mp4", "url")
    assert found.oddities == ("error is a number",)
    found = asset_from({"_id": "a", "status": "failed", "error": {"message": "bad codec"}, "method": 7})
    assert (found.error, found.method) == ("bad codec", None)
    assert found.oddities == ("method is a number",)
    assert asset_from({"_id": "a", "status": "failed", "error": {"message": ""}, "method": 7}).error is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.sampled_from(["_id", "status", "hls", "error", "x"]), x),
        max_leaves=12,
    )
)
def test_any_json_is_an_asset_or_malformed(document):
    document = msgspec.json.decode(msgspec.json.encode(document))
    try:
        asset_from(document)
    except MalformedAssetError:
        pass


def test_long_texts_are_cut_and_the_document_stays_whole():
    """They are kept while the asset is pending, and logged at each change."""
    document = {
        "_id": "6298d673f1090f1100476d4c",
        "status": "s" * 900_000,
        "hls": {"status": "h" * 900_000},
        "thumbnail": {"status": "t" * 65},
        "error": {"message": "e" * 900_000},
        "file_type": "f" * 900_000,
        "method": "m" * 900_000,
        **{f"rendition {number}": {"status": "ready"} for number in range(1000)},
    }
    found = asset_from(document)
    assert found.status == "s" * 63 + "…"
    assert found.renditions == {"hls": "h" * 63 + "…", "thumbnail": "t" * 63 + "…"}
    assert found.error == "e" * 999 + "…"
    assert found.file_type == "f" * 254 + "…"
    assert found.method == "m" * 63 + "…"
    assert found.document is document
    assert asset_from({**document, "error": ["x" * 400] * 400}).error == f"{'x' * 400}; {'x' * 400}; {'x' * 195}…"


@pytest.mark.parametrize("status", ["ready", "failed"])
def test_a_cut_status_is_no_documented_one(status):
    found = asset_from({"_id": "6298d673f1090f1100476d4c", "status": status + " " * 100, "hls": {"status": "x" * 99}})
    assert isinstance(assess(found, EXPECTATIONS, Ages(YOUNG)), Waiting)
    long_hls = asset_from({"_id": "6298d673f1090f1100476d4c", "status": "ready", "hls": {"status": "error" + " " * 99}})
    assert isinstance(assess(long_hls, EXPECTATIONS, Ages(YOUNG, 0.0)), Waiting)


def test_texts_of_usual_length_stay_as_they_are():
    file_type = f"application/{'x' * 127}"
    found = asset_from(
        {
            "_id": "6298d673f1090f1100476d4c",
            "status": "s" * 64,
            "error": {"message": "e" * 1000},
            "file_type": file_type,
            "method": "multipart",
        }
    )
    assert (found.status, found.error, found.file_type, found.method) == (
        "s" * 64,
        "e" * 1000,
        file_type,
        "multipart",
    )


@pytest.mark.parametrize(
    ("text", "is_usual"),
    [
        ("6298d673f1090f1100476d4c", True),
        ("6298D673F1090F1100476D4C", True),
        ("6298d673f1090f1100476d4", False),
        ("6298d673f1090f1100476d4c0", False),
        ("6298d673f1090f1100476d4g", False),
        ("my-reserved-id-for-video", False),
    ],
)
def test_an_id_of_the_usual_form_has_24_hexadecimal_digits(text, is_usual):
    """A list asks for no others, as one that the API refuses would make the whole list fail."""
    assert has_usual_form(asset_id(text)) is is_usual


def test_the_defaults_are_a_public_promise():
    assert msgspec.structs.asdict(Expectations()) == {
        "wait_for": {"hls": "if_requested", "thumbnail": "if_requested"},
        "deadline": 14400,
        "rendition_deadline": 3600,
        "not_found_grace": 60,
        "unanswered_factor": 2.0,
    }


def test_an_asset_that_is_processed_is_waited_for_until_its_deadline():
    assert assess(asset("processing"), EXPECTATIONS, Ages(400.0)) == Waiting(("asset",), 14000.0)
