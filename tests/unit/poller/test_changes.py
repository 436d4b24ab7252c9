"""What is told of an asset's changes."""

from __future__ import annotations

from structlog.testing import capture_logs

from asset_worker.domain.assets import AssetId
from asset_worker.domain.progress import LastSeen
from asset_worker.poller.changes import MOST_UNKNOWN, Changes

ID = AssetId("6298d673f1090f1100476d4c")


def test_each_change_is_told_and_nothing_else():
    changes = Changes()
    before = LastSeen("processing", "pending", "pending")
    with capture_logs() as logs:
        changes.tell(ID, None, before)
        changes.tell(ID, before, before)
        changes.tell(ID, before, None)
        changes.tell(ID, before, LastSeen("ready", "pending", "ready"))
    assert [(log["event"], log["what"], log["from"], log["to"]) for log in logs] == [
        ("asset.changed", "status", None, "processing"),
        ("asset.changed", "hls", None, "pending"),
        ("asset.changed", "thumbnail", None, "pending"),
        ("asset.changed", "status", "processing", "ready"),
        ("asset.changed", "thumbnail", "pending", "ready"),
    ]


def test_an_unknown_status_is_told_once_for_each_value():
    """And no more than so many: they are kept."""
    changes = Changes()
    with capture_logs() as logs:
        for number in range(MOST_UNKNOWN + 5):
            for _ in range(2):
                changes.tell(ID, None, LastSeen(f"new-{number}"))
    assert len([log for log in logs if log["event"] == "api.unknown_status"]) == MOST_UNKNOWN
