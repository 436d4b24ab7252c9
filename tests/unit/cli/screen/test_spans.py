"""Text measured and cut in the cells of a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from asset_worker.cli.screen.spans import (
    Span,
    cut,
    cut_inside,
    cut_line,
    cut_start,
    ends_of,
    joined,
    styled,
    width_of,
    without_styles,
)
from asset_worker.runtime.text import visible

TEXTS = st.text(st.one_of(st.characters(), st.sampled_from("a动🎬ם\u0301\u200d👩‍👧")), max_size=40).map(visible)


@given(text=TEXTS, cells=st.integers(1, 60), how=st.sampled_from([cut, cut_inside, cut_start]))
def test_a_text_that_is_cut_fits_and_one_that_fits_is_not_cut(text, cells, how):
    found = how(text, cells)
    assert cell_len(found) <= cells
    if cell_len(text) <= cells:
        assert found == text
    else:
        assert "…" in found


@pytest.mark.parametrize(
    ("how", "text", "cells", "found"),
    [
        (cut, "The video has no frames", 12, "The video h…"),
        (cut, "动画片", 4, "动…"),
        (cut_inside, "a long name.mp4", 12, "a lon…me.mp4"),
        (cut_inside, "动画片的文件名🎬.mp4", 12, "动画…🎬.mp4"),
        (cut_inside, "a long name.mp4", 5, "a lo…"),
        (cut_start, "/var/spool/assets", 8, "…/assets"),
    ],
)
def test_how_a_text_is_cut(how, text, cells, found):
    assert how(text, cells) == found


def test_an_id_is_known_by_its_ends():
    assert ends_of("6298d673f1090f1100476d4c") == "6298…6d4c"
    assert ends_of("a1") == "a1"


@given(line=st.lists(st.tuples(TEXTS, st.sampled_from(["", "red"]))), cells=st.integers(1, 60))
def test_a_line_that_is_cut_fits(line, cells):
    spans = tuple(Span(*each) for each in line)
    found = cut_line(spans, cells)
    assert width_of(found) <= cells
    if width_of(spans) <= cells:
        assert found == spans


def test_empty_parts_leave_no_gap():
    assert without_styles(joined([(Span("a"),), (Span(""),), (), (Span("b"),)])) == "a  b"


def test_styles_end_with_their_text():
    assert styled((Span("ready", "green"), Span("  6298"))) == "\x1b[32mready\x1b[0m  6298"
