"""Bodies of requests to submissions: JSON and lines are read alike, and hostile bodies."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset_worker.domain.assets import WaitFor
from asset_worker.domain.submissions import Options, Rejection, Submission
from asset_worker.intake.http.bodies import (
    MOST_LINES,
    BadRequestError,
    Format,
    Item,
    Refused,
    format_of,
    items_in,
    too_large,
    too_many,
)
from asset_worker.intake.lines import parse
from asset_worker.intake.splitter import LINE_BYTES_LIMIT, Line
from asset_worker.runtime.redaction import Secrets

KEY = "tlk_0123456789abcdefSECRET"


def read(body: bytes | str, form: Format = Format.JSON) -> list[Item]:
    secrets = Secrets()
    secrets.add(KEY)
    data = body.encode() if isinstance(body, str) else body
    return [item for item in items_in(data, form, redact=secrets.redact) if item is not None]


def accepted(asset_id: str, options: Options | None = None) -> Submission:
    return Submission(asset_id, "http", 0, options)


def status_of(body: bytes | str, form: Format = Format.JSON) -> tuple[int, str]:
    with pytest.raises(BadRequestError) as refused:
        read(body, form)
    return refused.value.status, str(refused.value)


@pytest.mark.parametrize(
    ("content_type", "form"),
    [
        (None, Format.LINES),
        ("text/plain", Format.LINES),
        ("text/plain; charset=utf-8", Format.LINES),
        ('Text/Plain ; Charset="UTF-8"', Format.LINES),
        ("text/plain; charset=utf8", Format.LINES),
        ("text/plain; charset=us-ascii", Format.LINES),
        ("text/plain; format=flowed", Format.LINES),
        ("application/x-ndjson", Format.LINES),
        ("application/ndjson", Format.LINES),
        ("application/jsonl", Format.LINES),
        ("application/json", Format.JSON),
        ("application/json;charset=UTF-8", Format.JSON),
    ],
)
def test_the_content_type_says_how_to_read(content_type, form):
    assert format_of(content_type, None) is form
    assert format_of(content_type, "identity") is form
    assert format_of(content_type, "") is form


@pytest.mark.parametrize(
    "fields",
    [
        ("application/x-www-form-urlencoded", None),  # what curl sends if it is not told otherwise
        ("multipart/form-data; boundary=x", None),
        ("text/html", None),
        ("application/json; charset=utf-16", None),
        ("text/plain; charset=latin-1", None),
        ("application/json", "gzip"),
        (None, "br"),
        ("json", None),
    ],
)
def test_other_bodies_are_refused(fields):
    with pytest.raises(BadRequestError) as refused:
        format_of(*fields)
    assert refused.value.status == 415


@pytest.mark.parametrize(
    ("body", "items"),
    [
        pytest.param('{"asset_id": "a1"}', [accepted("a1")], id="an object"),
        pytest.param('"a1"', [accepted("a1")], id="an ID"),
        pytest.param(
            ' \n["a1" ,\t{"asset_id":"a2"}]\r\n', [accepted("a1"), accepted("a2")], id="an array, with blanks"
        ),
        pytest.param('\ufeff["a1"]', [accepted("a1")], id="a byte-order mark"),
        pytest.param('["\\u0061\\u0031"]', [accepted("a1")], id="escapes in an ID"),
        pytest.param('{\n  "asset_id":\n  "a1"\n}', [accepted("a1")], id="an object on several lines"),
        pytest.param("[]", [], id="an empty array"),
        pytest.param('["a1", "a1"]', [accepted("a1")] * 2, id="a repeat"),
        pytest.param(
            '{"asset_id": "a1", "metadata": {"n": 12345678901234567890, "x": 1e400}}',
            [Refused("a1", "the line is not JSON: Number out of range")],
            id="a number that is none",
        ),
        pytest.param(
            '{"asset_id": "a1", "metadata": {"a": 1.5}, "wait_for": {"hls": "required"}, "deadline": 9}',
            [accepted("a1", Options(metadata={"a": 1.5}, wait_for={"hls": WaitFor.REQUIRED}, deadline=9.0))],
            id="options",
        ),
        pytest.param(
            '{"asset_id": "a1", "deadline": "2d", "not_found_grace": "1d"}',
            [accepted("a1", Options(deadline=172_800.0, not_found_grace=86_400.0))],
            id="durations with units",
        ),
        pytest.param(
            '[{"asset_id": "a1", "deadline": -1}, {"asset_id": "a2"}]',
            [Refused("a1", "deadline must be more than 0 seconds, and at most ten years"), accepted("a2")],
            id="one of two is refused",
        ),
        pytest.param(
            '{"asset_id": "a1", "asset_id": "a2"}',
            [Refused("a2", 'the object has the key "asset_id" more than once')],
            id="a key twice",
        ),
        pytest.param("{}", [Refused(None, "the object has no asset_id")], id="no ID"),
        pytest.param(
            '{"asset_id": "../x"}',
            [Refused(None, "asset_id must be 1 to 64 letters, digits, '-' or '_'")],
            id="a text that is no ID",
        ),
    ],
)
def test_a_json_document_holds_one_submission_or_several(body, items):
    if "1e400" in body:
        [found] = read(body)
        assert isinstance(found, Refused)
        assert found.reason.startswith("the line is not JSON")
    else:
        assert read(body) == items


@pytest.mark.parametrize("value", ["../x", "a b", "", "#a1", "a" * 65, "é", '{"asset_id":"a1"}', "a1\n", "\x00"])
def test_a_text_that_is_no_asset_id_is_refused(value):
    for body in (json.dumps(value), json.dumps([value])):
        assert read(body) == [Refused(None, "an asset ID has 1 to 64 letters, digits, '-' or '_'")]


@pytest.mark.parametrize("value", ["1", "-1.5", "null", "true", "[]", '["a1"]', "NaN", "Infinity"])
def test_an_element_that_is_neither_object_nor_text_is_refused(value):
    assert [type(each) for each in read(f'["a1", {value}, "a2"]')] == [Submission, Refused, Submission]


@pytest.mark.parametrize(
    "body",
    [
        "",
        " ",
        "{",
        "[",
        '["a1"',
        '["a1",',
        '["a1",]',
        '["a1" "a2"]',
        '["a1";"a2"]',
        '["a1"],',
        '["a1"]["a2"]',
        '"a1" "a2"',
        "1",
        "null",
        "12345",
        '{"asset_id": "a1"} {"asset_id": "a2"}',
        "a1",
        "{'asset_id': 'a1'}",
        b'"\xff"',
        '"a1',
        "[" * 100_000,
        '{"a":' * 100_000,
    ],
)
def test_what_is_not_json_or_no_submission_is_refused_whole(body):
    status, text = status_of(body)
    assert (status, text.startswith("the body")) == (400, True)


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_the_last_line_needs_no_newline(end):
    """Although its ID looks like the beginning of a longer one: the length of a body is known."""
    assert read(f"abc1{end}", Format.LINES) == [accepted("abc1")]


def test_lines_are_those_of_a_queue_file():
    body = '\ufeffa1\r\n\n# a comment\n{"asset_id":"a2","deadline":5}\nno asset\n{"asset_id":\n' + "x" * 70_000
    assert [each if isinstance(each, Submission) else None for each in read(body, Format.LINES)] == [
        accepted("a1"),
        accepted("a2", Options(deadline=5.0)),
        None,
        None,
        None,
    ]


def test_a_body_of_blank_lines_alone_ends_at_a_limit():
    assert read(b"\n" * MOST_LINES, Format.LINES) == []
    assert status_of(b"\n" * (MOST_LINES + 1), Format.LINES)[0] == 413


def test_lines_with_nul_bytes_are_refused_whole():
    assert status_of("a1\n".encode("utf-16"), Format.LINES)[0] == 400
    assert status_of(b"a1\0\n", Format.LINES)[0] == 400


def test_a_submission_of_more_than_64_kib_is_refused():
    document = {"asset_id": "a1", "metadata": {"x": "y" * 70_000}}
    assert [each.reason for each in read(json.dumps(["a2", document])) if isinstance(each, Refused)] == [
        "a submission has 65536 bytes at most"
    ]


JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 10) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
IDS = st.sampled_from(["a1", "b-2", "c_3", "no asset", "", "a" * 65])
OBJECTS = st.fixed_dictionaries(
    {"asset_id": IDS | JSON},
    optional={"metadata": JSON, "deadline": JSON, "wait_for": st.just({"hls": "ignore"}) | JSON, "other": JSON},
)


def as_queue_line(document: Any) -> Submission | str:
    raw = json.dumps(document).encode()
    found = parse(Line(raw, 0, len(raw)), number=0, origin="http", stream="")
    assert found is not None
    return found.reason if isinstance(found, Rejection) else found


@given(st.lists(OBJECTS, max_size=4), st.sampled_from([None, 2]))
def test_an_object_in_an_array_means_what_it_means_in_a_queue_file(documents, indent):
    wanted = [as_queue_line(each) for each in documents]
    for body, form in (
        (json.dumps(documents, indent=indent), Format.JSON),
        ("\n".join(map(json.dumps, documents)), Format.LINES),
    ):
        assert [each.reason if isinstance(each, Refused) else each for each in read(body, form)] == wanted


@given(st.text(max_size=12) | st.text('[]{}",:a1 \n-', max_size=12))
def test_a_body_is_accepted_as_json_only_if_it_is_json(body):
    try:
        read(body)
    except BadRequestError as error:
        assert error.status == 400
    else:
        json.loads(body.removeprefix("\ufeff"))


@given(st.binary(max_size=40), st.sampled_from(Format))
def test_any_bytes_give_items_or_a_bad_request(body, form):
    try:
        read(body, form)
    except BadRequestError as error:
        assert error.status == 400


def test_a_request_that_is_too_long_is_told_how_much_it_may_hold():
    found = [(each.status, str(each)) for each in (too_many(), too_large())]
    assert found == [
        (413, "a request holds 1000 submissions at most: send several"),
        (413, "the body of a request has 8 MiB at most: send several"),
    ]


def test_a_secret_is_accepted_nowhere_and_shown_nowhere():
    bodies = (f'["{KEY}"]', json.dumps({"asset_id": KEY}), json.dumps({"asset_id": "a1", KEY: 1, "deadline": KEY}))
    found = [item for body in bodies for item in read(body)] + read(KEY, Format.LINES) + read(f"{KEY}!", Format.LINES)
    assert all(isinstance(each, Refused) for each in found)
    assert len(found) == 5
    assert KEY not in repr(found)


def test_no_single_step_takes_long():
    """A caller that does something else between two items is never held up: a body of 8 MiB is read in parts."""
    for body, form in (
        (b"\n" * MOST_LINES, Format.LINES),
        (b"[" + b",".join([b"1"] * 100_000) + b"]", Format.JSON),
    ):
        longest, before = 0.0, time.thread_time()
        for count, _ in enumerate(items_in(body, form, redact=lambda each: each)):
            longest, before = max(longest, time.thread_time() - before), time.thread_time()
            if count > 200_000:
                break
        assert longest < 0.2


@pytest.mark.parametrize(("more", "refused"), [(0, False), (1, True)])
def test_an_object_has_as_many_bytes_as_a_line(more, refused):
    head, tail = b'{"asset_id": "a1", "metadata": {"k": "', b'"}}'
    body = head + b"x" * (LINE_BYTES_LIMIT - len(head) - len(tail) + more) + tail
    [item] = items_in(body, Format.JSON, redact=lambda value: value)
    assert isinstance(item, Refused) is refused


def test_a_refused_item_does_not_show_a_secret_that_is_its_id():
    body = b'{"asset_id": "tlk_0123456789SECRET", "deadline": "soon"}'
    [item] = items_in(body, Format.JSON, redact=lambda value: value and value.replace("tlk_0123456789SECRET", "***"))
    assert isinstance(item, Refused)
    assert item.asset_id is None
    assert "SECRET" not in item.reason
