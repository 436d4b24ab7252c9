"""Lines of text in styles, measured in the cells of a terminal: pure functions.

The characters of some scripts, and emoji, are two cells wide, and others none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from rich.cells import cell_len, set_cell_size

from asset_worker.runtime.text import CUT

STYLES: Final[Mapping[str, str]] = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "magenta": "35",
    "cyan": "36",
}
"""The parameters of SGR (ECMA-48) by style."""
GAP: Final = "  "
TAIL_CELLS: Final = 6
"""How much of the end of a file name stays when it is cut: its extension."""
OUTCOME_STYLES: Final[Mapping[str, str]] = {
    "ready": "green",
    "degraded": "yellow",
    "failed": "red",
    "not_found": "red",
    "timed_out": "magenta",
    "rejected": "red",
}


class Span(NamedTuple):
    """A piece of a line. Text from outside in it must have passed `runtime.text.visible`."""

    text: str
    style: str = ""
    """A key of `STYLES`; empty: the terminal's own."""


Line = tuple[Span, ...]


def width_of(line: Iterable[Span]) -> int:
    """Return how many cells a line takes."""
    return sum(cell_len(span.text) for span in line)


def joined(parts: Sequence[Line], separator: str = GAP) -> Line:
    """Return the parts as one line, with the separator between them. Empty parts are left out."""
    line: list[Span] = []
    for part in parts:
        if width_of(part):
            line += [Span(separator)] if line else []
            line += part
    return tuple(line)


def cut(text: str, cells: int) -> str:
    """Return a text cut at its end to a number of cells, the last of which shows that it was cut."""
    if cell_len(text) <= cells:
        return text
    return set_cell_size(text, cells - 1).rstrip() + CUT if cells > 0 else ""


def cut_start(text: str, cells: int) -> str:
    """Return a text cut at its start to a number of cells, as a path whose end says most."""
    if cell_len(text) <= cells:
        return text
    while text and cell_len(text) >= cells:
        text = text[1:]
    return CUT + text


def cut_inside(text: str, cells: int) -> str:
    """Return a text cut to a number of cells so that its end can still be read, as the extension of a file name."""
    if cell_len(text) <= cells or cells < 2 * TAIL_CELLS - 3:
        return cut(text, cells)
    tail = text[-TAIL_CELLS:]
    while cell_len(tail) > TAIL_CELLS:
        tail = tail[1:]
    return cut(text, cells - cell_len(tail)) + tail


def ends_of(asset_id: str) -> str:
    """Return the beginning and the end of an ID, by which people know it: `6298…474c`."""
    return asset_id if len(asset_id) <= 9 else f"{asset_id[:4]}{CUT}{asset_id[-4:]}"


def padded(text: str, cells: int) -> str:
    """Return a text with spaces up to a number of cells."""
    return text + " " * (cells - cell_len(text))


def cut_line(line: Line, cells: int) -> Line:
    """Return a line cut to a number of cells."""
    if width_of(line) <= cells:
        return line
    found: list[Span] = []
    left = cells
    for text, style in line:
        found.append(Span(cut(text, left) if cell_len(text) >= left else text, style))
        left -= cell_len(text)
        if left <= 0:
            break
    return tuple(found)


def without_styles(line: Line) -> str:
    """Return the text of a line."""
    return "".join(span.text for span in line)


def styled(line: Line) -> str:
    """Return a line with control sequences for its styles."""
    return "".join(f"\x1b[{STYLES[style]}m{text}\x1b[0m" if style else text for text, style in line)
