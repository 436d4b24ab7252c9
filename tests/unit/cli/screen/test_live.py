"""A live display and lines of progress, in virtual time: not too many, whole, and no error that ends the work."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from asset_worker.cli.screen import live
from asset_worker.cli.screen.live import (
    LINE_SECONDS,
    QUIET_SECONDS,
    run_with_live_display,
    run_with_progress_lines,
)
from asset_worker.domain.assets import asset_from
from asset_worker.telemetry.problems import Problem, Reason
from tests.doubles.looks import IDS
from tests.doubles.screens import Life, ScriptedRun
from tests.doubles.terminal import Terminal
from tests.unit.cli.screen.showing import connect, view_of

pytestmark = pytest.mark.virtual_time


def seen(asset_id, status):
    return asset_from({"_id": asset_id, "status": status})


def lives(*, ready_at=(), count=2):
    return [
        Life(asset_id, [(1.0, seen(asset_id, "processing")), *((at, seen(asset_id, "ready")) for at in ends)])
        for asset_id, ends in zip(IDS[:count], [*([at] for at in ready_at), [], [], []], strict=False)
    ]


def with_live_display(service, view):
    return run_with_live_display(service, view, colours=False)


BOTH = pytest.mark.parametrize("run", [run_with_progress_lines, with_live_display], ids=["lines", "live"])


async def lines(monkeypatch, service, **options):
    terminal = Terminal(200)
    connect(monkeypatch, terminal)
    assert await run_with_progress_lines(service, view_of(service, **options)) == 0
    return terminal.lines


async def test_a_change_is_reported_with_what_is_waited_for_and_what_finished(monkeypatch):
    assert await lines(monkeypatch, ScriptedRun(lives(ready_at=[5.0]), seconds=10)) == [
        "waiting: 0/2 done; waiting for first look 2; 0 requests; 0 s",
        "waiting: 0/2 done; waiting for processing 2; 2 requests; 2 s",
        "waiting: 1/2 done; waiting for processing 1; finished ready 1; 3 requests; 5 s",
    ]


async def test_changes_in_quick_succession_share_a_line_and_the_last_one_is_reported(monkeypatch):
    many = [Life(f"a{n}", [(n / 10, seen(f"a{n}", "ready"))]) for n in range(1, 101)]
    found = await lines(monkeypatch, ScriptedRun(many, seconds=10.0))
    assert len(found) <= 10 / LINE_SECONDS + 2
    assert found[-1] == "waiting: 100/100 done; finished ready 100; 100 requests; 10 s"


async def test_without_a_change_the_line_is_repeated_now_and_then(monkeypatch):
    found = await lines(monkeypatch, ScriptedRun(lives(count=1), seconds=10 * QUIET_SECONDS))
    assert 9 <= len(found) <= 12
    assert {line.rpartition("; 1 request;")[0] for line in found[1:]} == {"waiting: 0/1 done; waiting for processing 1"}


async def test_a_run_that_has_nothing_to_do_says_nothing(monkeypatch):
    assert await lines(monkeypatch, ScriptedRun([], seconds=100)) == []


async def test_an_idle_service_says_once_what_it_listens_to(monkeypatch):
    found = await lines(monkeypatch, ScriptedRun([], seconds=10_000), listening_to=["/var/spool/assets"])
    assert found == ["waiting: listening to /var/spool/assets; nothing pending"]


@BOTH
async def test_a_terminal_that_is_behind_gets_only_the_last_state(run, monkeypatch):
    """What it was not shown meanwhile is out of date when it goes on; its queue is for the log."""
    terminal = Terminal(80)
    connect(monkeypatch, terminal)
    monkeypatch.setattr(live, "is_stderr_behind", lambda: True)
    service = ScriptedRun(lives(ready_at=[60.0, 60.0]), seconds=63)
    assert await run(service, view_of(service)) == 0
    assert len(terminal.lines) == 1
    assert "2/2 done" in terminal.lines[0]


class NotStarted(ScriptedRun):
    """A service whose state directory is in use: its parts are never built."""

    async def run(self):
        await asyncio.sleep(1)
        raise RuntimeError("in use")


@BOTH
async def test_why_a_service_does_not_start_is_not_hidden_by_its_progress(run, monkeypatch):
    terminal = Terminal(80)
    connect(monkeypatch, terminal)
    service = NotStarted([], seconds=1)
    with pytest.raises(RuntimeError, match="in use"):
        await run(service, view_of(service))
    assert terminal.lines == []


class Fails(ScriptedRun):
    """A service that ends with an error while assets are pending."""

    async def run(self):
        await super().run()
        raise RuntimeError("the journal is gone")


async def test_an_error_leaves_nothing_of_the_display_that_would_be_out_of_date(monkeypatch):
    terminal = Terminal(80)
    connect(monkeypatch, terminal)
    service = Fails(lives(), seconds=5)
    with pytest.raises(RuntimeError, match="gone"):
        await with_live_display(service, view_of(service))
    assert terminal.lines == []


EVIL = Problem(Reason.SINK_FAILING, "the sink file:/e\x1b]52;c;eA==\x07\n\x9b[bold] fails", last_error="\x1b[2J\u202e")
SHOWN = r"the sink file:/e\x1b]52;c;eA==\x07\n\x9b[bold] fails"


@BOTH
async def test_progress_holds_nothing_that_a_terminal_obeys(run, monkeypatch):
    terminal = Terminal(200)
    connect(monkeypatch, terminal)
    service = ScriptedRun(lives(), seconds=5, problems=[(0.0, 99.0, EVIL)])
    await run(service, view_of(service))
    text = "\n".join(terminal.lines)
    assert SHOWN in text
    assert r"\x1b[2J\u202e" in text


async def watched(monkeypatch, service, *, at, change, **options):
    """What the terminal shows before and after a change, in seconds since the start."""
    terminal = Terminal(80)
    connect(monkeypatch, terminal)
    running = asyncio.create_task(with_live_display(service, view_of(service, **options)))
    await asyncio.sleep(at)
    before = terminal.lines
    change(terminal)
    await asyncio.sleep(live.REFRESH_SECONDS * 2)
    after = terminal.lines
    await running
    return before, after


async def test_a_narrower_terminal_gets_a_narrower_display(monkeypatch):
    service = ScriptedRun(lives(), seconds=10)
    before, after = await watched(monkeypatch, service, at=5, change=lambda it: setattr(it, "columns", 30))
    assert IDS[0] in before[1]
    assert "…" in after[1]
    assert all(len(line) <= 30 for line in after)
    assert len(after) == len(before)


async def test_a_background_job_draws_nothing(monkeypatch):
    """The terminal belongs to the shell then."""

    def to_background(_terminal):
        monkeypatch.setattr(live, "is_in_foreground", lambda _fd: False)

    before, after = await watched(monkeypatch, ScriptedRun(lives(), seconds=10), at=5, change=to_background)
    assert len(before) == 4
    assert after == []


async def test_an_idle_service_writes_nothing_more(monkeypatch):
    """It may be idle for days, on a slow line."""
    terminal = Terminal(80)
    connect(monkeypatch, terminal)
    drawn = []
    monkeypatch.setattr(live, "show_below", drawn.append)
    service = ScriptedRun([], seconds=600)
    await with_live_display(service, view_of(service, listening_to=["stdin"]))
    assert len(drawn) == 2, "at the start, and nothing at the end"


async def test_after_a_stop_of_the_process_the_display_goes_on_below_what_the_shell_wrote(monkeypatch):
    """Ctrl-Z, then `fg`."""

    def stop_and_continue(terminal):
        terminal.feed(b"[1]+  Stopped\n$ fg\n")
        os.kill(os.getpid(), signal.SIGCONT)

    before, after = await watched(monkeypatch, ScriptedRun(lives(), seconds=10), at=5, change=stop_and_continue)
    assert after[: len(before) + 2] == [*before, "[1]+  Stopped", "$ fg"]
    assert len(after) == 2 * len(before) + 2
    assert signal.getsignal(signal.SIGCONT) is signal.SIG_DFL


async def test_a_reader_that_pauses_leaves_no_old_display_behind(monkeypatch):
    """Ctrl-S, then Ctrl-Q."""
    is_behind = False
    terminal = Terminal(80)
    connect(monkeypatch, terminal)
    monkeypatch.setattr(live, "is_stderr_behind", lambda: is_behind)
    service = ScriptedRun(lives(), seconds=60)
    running = asyncio.create_task(with_live_display(service, view_of(service)))
    await asyncio.sleep(5)
    before, is_behind = terminal.lines, True
    await asyncio.sleep(30)
    assert terminal.lines == before
    is_behind = False
    await asyncio.sleep(1)
    assert len(terminal.lines) == len(before)
    assert terminal.lines != before
    await running
