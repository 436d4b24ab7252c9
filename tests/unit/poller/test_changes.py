"""What is logged of an asset's changes."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from asset_worker.domain.assets import AssetId
from asset_worker.domain.progress import LastSeen
from asset_worker.poller.changes import MAX_UNKNOWN, Changes

ID = AssetId("6298d673f1090f1100476d4c")


def test_each_change_is_logged_and_nothing_else():
    changes = Changes()
    before = LastSeen("processing", {"hls": "pending", "thumbnail": "pending"})
    with capture_logs() as logs:
        changes.log(ID, None, before)
        changes.log(ID, before, before)
        changes.log(ID, before, None)
        changes.log(ID, before, LastSeen("ready", {"hls": "pending", "thumbnail": "ready"}))
    assert [(log["event"], log["what"], log["from"], log["to"]) for log in logs] == [
        ("asset.changed", "status", None, "processing"),
        ("asset.changed", "hls", None, "pending"),
        ("asset.changed", "thumbnail", None, "pending"),
        ("asset.changed", "status", "processing", "ready"),
        ("asset.changed", "thumbnail", "pending", "ready"),
    ]


def unknown(*steps: tuple[LastSeen | None, LastSeen]) -> list[tuple[str, str]]:
    """What is logged as unknown of these changes."""
    changes = Changes()
    with capture_logs() as logs:
        for before, after in steps:
            changes.log(ID, before, after)
    return [(log["what"], log["value"]) for log in logs if log["event"] == "api.unknown_status"]


@pytest.mark.parametrize("status", ["processing", "ready", "failed", "missing"])
@pytest.mark.parametrize("hls", [None, "pending", "processing", "ready", "error"])
def test_a_documented_status_is_not_logged_as_unknown(status: str, hls: str | None) -> None:
    assert unknown((None, LastSeen(status, {} if hls is None else {"hls": hls}))) == []


def test_an_unknown_status_of_an_asset_or_a_rendition_is_logged() -> None:
    assert unknown((None, LastSeen("queued", {"thumbnail": "blurred"}))) == [
        ("status", "queued"),
        ("thumbnail", "blurred"),
    ]


def test_an_unknown_status_that_was_seen_before_is_not_logged_again_after_a_restart() -> None:
    assert unknown((LastSeen("queued"), LastSeen("queued"))) == []


def test_an_unknown_status_is_logged_once_for_each_value():
    """Up to a limit: the values are kept."""
    changes = Changes()
    with capture_logs() as logs:
        for number in range(MAX_UNKNOWN + 5):
            for _ in range(2):
                changes.log(ID, None, LastSeen(f"new-{number}"))
    assert len([log for log in logs if log["event"] == "api.unknown_status"]) == MAX_UNKNOWN
