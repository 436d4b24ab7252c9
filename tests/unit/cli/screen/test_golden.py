"""What people see, on terminals of three widths, in virtual time: compared with the files in `tests/unit/cli/screens`.

A change that is meant is taken over with `RENEW_SCREENS=1 pytest tests/unit/cli/screen/test_golden.py`: look at the
difference before you commit it.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from asset_worker.cli.screen import live
from asset_worker.cli.screen.live import run_with_live_display, run_with_progress_lines
from asset_worker.domain.assets import Missing, asset_from
from asset_worker.telemetry.problems import Problem, Reason
from tests.doubles.looks import NOW
from tests.doubles.screens import UNANSWERED, Life, ScriptedRun
from tests.doubles.terminal import Terminal
from tests.unit.cli.screen.showing import connect, view_of

pytestmark = pytest.mark.virtual_time

SCREENS = Path(__file__).parents[1] / "screens"
WIDTHS = (50, 80, 120)


def shown(asset_id, status, *, hls=None, thumbnail=None, file_type="video/mp4", **more):
    renditions = {"hls": hls, "thumbnail": thumbnail}
    objects = {name: {"status": each} for name, each in renditions.items() if each is not None}
    return asset_from({"_id": asset_id, "status": status, "file_type": file_type, **objects, **more})


def video(asset_id, filename, *, ready_at, ends_at, **more):
    """An asset that is looked at every two seconds."""
    looks = []
    for at in (1.2, 3.0, ready_at, ends_at):
        status = "processing" if at < ready_at else "ready"
        done = "ready" if at >= ends_at else "processing"
        looks.append((at, shown(asset_id, status, hls=done, thumbnail=done, filename=filename, **more)))
    return Life(asset_id, looks, ends_at)


def few():
    """One of each kind: usual, with a long name, in another script, failed, not visible, not looked at."""
    ids = [f"6298d673f1090f1100476d{number:02x}" for number in range(76, 84)]
    return [
        video(ids[0], "clip.mp4", ready_at=10.0, ends_at=12.3),
        video(ids[1], "a long name of a film, the last cut.mov", ready_at=50.0, ends_at=72.0, file_type="video/x-m4v"),
        video(ids[2], "动画片的文件名🎬.mp4", ready_at=30.0, ends_at=40.0),
        video(ids[3], "סרטון.mp4", ready_at=60.0, ends_at=62.0),
        Life(
            ids[4],
            [
                (1.2, shown(ids[4], "processing", filename="\x1b[31mevil\u202e.mp4")),
                (
                    20.0,
                    shown(
                        ids[4],
                        "failed",
                        filename="\x1b[31mevil\u202e.mp4",
                        error={"message": "The video has no frames that can be decoded; upload another one."},
                    ),
                ),
            ],
        ),
        Life(ids[5], [(1.2, Missing()), (20.0, Missing()), (61.0, Missing())]),
        Life(ids[6], [(2.0, UNANSWERED), (30.0, shown(ids[6], "ready", file_type="text/plain", filename="notes.txt"))]),
    ]


def many():
    ids = [f"6298d673f1090f11004{number:05x}" for number in range(120)]
    return [
        video(each, f"file-{number}.mp4", ready_at=5.0 + number / 2, ends_at=6.0 + number / 2)
        for number, each in enumerate(ids)
    ]


OUTAGE = Problem(
    Reason.API_UNAVAILABLE,
    "the API is unavailable",
    since=NOW + 40.0,
    last_error="GET /assets: 503 Service Unavailable",
    next_try=NOW + 60.0,
)


@pytest.fixture(autouse=True)
def _a_frame_a_second(monkeypatch):
    """Emulating a terminal takes time."""
    monkeypatch.setattr(live, "REFRESH_SECONDS", 1.0)


async def screens(terminal, running, at):
    """What the terminal shows at these times, in seconds since the start, and at the end."""
    task = asyncio.ensure_future(running)
    found, now = [], 0.0
    for instant in at:
        await asyncio.sleep(instant - now)
        now = instant
        found.append((f"after {instant:g} s", terminal.lines[-terminal.rows :]))
    await task
    return [*found, ("at the end", terminal.lines[-terminal.rows :])]


def check(name, found):
    text = "".join(f"--- {when} ---\n" + "".join(f"{line}\n" for line in lines) for when, lines in found)
    path = SCREENS / f"{name}.txt"
    if os.environ.get("RENEW_SCREENS"):
        path.write_text(text)
    assert text == path.read_text(), f"{path.name} differs: if that is meant, see the head of this file"


@pytest.mark.parametrize("columns", WIDTHS)
async def test_few_assets_have_a_row_each(columns, monkeypatch):
    terminal = Terminal(columns)
    connect(monkeypatch, terminal)
    service = ScriptedRun(few(), seconds=73.0, terminal=terminal)
    running = run_with_live_display(service, view_of(service), colours=True)
    check(f"few-{columns}", await screens(terminal, running, [1.1, 2.5, 15.5, 45.5]))


@pytest.mark.parametrize("columns", WIDTHS)
async def test_many_assets_share_a_bar(columns, monkeypatch):
    terminal = Terminal(columns, rows=14)
    connect(monkeypatch, terminal)
    service = ScriptedRun(many(), seconds=68.0, terminal=terminal, problems=[(40.0, 60.0, OUTAGE)])
    running = run_with_live_display(service, view_of(service, title="asset-worker"), colours=True)
    check(f"many-{columns}", await screens(terminal, running, [2.5, 30.5, 50.5]))


@pytest.mark.parametrize("columns", WIDTHS)
async def test_an_idle_service_says_what_it_listens_to(columns, monkeypatch):
    terminal = Terminal(columns)
    connect(monkeypatch, terminal)
    service = ScriptedRun(few()[:1], seconds=60.0, terminal=terminal)
    view = view_of(service, title="asset-worker", listening_to=["/var/spool/uploads/assets/queue", "the account"])
    running = run_with_live_display(service, view, colours=True)
    check(f"service-{columns}", await screens(terminal, running, [2.5, 30.5]))


@pytest.mark.parametrize("columns", WIDTHS)
async def test_events_that_go_elsewhere_leave_the_rows_of_what_ended(columns, monkeypatch):
    terminal = Terminal(columns)
    connect(monkeypatch, terminal)
    service = ScriptedRun(few(), seconds=73.0)
    running = run_with_live_display(service, view_of(service, shows_ended=True), colours=True)
    check(f"redirected-{columns}", await screens(terminal, running, [45.5]))


async def test_plain_lines(monkeypatch):
    terminal = Terminal(160)
    connect(monkeypatch, terminal)
    service = ScriptedRun(few(), seconds=80.0, terminal=terminal, problems=[(40.0, 60.0, OUTAGE)])
    check("plain", await screens(terminal, run_with_progress_lines(service, view_of(service)), []))
