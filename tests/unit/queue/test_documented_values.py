"""The values that the documentation gives for the state directory.

Tests that import a constant follow its change. A value that users rely on is held here as a literal; each ID names the
page of `docs/` that promises it.
"""

import pytest

from asset_worker.queue import commits, memory
from asset_worker.queue.local import dead_letter_access, engine, schedule_store, status_report


@pytest.mark.parametrize(
    ("value", "documented"),
    [
        pytest.param(commits.RETRY_SECONDS, 1, id="operations: a full disk is tried again every second"),
        pytest.param(schedule_store.SAVE_EVERY_SECONDS, 60, id="polling: what is learned is written once a minute"),
        pytest.param(status_report.RECENT_SECONDS, 24 * 3600, id="operations: completions that status counts"),
        pytest.param(
            dead_letter_access.LONGEST_WAIT_SECONDS, 30, id="operations: seconds in which a worker answers a request"
        ),
        pytest.param(
            engine.KEEP_COUNTS_SECONDS, 7 * 86400, id="submissions: seconds for which an outcome is kept at least"
        ),
        pytest.param(engine.KEEP_EVENTS_SECONDS, 86400, id="submissions: seconds for which an event is kept at least"),
        pytest.param(
            memory.KEEP_COUNTS_SECONDS, 7 * 86400, id="submissions: seconds for which an outcome is kept at least"
        ),
    ],
)
def test_the_value_is_the_documented_one(value: float, documented: float) -> None:
    assert value == documented
