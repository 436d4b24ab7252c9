"""The values that the documentation gives for the process.

Tests that import a constant follow its change. A value that users rely on is held here as a literal; each ID names the
page of `docs/` that promises it.
"""

import pytest

from asset_worker.runtime import background


@pytest.mark.parametrize(
    ("value", "documented"),
    [
        pytest.param(background.QUEUE_BYTES, 384 * 1024, id="operations: output that waits for a reader of stderr"),
        pytest.param(background.STALL_SECONDS, 1, id="operations: the end waits for a reader that takes nothing"),
        pytest.param(background.DRAIN_SECONDS, 10, id="operations: the end waits for a slow reader"),
    ],
)
def test_the_value_is_the_documented_one(value: float, documented: float) -> None:
    assert value == documented
