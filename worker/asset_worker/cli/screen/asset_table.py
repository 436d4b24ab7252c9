"""Assets as rows of a table, one each, in columns that fit the terminal: pure functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from rich.cells import cell_len

from asset_worker.cli.screen.scene import AssetRow
from asset_worker.cli.screen.spans import GAP, OUTCOME_STYLES, Line, Span, cut, cut_inside, ends_of, padded
from asset_worker.telemetry.words import clock_duration, short_time_left, time_left

LONGEST_NAME: Final = 32
"""Cells of a file name, at most."""
SPINNER_CELLS: Final = 2


class _Column(msgspec.Struct, frozen=True):
    """One column: what it shows of an asset, and how narrow it may be."""

    heading: str
    text: Callable[[AssetRow], str]
    least: int | None = None
    """The fewest cells it may be cut to; None: it is never cut."""


def _name(row: AssetRow) -> str:
    return cut_inside(row.filename, LONGEST_NAME)


def _kind(row: AssetRow) -> str:
    return row.file_type.partition("/")[0]


def _left(row: AssetRow) -> str:
    return time_left(row.left) if row.left is not None else ""


def _short_left(row: AssetRow) -> str:
    return short_time_left(row.left) if row.left is not None else ""


_WHOLE_ID = _Column("asset", lambda row: row.asset_id)
_ID = _Column("asset", lambda row: ends_of(row.asset_id))
_TYPE = _Column("type", lambda row: row.file_type)
_KIND = _Column("type", _kind)
_STAGE = _Column("stage", lambda row: row.outcome or row.stage)
_CUT_STAGE = _Column("stage", lambda row: row.outcome or row.stage, least=1)
_ELAPSED = _Column("elapsed", lambda row: clock_duration(row.age))
_LEFT = _Column("left", _left)
_SHORT_LEFT = _Column("left", _short_left)

_LAYOUTS: Final = (
    (_WHOLE_ID, _Column("file", _name, 16), _TYPE, _STAGE, _ELAPSED, _LEFT),
    (_WHOLE_ID, _Column("file", _name, 12), _KIND, _STAGE, _ELAPSED, _LEFT),
    (_ID, _Column("file", _name, 12), _KIND, _STAGE, _ELAPSED, _LEFT),
    (_ID, _Column("file", _name, 8), _KIND, _STAGE, _ELAPSED, _SHORT_LEFT),
    (_ID, _Column("file", _name, 8), _STAGE, _ELAPSED, _SHORT_LEFT),
    (_ID, _Column("file", _name, 8), _STAGE, _SHORT_LEFT),
    (_ID, _STAGE, _ELAPSED, _SHORT_LEFT),
    (_ID, _STAGE, _SHORT_LEFT),
    (_ID, _CUT_STAGE),
)
"""The columns, from those for the widest terminal to those for the narrowest."""


def asset_table(assets: Sequence[AssetRow], spinner: str, *, columns: int) -> list[Line]:
    """Return a heading and a row for each asset, in the widest layout that fits. Columns without content are left out.

    A pending asset has the spinner in front of it.
    """
    if not assets:
        return []
    for layout in _LAYOUTS:
        used = [column for column in layout if any(map(column.text, assets))]
        widths = _widths(used, assets, columns)
        if widths is not None:
            break
    else:
        widths = [max(0, columns - SPINNER_CELLS), *[0] * (len(used) - 1)]
    heading: Line = (Span(" " * SPINNER_CELLS + _cells([each.heading for each in used], used, widths), "dim"),)
    return [heading, *(_row(asset, used, widths, spinner) for asset in assets)]


def _widths(layout: Sequence[_Column], assets: Sequence[AssetRow], columns: int) -> list[int] | None:
    """Return the cells of each column; None: the layout does not fit."""
    wanted = [max(cell_len(column.heading), *(cell_len(column.text(each)) for each in assets)) for column in layout]
    excess = sum(wanted) + SPINNER_CELLS + len(GAP) * (len(layout) - 1) - columns
    for index, column in enumerate(layout):
        if excess > 0 and column.least is not None and wanted[index] > column.least:
            taken = min(excess, wanted[index] - column.least)
            wanted[index] -= taken
            excess -= taken
    return wanted if excess <= 0 else None


def _row(asset: AssetRow, layout: Sequence[_Column], widths: Sequence[int], spinner: str) -> Line:
    line = [Span(padded(spinner if asset.outcome is None else "", SPINNER_CELLS), "cyan")]
    for column, width in zip(layout, widths, strict=True):
        style = OUTCOME_STYLES.get(asset.outcome or "", "") if column.heading == "stage" else ""
        line += [Span(_cell(column.text(asset), column, width), style), Span(GAP)]
    return _stripped(line)


def _cell(text: str, column: _Column, width: int) -> str:
    return padded((cut_inside if column.heading == "file" else cut)(text, width), width)


def _cells(texts: Sequence[str], layout: Sequence[_Column], widths: Sequence[int]) -> str:
    found = [_cell(text, column, width) for text, column, width in zip(texts, layout, widths, strict=True)]
    return GAP.join(found).rstrip()


def _stripped(line: list[Span]) -> Line:
    """Return the line without spaces at its end, which would make it wrap when the terminal gets narrower."""
    while line and not line[-1].text.strip():
        line.pop()
    if line:
        line[-1] = Span(line[-1].text.rstrip(), line[-1].style)
    return tuple(line)
