"""Bytes to lines."""

from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset_worker.intake.splitter import LINE_BYTES_LIMIT, LONG_LINE_KEPT, Line, LineSplitter, count_newlines, is_utf16

BOM = b"\xef\xbb\xbf"


def test_the_longest_line_is_that_documented():
    assert LINE_BYTES_LIMIT == 65_536


def split(data: bytes, *, offset: int = 0, cuts: list[int] | None = None) -> tuple[list[Line], LineSplitter]:
    splitter = LineSplitter(offset)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts or []), len(data)]
    lines = [line for start, end in pairwise(edges) for line in splitter.feed(data[start:end])]
    return lines, splitter


def test_a_line_comes_once_its_newline_has_come():
    splitter = LineSplitter(10)
    assert splitter.feed(b"ab") == []
    assert (splitter.partial, splitter.partial_start, splitter.end) == (
        [Line(b"ab", 10, 12, unterminated=True)],
        10,
        12,
    )
    assert splitter.feed(b"c\n\nd") == [Line(b"abc", 10, 14), Line(b"", 14, 15)]
    assert (splitter.partial_start, splitter.end) == (15, 16)
    assert splitter.feed(b"") == []
    assert splitter.finish() == [Line(b"d", 15, 16, unterminated=True)]
    assert splitter.finish() == []
    assert (splitter.partial, splitter.partial_start, splitter.end) == ([], 16, 16)


@pytest.mark.parametrize("chunk", [1000, 65_536, 400_000])
def test_of_a_line_of_300_kb_both_ends_are_kept_and_the_next_one_is_whole(chunk: int):
    """It never fills the memory, in whatever pieces it comes."""
    data = b"x" * 250_000 + b"y" * 50_000 + b"\na1\n"
    splitter = LineSplitter(0)
    lines = []
    for start in range(0, len(data), chunk):
        lines += splitter.feed(data[start : start + chunk])
        assert sum(len(line.raw) for line in splitter.partial) <= LINE_BYTES_LIMIT + 4
    long = Line(b"x" * LONG_LINE_KEPT, 0, 300_001, tail=b"y" * LONG_LINE_KEPT)
    assert lines == [long, Line(b"a1", 300_001, 300_004)]
    assert [line.too_long for line in lines] == [True, False]


def test_a_line_that_is_too_long_and_has_no_end_is_cut_as_well():
    lines, splitter = split(b"x" * 300_000)
    assert lines == []
    kept = b"x" * LONG_LINE_KEPT
    assert splitter.finish() == [Line(kept, 0, 300_000, tail=kept, unterminated=True)]


@pytest.mark.parametrize(("size", "too_long"), [(LINE_BYTES_LIMIT + 4, False), (LINE_BYTES_LIMIT + 5, True)])
def test_the_splitter_leaves_room_for_what_the_limit_does_not_count(size: int, too_long: bool):
    [line], _ = split(b"x" * size + b"\n")
    assert line.too_long is too_long


PIECES = st.sampled_from(
    [
        *(b"a", b"ab\r", b"\n", b"\n\n", b"\r\n", b"\xff", BOM, b"x" * 1500, b"y" * 40_000, b"z" * 66_000),
        *(b"\0", b"\0\0", b"\0" * 3, b"\0" * 4, b"\0" * 70_000, b"a\0b\0"),
    ]
)


@given(
    st.lists(PIECES, max_size=10).map(b"".join), st.lists(st.integers(0, 100_000), max_size=12), st.integers(0, 10**9)
)
def test_however_the_bytes_are_chunked_the_lines_are_the_same(data: bytes, cuts: list[int], offset: int):
    whole, whole_splitter = split(data, offset=offset)
    lines, splitter = split(data, offset=offset, cuts=cuts)
    assert lines == whole
    assert (splitter.partial, splitter.partial_start, splitter.end) == (
        whole_splitter.partial,
        whole_splitter.partial_start,
        whole_splitter.end,
    )
    assert splitter.finish() == whole_splitter.finish()


@given(st.binary(max_size=200).map(lambda data: data.replace(b"\x00", b"\n")), st.lists(st.integers(0, 200)))
def test_every_offset_is_that_of_a_lines_start(data: bytes, cuts: list[int]):
    lines, splitter = split(data, offset=1000, cuts=cuts)
    ends = [line.end for line in lines]
    assert [line.offset for line in lines] == [1000, *ends][: len(lines)]
    for line in lines:
        assert data[line.offset - 1000 : line.end - 1000] == line.raw + b"\n"
    assert splitter.partial_start == [1000, *ends][-1]
    assert b"".join(line.raw for line in splitter.partial) == data[splitter.partial_start - 1000 :]
    assert splitter.end == 1000 + len(data)


