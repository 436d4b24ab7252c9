"""JSON that is not quite JSON: what is read of it, and what is repaired."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asset_worker.api.bodies import SUSPICIOUS_BRACKETS, decode_body, decode_error, decode_list
from asset_worker.api.errors import MalformedAnswerError
from asset_worker.api.lenient_json import (
    BYTE_ORDER_MARK,
    CONTROL_CHARACTERS,
    HALF_A_PAIR,
    INVALID_TEXT,
    NO_NUMBER,
    NULS,
    TOO_DEEP,
    TOO_LARGE_A_NUMBER,
    Decoded,
    read_document,
    read_list,
)
from asset_worker.domain.nesting import ANSWER_LEVELS, nests_deeper

BOM = b"\xef\xbb\xbf"


@pytest.mark.parametrize(
    ("body", "document", "repairs"),
    [
        pytest.param(b'{"x": NaN}', {"x": None}, [NO_NUMBER], id="NaN"),
        pytest.param(b"[Infinity, -Infinity, 1]", [None, None, 1], [NO_NUMBER], id="Infinity"),
        pytest.param(b"[nan, -nan, inf, +inf, -NaN]", [None] * 5, [NO_NUMBER], id="as C prints them"),
        pytest.param(b'["NaN", "a \\"inf", NaN]', ["NaN", 'a "inf', None], [NO_NUMBER], id="in a text"),
        pytest.param(b"[1e400, -1E999, 1e-400]", [None, None, 0.0], [TOO_LARGE_A_NUMBER], id="out of range"),
        pytest.param(b"[" + b"9" * 5000 + b"]", [None], [TOO_LARGE_A_NUMBER], id="an integer of 5,000 digits"),
        pytest.param(b"[NaN, " + b"9" * 30 + b"]", [None, int("9" * 30)], [NO_NUMBER], id="an integer of 30 digits"),
        pytest.param(BOM + b"[1]", [1], [BYTE_ORDER_MARK], id="byte-order mark"),
        pytest.param('["é"]'.encode("utf-16"), ["é"], [BYTE_ORDER_MARK], id="UTF-16"),
        pytest.param(b"\0[1]\n\0\0", [1], [NULS], id="NULs around it"),
        pytest.param(b'["a\x01b\nc\td\0"]', ["a\x01b\nc\td\0"], [CONTROL_CHARACTERS], id="control characters"),
        pytest.param(b'["caf\xe9"]', ["caf\ufffd"], [INVALID_TEXT], id="Latin-1"),
        pytest.param(rb'["cat\ud83d", "\\ud83d"]', ["cat\ufffd", r"\ud83d"], [HALF_A_PAIR], id="half a pair"),
        pytest.param(rb'["\ud83d\ude00", NaN]', ["\U0001f600", None], [NO_NUMBER], id="a whole pair"),
        pytest.param(b'{"a": NaN, "a": 2}', {"a": 2}, [NO_NUMBER], id="the same key twice: the last counts"),
        pytest.param(
            BOM + b'{"a": "\xff\x01", "b": [NaN, 1e400]}\0',
            {"a": "\ufffd\x01", "b": [None, None]},
            [INVALID_TEXT, BYTE_ORDER_MARK, NULS, NO_NUMBER, TOO_LARGE_A_NUMBER],
            id="all at once",
        ),
    ],
)
def test_what_is_not_quite_json_is_read(body, document, repairs):
    assert decode_body(body) == Decoded(document, tuple(repairs))


@pytest.mark.parametrize(
    "body",
    [b"", b"\0", BOM, b"<html>", b'{"a": 1', b'{"a": 1} {"b": 2}', b"[1,]", b"[" * 100_000, b"undefined", b"{'a': 1}"],
)
def test_what_is_no_json_is_malformed(body):
    with pytest.raises(MalformedAnswerError, match="not JSON"):
        decode_body(body)


@pytest.mark.parametrize("levels", [SUSPICIOUS_BRACKETS + 1, 900, 100_000])
def test_what_nests_too_deeply_is_null_and_the_rest_is_read(levels):
    body = b'{"first": "[", "odd": ' + b'[{"a": ' * levels + b"1" + b"}]" * levels + b', "last": [2]}'
    decoded = decode_body(body)
    assert decoded.repairs == (TOO_DEEP,)
    assert (decoded.document["first"], decoded.document["last"]) == ("[", [2])
    assert not nests_deeper(decoded.document, ANSWER_LEVELS)
    assert nests_deeper(decoded.document, ANSWER_LEVELS - 1)


texts = st.text(max_size=8) | st.sampled_from(['"', "\\", "NaN", '],"data":[', "inf", "\0", "[{"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@given(values, st.booleans())
@example({"a": 'x"],"data":[1', "data": [1]}, False)
def test_json_is_read_as_the_fast_decoder_reads_it(value, is_ascii):
    body = json.dumps(value, ensure_ascii=is_ascii).encode()
    assert read_document(body).document == msgspec.json.decode(body)


@given(st.lists(values, max_size=5), st.dictionaries(texts.filter(lambda name: name != "data"), values, max_size=3))
def test_the_elements_of_a_list_are_those_that_the_fast_decoder_finds(elements, more):
    body = json.dumps({**more, "data": elements, "page_info": {"data": [1]}}).encode()
    assert read_list(body) == [Decoded(each) for each in elements]


def test_each_element_of_a_list_is_read_on_its_own():
    elements = [
        b'{"_id": "a", "status": "ready"}',
        b'{"_id": "b", "status": "ready", "duration": 1.2.3}',
        b'{"_id": "c", "status": "ready", "duration": NaN}',
        b'{"status" "ready"}',
        b'{"_id": "d", "odd": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    ]
    a, b, c, nameless, d = decode_list(b'{"page_info": NaN, "data": [' + b", ".join(elements) + b"]}")
    assert a == Decoded({"_id": "a", "status": "ready"})
    assert b == Decoded({"_id": "b"})
    assert c == Decoded({"_id": "c", "status": "ready", "duration": None}, (NO_NUMBER,))
    assert nameless == Decoded({"_id": None})
    assert (d.document["_id"], d.repairs) == ("d", (TOO_DEEP,))


@pytest.mark.parametrize(
    "body",
    [b"[NaN]", b'{"data": NaN}', b'{"x": NaN}', b'{"data": [NaN', b'{"x": {"data": [NaN]}}', b'{"data": {"a": NaN}}'],
)
def test_what_has_no_whole_list_is_malformed(body):
    with pytest.raises(MalformedAnswerError):
        decode_list(body)


@pytest.mark.parametrize("page_info", [b"null", b"7", b"[]", b"NaN"])
def test_the_page_info_does_not_matter(page_info):
    assert decode_list(b'{"data": [{"_id": "a"}], "page_info": ' + page_info + b"}") == [Decoded({"_id": "a"})]
    assert decode_list(b'{"data": []}') == []


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        pytest.param(BOM + b'{"code": "c", "message": "m"}', "c", "m", id="byte-order mark"),
        pytest.param(b'{"code": "c", "message": ["m"]}', "c", None, id="message is a list"),
        pytest.param(b'{"code": 404, "message": "m\x01"}', None, "m\x01", id="code is a number"),
        pytest.param(b'{"error": {"code": "c", "message": "m", "x": NaN}}', "c", "m", id="nested"),
        pytest.param(b'{"error": "m", "code": "c"}', "c", "m", id="error is a text"),
        pytest.param(b"[NaN]", None, None, id="a list"),
        pytest.param(b"<html>", None, None, id="a page"),
    ],
)
def test_an_error_is_read_as_far_as_it_can_be(body, code, message):
    error = decode_error(body)
    assert (error.code, error.message) == (code, message)
