"""Bodies of answers: how much is read of them, and how deeply they may be nested."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset_worker.api.bodies import SUSPICIOUS_BRACKETS, DecodedPage, decode_body, decode_list, decode_page, read_body
from asset_worker.api.errors import AnswerTooLargeError, MalformedAnswerError
from asset_worker.api.lenient_json import TOO_DEEP, Decoded, read_document
from asset_worker.domain.nesting import ANSWER_LEVELS

LIMIT = 10


class Response:
    """An answer whose body comes in chunks."""

    def __init__(self, chunks: list[bytes], *, length: int | None, headers: dict[str, str]) -> None:
        self._chunks = chunks
        self.content_length = length
        self.headers = headers
        self.content = self
        self.is_closed = False

    async def iter_any(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk

    async def read(self) -> bytes:
        return b"".join(self._chunks)

    def close(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize("chunks", [[], [b"12345"], [b"12345", b"6789"], [b"12345", b"67890"]], ids=len)
@pytest.mark.parametrize("says_its_length", [True, False])
@pytest.mark.parametrize("headers", [{}, {"Content-Encoding": "gzip"}], ids=["plain", "compressed"])
async def test_a_body_up_to_the_limit_is_read(chunks: list[bytes], says_its_length: bool, headers: dict[str, str]):
    whole = b"".join(chunks)
    response: Any = Response(chunks, length=len(whole) if says_its_length else None, headers=headers)
    assert await read_body(response, LIMIT) == whole
    assert not response.is_closed


@pytest.mark.parametrize(
    ("length", "headers"),
    [
        pytest.param(None, {}, id="no length"),
        pytest.param(11, {}, id="plain"),
        pytest.param(10, {}, id="a wrong length"),
        pytest.param(5, {"Content-Encoding": "gzip"}, id="compressed"),
    ],
)
async def test_a_longer_body_is_not_read_to_its_end_and_its_connection_is_not_used_again(
    length: int | None, headers: dict[str, str]
):
    response: Any = Response([b"12345", b"678901"], length=length, headers=headers)
    with pytest.raises(AnswerTooLargeError, match=r"^the answer is larger than 10 bytes$"):
        await read_body(response, LIMIT)
    assert response.is_closed


def nested(breaks: list[bool], more: object = 1) -> Any:
    """A value at as many levels as there are breaks; where one is true, the brackets do not follow one another."""
    value = more
    for number, is_broken in enumerate(breaks):
        value = {"a": "]", "b": value, "c": f"[{number}"} if is_broken else [value]
    return value


def cut(value: Any, levels: int) -> Any:
    """The same value with null at deeper levels."""
    if isinstance(value, dict):
        return {key: cut(each, levels - 1) for key, each in value.items()} if levels else None
    if isinstance(value, list):
        return [cut(each, levels - 1) for each in value] if levels else None
    return value


@given(
    before=st.lists(st.booleans(), min_size=ANSWER_LEVELS - 3, max_size=ANSWER_LEVELS + 4),
    after=st.lists(st.booleans(), min_size=1, max_size=4),
)
def test_what_is_deeper_than_the_levels_allowed_is_null_and_nothing_else_is(before: list[bool], after: list[bool]):
    value = {"first": nested(before), "]": "]}", "second": nested(after, "[{"), "third": [nested(before)]}
    expected = cut(value, ANSWER_LEVELS)
    assert read_document(json.dumps(value).encode()) == Decoded(
        expected, (TOO_DEEP,) if expected != value else ("control characters in a text",)
    )


@pytest.mark.parametrize("levels", [ANSWER_LEVELS - 1, ANSWER_LEVELS, ANSWER_LEVELS + 1])
def test_a_hundred_levels_are_read_as_they_are(levels: int):
    value = nested([False] * levels)
    document = cut(value, ANSWER_LEVELS)
    body = b"[" * levels + b"1" + b"]" * levels
    assert read_document(body).document == document
    assert (document == value) == (levels <= ANSWER_LEVELS)


@pytest.mark.parametrize(
    ("body", "is_cut"),
    [
        pytest.param(b"[" * SUSPICIOUS_BRACKETS + b"]" * SUSPICIOUS_BRACKETS, False, id="few brackets"),
        pytest.param(b"[" * (SUSPICIOUS_BRACKETS + 1) + b"]" * (SUSPICIOUS_BRACKETS + 1), True, id="many and deep"),
        pytest.param(b"[" + b"[]," * SUSPICIOUS_BRACKETS + b"{}]", False, id="many and flat"),
    ],
)
def test_only_a_body_with_many_brackets_is_checked_for_its_depth(body: bytes, is_cut: bool):
    whole = json.loads(body)
    assert decode_body(body) == (Decoded(cut(whole, ANSWER_LEVELS), (TOO_DEEP,)) if is_cut else Decoded(whole))


def test_a_body_that_does_not_end_says_so():
    with pytest.raises(MalformedAnswerError, match=r"^the answer is not JSON: the JSON does not end$"):
        decode_body(b"[" * 100_000)


@pytest.mark.parametrize("total", [0, 1, 52])
@pytest.mark.parametrize("levels", [1, ANSWER_LEVELS])
def test_a_page_has_its_total_however_deep_its_assets_are_nested_within_what_is_allowed(total: int, levels: int):
    documents = [{"_id": f"{number}", "x": nested([False] * (levels - 1))} for number in range(4)]
    body = json.dumps({"data": documents, "page_info": {"total_results": total}}).encode()
    assert decode_page(body) == DecodedPage([Decoded(each) for each in documents], total)


def test_of_a_page_with_an_asset_that_is_too_deep_each_is_read_on_its_own():
    documents = [{"_id": "a"}, {"_id": "b", "x": nested([False] * 400)}]
    body = json.dumps({"data": documents, "page_info": {"total_results": 2}}).encode()
    deep = Decoded(cut(documents[1], ANSWER_LEVELS), (TOO_DEEP,))
    assert decode_page(body) == DecodedPage([Decoded(documents[0]), deep], None)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"[NaN]", "the answer is not JSON: there is no complete list in it"),
        (b'{"data": [1', "the answer is not JSON: there is no complete list in it"),
        (b"[" * 400 + b"]" * 400, "the answer is not JSON: there is no complete list in it"),
        (b"[]", "the answer is not a list of assets"),
        (b"7", "the answer is not a list of assets"),
        (b"{}", "the answer is not a list of assets"),
        (b'{"data": {}}', "the answer is not a list of assets"),
    ],
)
def test_what_is_no_list_of_assets_says_why(body: bytes, why: str):
    with pytest.raises(MalformedAnswerError) as raised:
        decode_list(body)
    assert str(raised.value) == why
