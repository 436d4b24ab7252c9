"""Rejected lines, many at a time: the row that an input has, and what the log shows of a batch."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset_worker.domain.assets import AssetId
from asset_worker.domain.submissions import Batch, Rejection, Submission, Zeros
from asset_worker.intake.rejections import RejectedRow, row_after, shown_rejections, shown_zeros

ORIGIN = "file:/q"


def rejection(line: int, reason: str = "why") -> Rejection:
    return Rejection(ORIGIN, line, reason, b"!", str(line))


def batch(lines: str, first: int = 1) -> Batch:
    """One line for each letter: `g` is a good line, `r` a rejected one."""
    numbered = list(enumerate(lines, start=first))
    good = [Submission(AssetId(f"a{number}"), ORIGIN, number) for number, letter in numbered if letter == "g"]
    return Batch(good, [rejection(number) for number, letter in numbered if letter == "r"], ORIGIN, b"")


@pytest.mark.parametrize(
    ("before", "lines", "count"),
    [
        pytest.param(None, "", None, id="nothing"),
        pytest.param(None, "ggg", None, id="good lines"),
        pytest.param(None, "r", 1, id="the first"),
        pytest.param(7, "", 7, id="only comments"),
        pytest.param(7, "rr", 9, id="more"),
        pytest.param(7, "g", None, id="a good line"),
        pytest.param(7, "rrg", None, id="a good line after others"),
        pytest.param(7, "rrgrgr", 1, id="one after the last good line"),
    ],
)
def test_a_good_line_ends_a_row(before: int | None, lines: str, count: int | None):
    row = None if before is None else RejectedRow(ORIGIN, before, 1.0, "why")
    expected = None if count is None else RejectedRow(ORIGIN, count, 1.0 if count >= 7 else 9.0, "why")
    assert row_after(row, batch(lines), now=9.0) == expected


@given(st.lists(st.text("gr", max_size=5)))
def test_the_row_is_the_same_however_the_lines_are_divided_into_batches(pieces: list[str]):
    row, first = None, 1
    for piece in pieces:
        row, first = row_after(row, batch(piece, first), now=9.0), first + len(piece)
    assert (row.count if row else 0) == len("".join(pieces).rpartition("g")[2])


def test_the_row_has_the_latest_reason():
    row = row_after(None, Batch([], [rejection(5, "the last"), rejection(4)], ORIGIN, b""), now=9.0)
    assert row == RejectedRow(ORIGIN, 2, 9.0, "the last")


def test_the_log_shows_how_many_lines_which_and_why():
    one, others = rejection(3, "first"), [rejection(5), rejection(4)]
    assert shown_rejections([one]) == {"source": "file:/q:3", "reason": "first"}
    assert shown_rejections([*others, one]) == {
        "count": 3,
        "first": "file:/q:3",
        "last": "file:/q:5",
        "reason": "first",
    }


def test_the_log_shows_how_many_zeros():
    runs = [Zeros(ORIGIN, 3, 3000, 3050), Zeros(ORIGIN, 7, 20, 4000)]
    assert shown_zeros(runs[:1]) == {"source": "file:/q:3", "bytes": 3000, "end": 3050}
    assert shown_zeros(runs) == {"count": 2, "first": "file:/q:3", "last": "file:/q:7", "bytes": 3020, "end": 4000}


def test_a_good_line_behind_zeros_ends_a_row_of_which_the_text_before_them_was_the_last():
    """Both have the same number."""
    row = row_after(None, Batch([Submission(AssetId("a5"), ORIGIN, 5)], [rejection(5)], ORIGIN, b""), now=9.0)
    assert row is None
