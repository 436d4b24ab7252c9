"""Shows scripted runs on an emulated terminal."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

import pytest

from asset_worker.cli.screen import live
from asset_worker.cli.screen.view import View
from tests.doubles.looks import NOW
from tests.doubles.screens import ScriptedRun
from tests.doubles.terminal import Terminal, size_of


def connect(monkeypatch: pytest.MonkeyPatch, terminal: Terminal) -> None:
    """Make the live display and the lines of progress appear on a terminal, whose clock is that of the event loop."""
    monkeypatch.setattr(live, "size_of", size_of(terminal))
    monkeypatch.setattr(live, "show_below", terminal.show)
    monkeypatch.setattr(live, "forget_rows", terminal.footer.forget)
    monkeypatch.setattr(live, "is_in_foreground", lambda _fd: True)
    monkeypatch.setattr(live, "styled_stderr", lambda: terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(live, "wall_clock", lambda: (NOW + asyncio.get_running_loop().time(), 0.0))


def view_of(service: ScriptedRun, *, title: str = "waiting", listening_to: Sequence[str] = (), shows_ended=False):
    return View(service, service.seen, title=title, listening_to=listening_to, shows_ended=shows_ended)
