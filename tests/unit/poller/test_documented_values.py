"""The values that the documentation gives for looks and lists.

Tests that import a constant follow its change. A value that users rely on is held here as a literal; each ID names the
page of `docs/` that promises it.
"""

import pytest

from asset_worker.poller import changes, evidence, list_health, list_lag, list_suspension, per_asset_refusals


@pytest.mark.parametrize(
    ("value", "documented"),
    [
        pytest.param(list_health.CONFIRMATIONS, 3, id="polling: confirmations in a row prove a shape"),
        pytest.param(list_health.MOST_CONFIRMATIONS, 96, id="polling: confirmations needed at most"),
        pytest.param(list_health.SETTLEMENTS_TO_HALVE, 1000, id="polling: settlements that halve what is needed"),
        pytest.param(list_health.UNAUDITED, 50, id="polling: assets of a shape that wrong lists settle at most"),
        pytest.param(list_health.AUDIT_EVERY_SECONDS, 60, id="polling: an audit a minute besides"),
        pytest.param(
            evidence.UNCERTAIN_SHARE,
            0.1,
            id="polling: share of the deadline of renditions after which a retrieve is made",
        ),
        pytest.param(list_suspension.FIRST_PAUSE_SECONDS, 60, id="polling: first pause of lists"),
        pytest.param(list_suspension.LONGEST_PAUSE_SECONDS, 3600, id="polling: longest pause of lists"),
        pytest.param(list_suspension.FAILURES_TO_DOUBT, 3, id="polling: failed lists with a retrieve that works"),
        pytest.param(list_lag.MEASUREMENTS, 3, id="polling: measurements of the lag"),
        pytest.param(list_lag.MOST_SECONDS, 3, id="polling: seconds that lists may lag"),
        pytest.param(per_asset_refusals.DENIALS, 3, id="events, operations: denials of one asset alone"),
        pytest.param(changes.MAX_UNKNOWN, 1000, id="operations: unknown statuses that are logged"),
    ],
)
def test_the_value_is_the_documented_one(value: float, documented: float) -> None:
    assert value == documented
