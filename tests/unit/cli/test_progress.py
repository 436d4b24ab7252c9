"""Progress by lines, in virtual time: whole lines, not too many, and no error that ends the work."""

from __future__ import annotations

import asyncio
import io
import re
import sys

import pytest

from asset_worker.cli import progress
from asset_worker.cli.progress import (
    LINE_SECONDS,
    QUIET_SECONDS,
    run_with_live_display,
    run_with_progress_lines,
)
from asset_worker.domain.run_plan import Exit
from asset_worker.telemetry.snapshot import Snapshot
from tests.doubles.snapshots import snapshot

pytestmark = pytest.mark.virtual_time


class Waits:
    """A service that goes through states, each for a number of seconds, with ten requests a second."""

    def __init__(self, *states: tuple[float, dict[str, object]]) -> None:
        self._states = states
        self.is_built = False

    async def run(self) -> Exit:
        requests = 0
        for seconds, state in self._states:
            for _ in range(round(seconds * 10)):
                requests += 1
                self._now = snapshot(requests=requests, **state)
                self.is_built = True
                await asyncio.sleep(0.1)
        return Exit.NOT_READY

    def snapshot(self) -> Snapshot:
        return self._now

    def waiting_on(self) -> dict[str, int]:
        return {"asset": self._now.pending} if self._now.pending else {}


async def lines(capsys, *states):
    assert await run_with_progress_lines(Waits(*states), title="waiting") == Exit.NOT_READY
    text = capsys.readouterr().err
    assert not text or text.endswith("\n")
    return re.findall(r"^waiting: (.*); \d+ requests; \d+ s$", text, re.MULTILINE)


async def test_a_change_is_reported_with_what_is_waited_for_and_what_finished(capsys):
    assert await lines(
        capsys, (5, {"pending": 2}), (5, {"pending": 1, "completions": {"ready": 1}, "problems": ("the sink fails",)})
    ) == [
        "0/2 done; waiting for asset 2",
        "1/2 done; waiting for asset 1; finished ready 1; problem: the sink fails",
    ]


async def test_changes_in_quick_succession_share_a_line_and_the_last_one_is_reported(capsys):
    states = [(0.1, {"pending": 100 - done, "completions": {"ready": done}}) for done in range(101)]
    found = await lines(capsys, *states)
    assert len(found) <= 10 / LINE_SECONDS + 2
    assert found[-1] == "100/100 done; finished ready 100"


async def test_without_a_change_the_line_is_repeated_now_and_then(capsys):
    found = await lines(capsys, (10 * QUIET_SECONDS, {"pending": 1}))
    assert 9 <= len(found) <= 11
    assert set(found) == {"0/1 done; waiting for asset 1"}


async def test_a_worker_that_has_nothing_to_do_says_nothing(capsys):
    assert await lines(capsys, (100, {})) == []


@pytest.mark.parametrize("run", [run_with_progress_lines, run_with_live_display])
async def test_a_terminal_that_is_behind_gets_only_the_last_state(run, monkeypatch):
    """What it was not shown meanwhile is out of date when it goes on; its queue is for the log."""
    terminal = io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(progress, "is_stderr_behind", lambda: True)
    assert await run(Waits((60, {"pending": 2}), (3, {"completions": {"ready": 2}})), title="waiting") == 1
    assert "0/2 done" not in terminal.getvalue()
    assert "2/2 done" in terminal.getvalue()


class NotStarted(Waits):
    """A service whose state directory is in use: its parts are never built."""

    async def run(self) -> Exit:
        await asyncio.sleep(1)
        raise RuntimeError("in use")


@pytest.mark.parametrize("run", [run_with_progress_lines, run_with_live_display])
async def test_why_a_service_does_not_start_is_not_hidden_by_its_progress(run):
    with pytest.raises(RuntimeError, match="in use"):
        await run(NotStarted(), title="waiting")


EVIL = "the sink file:/e\x1b]52;c;eA==\x07\n\x9b[bold] fails"
SHOWN = r"problem: the sink file:/e\x1b]52;c;eA==\x07\n\x9b[bold] fails"


async def test_a_line_of_progress_holds_nothing_that_a_terminal_obeys(capsys):
    assert await lines(capsys, (1, {"pending": 1, "problems": (EVIL,)})) == [f"0/1 done; waiting for asset 1; {SHOWN}"]


async def test_a_live_display_holds_nothing_that_a_terminal_obeys(monkeypatch):
    terminal = io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    await run_with_live_display(Waits((1, {"pending": 1, "problems": (EVIL,)})), title="waiting")
    assert SHOWN in terminal.getvalue()
    assert all(line.isprintable() for line in terminal.getvalue().split("\n"))
