"""Lines, value by value: what generated lines are too rare to show."""

from __future__ import annotations

import json

import pytest

from asset_worker.domain.submissions import Rejection, Submission
from asset_worker.intake.lines import DEADLINE_LIMIT, GRACE_LIMIT, parse, parse_lines
from asset_worker.intake.splitter import Line, LineSplitter, is_utf16

USUAL = "6" * 24


def line(text: str | bytes, *, zeros: int = 0, unterminated: bool = False) -> Line:
    raw = text.encode() if isinstance(text, str) else text
    return Line(raw, 0, len(raw) + zeros + 1, zeros, unterminated=unterminated)


def parsed(each: Line) -> Submission | Rejection | None:
    return parse(each, number=1, origin="queue", stream="s")


@pytest.mark.parametrize(
    ("text", "is_cut"),
    [("6" * 23, True), ("6", True), (USUAL, False), ("vid_1", False), ('{"asset_id":"666"}', False)],
)
def test_at_the_end_of_an_input_only_the_beginning_of_a_usual_id_is_refused(text, is_cut):
    assert isinstance(parsed(line(text, unterminated=True)), Rejection) == is_cut
    assert isinstance(parsed(line(text)), Submission), "with its newline it is whole"


@pytest.mark.parametrize(
    ("text", "is_cut"),
    [("6" * 23, True), (USUAL, False), ("vid_1", True), ('{"asset_id":"666"}', False), ('{"asset_id":"66', True)],
)
def test_before_zeros_only_a_whole_usual_id_or_object_counts(text, is_cut):
    assert isinstance(parsed(line(text, zeros=4)), Rejection) == is_cut


@pytest.mark.parametrize(("key", "most"), [("deadline", DEADLINE_LIMIT), ("not_found_grace", GRACE_LIMIT)])
def test_a_duration_is_more_than_nothing_and_at_most_its_limit(key, most):
    for seconds, is_usable in ((most, True), (most * 1.001, False), (0.001, True), (0, False), (-1, False)):
        found = parsed(line(json.dumps({"asset_id": USUAL, key: seconds})))
        assert isinstance(found, Submission) == is_usable
        if isinstance(found, Submission):
            assert getattr(found.options, key) == seconds


@pytest.mark.parametrize(("length", "is_shown"), [(64, True), (65, False)])
def test_a_repeated_key_is_shown_up_to_64_characters(length, is_shown):
    key = "k" * length
    found = parsed(line(f'{{"asset_id":"{USUAL}","{key}":1,"{key}":2}}'))
    assert isinstance(found, Rejection)
    assert (key in found.reason) == is_shown


def test_both_renditions_are_called_both():
    found = parsed(line(f'{{"asset_id":"{USUAL}","wait_for":{{"moon":"required"}}}}'))
    assert isinstance(found, Rejection)
    assert found.reason.endswith(", or both")


def test_zeros_between_lines_take_no_number():
    found = parse_lines([line(USUAL), line("", zeros=9), line("vid_2")], first=7, origin="queue", stream="s")
    assert [each.line for each in found.submissions] == [7, 8]
    assert [(each.line, each.count) for each in found.zeros] == [(8, 9)]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param(b"\0a" * 6 + b"a\0", False, id="an eighth and more at the other place"),
        pytest.param(b"\0a" * 16 + b"a\0", True, id="a small part at the other place"),
        pytest.param(b"\0a" * 7 + b"a\0" * 1, True, id="exactly an eighth"),
        pytest.param(b"\0" + b"a" * 9, False, id="one NUL"),
        pytest.param(b"\0a\0a" + b"a" * 3, False, id="two of seven"),
        pytest.param(b"\0a\0a" + b"a" * 2, True, id="two of six"),
        pytest.param(b"\0a" * 8 + b"a" * 99, False, id="eight of many"),
        pytest.param(b"\0a" * 9 + b"a" * 99, True, id="nine of many"),
    ],
)
def test_text_with_nuls_at_every_other_place_is_utf16(raw, expected):
    assert is_utf16(raw) == expected


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_single_nul_before_a_newline_is_the_rest_of_one_of_utf16_and_more_are_a_gap(count):
    lines = LineSplitter(0).feed(bytes(count) + b"\n")
    assert [each.zeros for each in lines] == ([0] if count == 1 else [count, 0])
