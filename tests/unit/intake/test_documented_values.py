"""The values that the documentation gives for inputs.

Tests that import a constant follow its change. A value that users rely on is held here as a literal; each ID names the
page of `docs/` that promises it.
"""

import pytest

from asset_worker.intake import rejections, splitter
from asset_worker.intake.account import intake as account_intake
from asset_worker.intake.file import follower, intake
from asset_worker.intake.http import bodies, endpoints
from asset_worker.intake.http import intake as http_intake


@pytest.mark.parametrize(
    ("value", "documented"),
    [
        pytest.param(splitter.LINE_BYTES_LIMIT, 64 * 1024, id="submissions: bytes of a line"),
        pytest.param(
            follower.DRAIN_SECONDS, 5, id="submissions, operations: a rotated file's last line may still grow for"
        ),
        pytest.param(intake.INTERVAL_SECONDS, 0.25, id="operations: what can't be read is tried four times a second"),
        pytest.param(rejections.REPORTED_IN_A_ROW, 1000, id="operations: rejected lines in a row that are a problem"),
        pytest.param(bodies.MOST_ITEMS, 1000, id="submissions: submissions of one request"),
        pytest.param(bodies.MOST_BYTES, 8 * 1024 * 1024, id="submissions: bytes of one request"),
        pytest.param(bodies.MOST_LINES, 100_000, id="submissions: lines of one request"),
        pytest.param(endpoints.BODY_SECONDS, 10, id="submissions: seconds in which a request's body must come"),
        pytest.param(http_intake.DURABLE_SECONDS, 10, id="operations: seconds until a full disk is answered with 503"),
        pytest.param(
            account_intake.RETRY_SECONDS, 30, id="operations, account: longest wait before the list is asked for again"
        ),
    ],
)
def test_the_value_is_the_documented_one(value: float, documented: float) -> None:
    assert value == documented
