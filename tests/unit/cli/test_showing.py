"""How a run shows itself: for people on a terminal, for programs anywhere else."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from asset_worker.cli import showing
from asset_worker.cli.form import Form
from asset_worker.cli.showing import Streams, _others_may_write, progress_of, shown_to_people
from tests.doubles.looks import decided, lease, seen


@pytest.mark.parametrize(
    ("form", "terminal", "obeys", "others", "progress"),
    [
        (Form(), True, True, False, "live"),
        (Form(json=True), True, True, False, "live"),
        (Form(), False, True, False, "none"),
        (Form(plain=True), False, True, False, "none"),
        (Form(quiet=True), True, True, False, "none"),
        (Form(quiet=True, plain=True), True, True, False, "none"),
        (Form(plain=True), True, True, False, "lines"),
        (Form(), True, False, False, "lines"),
        (Form(), True, True, True, "lines"),
    ],
)
def test_progress_is_as_the_terminal_and_the_user_want_it(form, terminal, obeys, others, progress):
    streams = Streams(stderr_is_terminal=terminal, obeys_control=obeys, others_write=others)
    assert progress_of(form, streams) == progress


def test_a_live_display_is_used_only_if_nothing_else_can_write_to_its_terminal(tmp_path):
    """The reader of a pipe may, as jq does, and so may who reads a file that is a terminal."""
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    terminal, other = os.openpty()
    try:
        for target in (tmp_path / "pipe", os.ttyname(other)):
            assert _others_may_write(str(target))
        for target in (tmp_path / "file", tmp_path / "none yet", os.devnull):
            assert not _others_may_write(str(target))
    finally:
        os.close(terminal)
        os.close(other)


@pytest.mark.parametrize(("same", "others"), [(True, False), (False, True)])
def test_events_on_the_terminal_of_stderr_are_written_above_the_display(same, others, monkeypatch):
    terminals = [os.openpty() for _ in range(2)]
    (_, stderr), (_, another) = terminals
    monkeypatch.setattr(showing, "STDOUT", stderr if same else another)
    monkeypatch.setattr(showing, "STDERR", stderr)
    assert _others_may_write("-") is others
    for pair in terminals:
        for each in pair:
            os.close(each)


def test_without_a_terminal_no_command_loads_what_is_for_one():
    """Loading rich would take a fifth of a start."""
    modules = "asset_worker.cli.wait, asset_worker.cli.run, asset_worker.cli.demo"
    code = f"import sys, {modules}; sys.exit(any(name.split('.')[0] == 'rich' for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("columns", "reason", "shown"),
    [(80, "The file is damaged.", True), (80, "The file is damaged. " * 5, False), (200, None, True)],
)
def test_a_reason_that_is_cut_on_the_terminal_is_not_shown(columns, reason, shown, monkeypatch):
    monkeypatch.setattr(showing, "is_terminal", lambda _: True)
    monkeypatch.setattr(showing, "columns_of", lambda _: columns)
    step = decided(lease(), seen("failed", error={"message": reason}))
    assert shown_to_people(Form())(step) is shown
    assert not shown_to_people(Form(json=True))(step)
    monkeypatch.setattr(showing, "is_terminal", lambda fd: fd == 1)
    assert not shown_to_people(Form())(step)