# Zeros

ID = b"6298d673f1090f1100476d4c"


@pytest.mark.parametrize(
    ("count", "chunk"),
    [*product([1, 2, 3, 4, 5, 3000], [1, 7, 4096, 65_536]), *product([70_000, 200_000], [4096, 65_536])],
)
def test_zeros_are_no_part_of_the_line_behind_them(count: int, chunk: int):
    data = b"a1\n" + bytes(count) + ID + b"\na2\n"
    splitter = LineSplitter(0)
    lines = [line for at in range(0, len(data), chunk) for line in splitter.feed(data[at : at + chunk])]
    begins = 3 + count
    assert lines == [
        Line(b"a1", 0, 3),
        Line(b"", 3, begins, zeros=count),
        Line(ID, begins, begins + 25),
        Line(b"a2", begins + 25, begins + 28),
    ]
    assert count_newlines(lines) == 3, "lines keep the numbers that an editor shows"


@pytest.mark.parametrize("count", [2, 3, 4, 9000])
def test_zeros_end_the_text_before_them(count: int):
    """What follows is a line of its own, even if nothing follows."""
    lines, _ = split(b"abc" + bytes(count) + b"def\n")
    assert lines == [Line(b"abc", 0, 3 + count, zeros=count), Line(b"def", 3 + count, 7 + count)]
    lines, _ = split(b"abc" + bytes(count) + b"\n")
    assert lines == [Line(b"abc", 0, 3 + count, zeros=count), Line(b"", 3 + count, 4 + count)]


def test_zeros_at_the_end_belong_to_no_line_yet_and_are_never_kept_in_memory():
    splitter = LineSplitter(0)
    assert splitter.feed(b"a1\n") != []
    for _ in range(100):
        assert splitter.feed(bytes(1_000_000)) == []
    splitter.skip_zeros(10**12)
    assert (splitter.zeros, splitter.partial_start, splitter.end) == (10**12 + 10**8, 3, 3 + 10**12 + 10**8)
    assert splitter.partial == [Line(b"", 3, splitter.end, zeros=splitter.zeros)]
    end = splitter.end
    assert splitter.feed(b"a2\n") == [Line(b"", 3, end, zeros=end - 3), Line(b"a2", end, end + 3)]


def test_text_without_newline_before_or_behind_zeros_at_the_end_is_partial():
    _, splitter = split(b"abc" + bytes(9))
    assert splitter.finish() == [Line(b"abc", 0, 12, zeros=9)]
    _, splitter = split(bytes(9) + b"abc")
    assert splitter.finish() == [Line(b"abc", 9, 12, unterminated=True)]
    _, splitter = split(bytes(2) + b"abc")
    assert splitter.finish() == [Line(b"", 0, 2, zeros=2), Line(b"abc", 2, 5, unterminated=True)]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-16"])
@pytest.mark.parametrize(
    "text", ["a1\r\nb2\r\n", "a1\n\n" + "c" * 24 + "\n", '{"asset_id":"a1","metadata":{"t":"\u4e2d"}}\n']
)
def test_utf_16_text_is_no_run_of_zeros(encoding: str, text: str):
    lines, splitter = split(text.encode(encoding))
    lines += splitter.finish()
    assert not any(line.zeros for line in lines)
    assert all(is_utf16(line.raw) for line in lines if line.raw.strip(b"\0\r\n"))


@given(st.lists(PIECES, max_size=10).map(b"".join), st.lists(st.integers(0, 100_000), max_size=9))
def test_every_byte_that_is_not_zero_is_in_one_line_and_no_line_overlaps_another(data: bytes, cuts: list[int]):
    lines, splitter = split(data, cuts=cuts)
    lines += splitter.finish()
    assert [line.offset for line in lines[1:]] == [line.end for line in lines[:-1]]
    for line in lines:
        whole = data[line.offset : line.end]
        if line.zeros:
            assert whole.endswith(bytes(line.zeros))
            assert not whole[: -line.zeros].endswith(b"\0")
        if not line.too_long:
            assert whole.replace(b"\0", b"") in {line.raw.replace(b"\0", b""), line.raw.replace(b"\0", b"") + b"\n"}
    assert count_newlines(line for line in lines if not line.unterminated) == data.count(b"\n")
