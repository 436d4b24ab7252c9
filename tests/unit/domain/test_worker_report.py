"""When a worker that runs counts as silent."""

from __future__ import annotations

import pytest

from asset_worker.domain.worker_report import State, WorkerReport


@pytest.mark.parametrize(
    ("state", "updated_ago", "is_silent"),
    [
        pytest.param("running", 60.0, False, id="late"),
        pytest.param("running", 60.1, True, id="later than an overloaded machine explains"),
        pytest.param("running", None, False, id="not known since when"),
        pytest.param("stopped", 3600.0, False, id="stopped long ago"),
        pytest.param("died", 3600.0, False, id="died long ago"),
    ],
)
def test_a_worker_is_silent_a_minute_after_its_last_report(state: State, updated_ago: float | None, is_silent: bool):
    assert WorkerReport(state=state, pid=1, updated_ago=updated_ago).is_silent is is_silent
