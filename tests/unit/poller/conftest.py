"""What tests of the poller share."""

from __future__ import annotations

import pytest


@pytest.fixture
def hours_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Assets that nobody answers about are looked for once a minute, not four times a second: hours take no time."""
    monkeypatch.setattr("asset_worker.poller.loop.GIVE_UP_EVERY_SECONDS", 60.0)
