"""What is logged of an asset's changes."""

from __future__ import annotations

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


def test_an_unknown_status_is_logged_once_for_each_value():
    """Up to a limit: the values are kept."""
    changes = Changes()
    with capture_logs() as logs:
        for number in range(MAX_UNKNOWN + 5):
            for _ in range(2):
                changes.log(ID, None, LastSeen(f"new-{number}"))
    assert len([log for log in logs if log["event"] == "api.unknown_status"]) == MAX_UNKNOWN
