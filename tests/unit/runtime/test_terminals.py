"""What is known about a terminal."""

from __future__ import annotations

import fcntl
import os
import struct
import termios

import pytest

from asset_worker.runtime.terminals import has_colours, is_in_foreground, is_terminal, obeys_control_sequences, size_of


@pytest.fixture
def terminal():
    ours, theirs = os.openpty()
    yield theirs
    os.close(ours)
    os.close(theirs)


@pytest.fixture
def no_terminal():
    read, write = os.pipe()
    yield write
    os.close(read)
    os.close(write)


@pytest.mark.parametrize(
    ("term", "no_color", "colours"),
    [("xterm-256color", None, True), ("xterm", "", True), ("xterm", "1", False), ("dumb", None, False)],
)
def test_colours_are_for_terminals_that_have_them_and_people_who_want_them(
    term, no_color, colours, terminal, no_terminal, monkeypatch
):
    monkeypatch.setenv("TERM", term)
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color is not None:
        monkeypatch.setenv("NO_COLOR", no_color)
    assert has_colours(terminal) is colours
    assert not has_colours(no_terminal)


@pytest.mark.parametrize(("term", "obeys"), [("xterm", True), ("dumb", False), ("unknown", False), (None, True)])
def test_a_dumb_terminal_obeys_nothing(term, obeys, monkeypatch):
    monkeypatch.delenv("TERM", raising=False)
    if term is not None:
        monkeypatch.setenv("TERM", term)
    assert obeys_control_sequences() is obeys


def test_the_size_is_that_of_the_terminal_now(terminal, monkeypatch):
    monkeypatch.setenv("COLUMNS", "33")
    for columns in (50, 120):
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 10, columns, 0, 0))
        assert size_of(terminal) == (columns, 10)


@pytest.mark.parametrize(("columns", "expected"), [("50", 50), ("", 80), ("many", 80), ("0", 80), ("-3", 80)])
def test_a_terminal_without_a_size_has_that_of_the_environment_or_the_usual_one(
    columns, expected, terminal, no_terminal, monkeypatch
):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.delenv("LINES", raising=False)
    assert size_of(terminal) == (expected, 24)
    assert size_of(no_terminal) == (expected, 24)


def test_a_closed_descriptor_is_no_terminal():
    read, write = os.pipe()
    os.close(read)
    os.close(write)
    assert not is_terminal(write)


def test_a_terminal_that_controls_nobody_has_no_background(terminal):
    assert is_in_foreground(terminal)
