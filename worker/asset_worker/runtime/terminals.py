"""What is known about a terminal: its size, whether it has colours, and what it does when it gets narrower."""

from __future__ import annotations

import os
from typing import Final

USUAL_SIZE: Final = os.terminal_size((80, 24))
"""The size of a terminal that doesn't know its own."""
_WITHOUT_CONTROL: Final = frozenset({"dumb", "unknown"})
_REFLOWING: Final = (
    "ALACRITTY_WINDOW_ID",
    "KITTY_WINDOW_ID",
    "KONSOLE_VERSION",
    "TERM_PROGRAM",
    "TMUX",
    "VTE_VERSION",
    "WT_SESSION",
)
"""Variables that are set by terminals that wrap a long line anew when their width changes."""


def is_terminal(fd: int) -> bool:
    """Return whether a descriptor is open, and a terminal."""
    try:
        return os.isatty(fd)
    except OSError:
        return False


def obeys_control_sequences() -> bool:
    """Return whether the terminal of this process obeys control sequences, as far as `TERM` says."""
    return os.environ.get("TERM") not in _WITHOUT_CONTROL


def wants_colours() -> bool:
    """Return whether text for the terminal of this process may have colours (https://no-color.org)."""
    return obeys_control_sequences() and not os.environ.get("NO_COLOR")


def has_colours(fd: int) -> bool:
    """Return whether text that is written to a descriptor may have colours."""
    return is_terminal(fd) and wants_colours()


def size_of(fd: int) -> os.terminal_size:
    """Return the size of a terminal. If it doesn't know it: that which `COLUMNS` and `LINES` say, or the usual one."""
    try:
        columns, lines = os.get_terminal_size(fd)
    except OSError:
        columns, lines = 0, 0
    return os.terminal_size(
        (
            columns or _number("COLUMNS") or USUAL_SIZE.columns,
            lines or _number("LINES") or USUAL_SIZE.lines,
        )
    )


def columns_of(fd: int) -> int:
    """Return the width of a terminal, as `size_of` does."""
    return size_of(fd).columns


def reflows() -> bool:
    """Return whether the terminal of this process is known to wrap long lines anew when its width changes.

    Of any other it must be assumed that it cuts them, as xterm does: rows of a live display that were wrapped are then
    left behind, but nothing that is above them is erased.
    """
    return any(name in os.environ for name in _REFLOWING)


def is_in_foreground(fd: int) -> bool:
    """Return whether this process may draw on a terminal: it is no background job of a shell there."""
    try:
        return os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:  # it is not the terminal that controls this process, so there are no jobs
        return True


def _number(name: str) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0
