"""The progress of a wait."""

from __future__ import annotations

import msgspec
import pytest

from asset_worker.domain.progress import LastSeen, Progress

NOW = 1000.0


@pytest.mark.parametrize("name", ["ready_at", "missing_at", "waiting_at"])
def test_an_instant_in_the_future_becomes_now_and_nothing_else_changes(name: str):
    others = {"ready_at": 1.0, "missing_at": 2.0, "waiting_at": NOW} | {"polls": 7, "announced": ("playable",)}
    assert Progress(**others | {name: NOW + 0.5}).not_after(NOW) == Progress(**others | {name: NOW})


@pytest.mark.parametrize(
    "progress",
    [
        pytest.param(Progress(), id="no instants"),
        pytest.param(Progress(ready_at=NOW, missing_at=NOW - 1, waiting_at=NOW), id="none in the future"),
    ],
)
def test_without_instants_in_the_future_it_is_the_same_object(progress: Progress):
    """The queue saves what has changed: a million waits that have not must cost nothing."""
    assert progress.not_after(NOW) is progress


def test_a_stored_wait_of_which_nothing_is_kept_has_seen_nothing_yet():
    """Rows in the journal leave out what is as at the start, so that must mean the same in each version."""
    assert msgspec.json.encode(Progress()) == b"{}"
    assert msgspec.structs.asdict(msgspec.json.decode(b"{}", type=Progress)) == {
        "polls": 0,
        "phase_polls": 0,
        "last_seen": None,
        "waiting_on": (),
        "ready_at": None,
        "ready_is_certain": False,
        "missing_at": None,
        "waiting_at": None,
        "announced": (),
        "identity": None,
        "head_start": 0.0,
    }


def test_assets_in_the_same_state_share_one_summary():
    def seen(status: str = "ready") -> LastSeen:
        return LastSeen(status, {"hls": "ready"}, "video/mp4", "url", was="processing")

    assert seen().shared() == seen()
    assert seen().shared() is seen().shared()
    assert seen("failed").shared() == seen("failed")
