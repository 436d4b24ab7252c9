"""Shows a report again and again: in place on a terminal, one after the other elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Final, NoReturn

import click

from asset_worker.cli.screen.spans import cut
from asset_worker.runtime.terminals import is_terminal, obeys_control_sequences, size_of

_CLEAR: Final = "\x1b[2J"
_HOME: Final = "\x1b[H"
_CLEAR_LINE: Final = "\x1b[K"
_CLEAR_BELOW: Final = "\x1b[J"


def show_again_and_again(report: Callable[[], str], *, every: float, in_place: bool) -> NoReturn:
    """Show what `report` returns every so many seconds, until a signal ends the process.

    `in_place`: on a terminal, each report takes the place of the one before; elsewhere an empty line comes between.
    """
    descriptor = sys.stdout.fileno()
    if not in_place or not is_terminal(descriptor) or not obeys_control_sequences():
        between = "\n" if in_place else ""
        text = report()
        while True:
            click.echo(text.encode(), nl=False)
            time.sleep(every)
            text = between + report()
    click.echo(_CLEAR.encode(), nl=False)
    while True:
        size = size_of(descriptor)
        lines = fitted(report(), columns=size.columns, rows=size.lines)
        click.echo((_HOME + "".join(f"{line}{_CLEAR_LINE}\n" for line in lines) + _CLEAR_BELOW).encode(), nl=False)
        time.sleep(every)


def fitted(text: str, *, columns: int, rows: int) -> list[str]:
    """Return the lines as far as they fit on a screen, whose last row stays free."""
    lines, most = text.splitlines(), max(rows - 1, 1)
    if len(lines) > most:
        lines = [*lines[: most - 1], f"… {len(lines) - most + 1} more lines"]
    return [cut(line, columns) for line in lines]
