"""Lines, value by value: what generated lines are too rare to show."""

from __future__ import annotations

import json

import pytest

from asset_worker.domain.submissions import Rejection, Submission
from asset_worker.intake.lines import DEADLINE_LIMIT, GRACE_LIMIT, holds_lines, parse, parse_lines
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


@pytest.mark.parametrize(("count", "is_gap"), [(3, False), (4, True)])
def test_four_zeros_in_a_row_end_text_of_utf16_and_three_are_a_part_of_it(count, is_gap):
    text = "\ufeffa1".encode("utf-16-le").rstrip(b"\0")
    splitter = LineSplitter(0)
    splitter.feed(text + bytes(count))
    end = len(text) + count
    cut, whole = Line(text, 0, end, zeros=count), Line(text + bytes(count), 0, end, unterminated=True)
    assert splitter.partial == [cut if is_gap else whole]
    lines = splitter.feed(b"b\n")
    behind = [cut, Line(b"b", end, end + 2)]
    assert lines == (behind if is_gap else [Line(text + bytes(count) + b"b", 0, end + 2)])


def test_a_zero_within_a_line_is_kept_before_a_long_run_at_the_end():
    splitter = LineSplitter(0)
    splitter.feed(b"a\0b" + bytes(9))
    assert splitter.partial == [Line(b"a\0b", 0, 12, zeros=9)]


def test_a_line_before_zeros_is_incomplete_and_one_at_the_end_has_no_newline():
    before, at_end = parsed(line("6", zeros=4)), parsed(line("6", unterminated=True))
    assert isinstance(before, Rejection)
    assert isinstance(at_end, Rejection)
    assert before.reason == "incomplete: NUL bytes follow the text, so the rest of the line was lost"
    assert at_end.reason == (
        "incomplete: the line has no newline and fewer digits than an asset ID: submit the asset again"
    )


@pytest.mark.parametrize(("at", "is_same"), [(1023, False), (1024, True)])
def test_a_rejections_key_is_made_from_the_first_kilobyte(at, is_same):
    raw = bytearray(b"!" * 2000)
    before = parsed(line(bytes(raw)))
    raw[at] = ord("?")
    after = parsed(line(bytes(raw)))
    assert isinstance(before, Rejection)
    assert isinstance(after, Rejection)
    assert (after.key == before.key) == is_same


def test_both_ends_of_a_line_of_utf16_that_is_too_long_are_shown_in_utf8():
    raw, tail = "\ufeffa1".encode("utf-16-le"), "b2".encode("utf-16-le")
    found = parsed(Line(raw, 0, 70_000, tail=tail))
    assert isinstance(found, Rejection)
    assert (found.raw, found.tail) == (b"a1", b"b2")


def test_both_ends_of_another_line_that_is_too_long_are_shown_as_they_are():
    found = parsed(Line(b"  a1", 0, 70_000, tail=b"b2  "))
    assert isinstance(found, Rejection)
    assert (found.raw, found.tail) == (b"  a1", b"b2  ")


def test_the_lines_of_several_files_are_added_and_all_but_blank_ones_take_room():
    def found(first):
        lines = [line(USUAL), line("!"), line("?"), line(""), line("", zeros=9)]
        return parse_lines(lines, first=first, origin="queue", stream="s")

    both = found(1)
    assert both.taken == 3
    both.add(found(7))
    assert both.taken == 6
    assert [each.line for each in both.submissions] == [1, 7]
    assert [each.line for each in both.rejections] == [2, 3, 8, 9]
    assert [each.line for each in both.zeros] == [5, 11]


@pytest.mark.parametrize(
    ("data", "holds"),
    [
        (b"", False),
        (b"\n \n# IDs\n", False),
        (b"# IDs", False),
        (b"\n" + USUAL.encode() + b"\n", True),
        (b"!\n", True),
        (b"# IDs\na", True),
    ],
)
def test_data_holds_a_line_if_it_has_more_than_blank_ones_and_comments(data, holds):
    assert holds_lines(data) is holds
