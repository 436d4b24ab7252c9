"""Bytes to lines."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset_worker.domain.submissions import RAW_BYTES_KEPT
from asset_worker.intake.splitter import LINE_BYTES_LIMIT, Line, LineSplitter

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
    assert (splitter.partial, splitter.partial_start, splitter.end) == (b"ab", 10, 12)
    assert splitter.feed(b"c\n\nd") == [Line(b"abc", 10, 14), Line(b"", 14, 15)]
    assert (splitter.partial, splitter.partial_start, splitter.end) == (b"d", 15, 16)
    assert splitter.feed(b"") == []
    assert splitter.finish() == Line(b"d", 15, 16)
    assert splitter.finish() is None
    assert (splitter.partial, splitter.partial_start, splitter.end) == (b"", 16, 16)


@pytest.mark.parametrize("chunk", [1000, 65_536, 400_000])
def test_a_line_of_300_kb_is_cut_to_its_beginning_and_the_next_one_is_whole(chunk: int):
    """It never fills the memory, in whatever pieces it comes."""
    data = b"x" * 300_000 + b"\na1\n"
    splitter = LineSplitter(0)
    lines = []
    for start in range(0, len(data), chunk):
        lines += splitter.feed(data[start : start + chunk])
        assert len(splitter.partial) <= LINE_BYTES_LIMIT + 4
    assert lines == [Line(b"x" * RAW_BYTES_KEPT, 0, 300_001, too_long=True), Line(b"a1", 300_001, 300_004)]


def test_a_line_that_is_too_long_and_has_no_end_is_cut_as_well():
    lines, splitter = split(b"x" * 300_000)
    assert lines == []
    assert splitter.finish() == Line(b"x" * RAW_BYTES_KEPT, 0, 300_000, too_long=True)


@pytest.mark.parametrize(("size", "too_long"), [(LINE_BYTES_LIMIT + 4, False), (LINE_BYTES_LIMIT + 5, True)])
def test_the_splitter_leaves_room_for_what_the_limit_does_not_count(size: int, too_long: bool):
    [line], _ = split(b"x" * size + b"\n")
    assert line.too_long is too_long


PIECES = st.sampled_from(
    [b"a", b"ab\r", b"\n", b"\n\n", b"\r\n", b"\xff", BOM, b"x" * 1500, b"y" * 40_000, b"z" * 66_000]
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
    assert splitter.partial == data[splitter.partial_start - 1000 :]
    assert splitter.end == 1000 + len(data)
