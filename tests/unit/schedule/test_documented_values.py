"""The values that the documentation gives for the schedule and its forecasts.

Tests that import a constant follow its change. A value that users rely on is held here as a literal; each ID names the
page of `docs/` that promises it.
"""

import pytest

from asset_worker.schedule import forecast, forecasts, knowledge


@pytest.mark.parametrize(
    ("value", "documented"),
    [
        pytest.param(
            knowledge.CLOCK_TOLERANCE, 5, id="polling: seconds by which an asset may be older and still count as new"
        ),
        pytest.param(forecasts.ENDS_TO_FORECAST, 20, id="polling: ends of a class before a forecast is shown"),
        pytest.param(forecasts.ENDS_AFTER, 10, id="polling: slowest ends of a class beyond which none is shown"),
        pytest.param(forecast.HALF, 0.5, id="polling: p50"),
        pytest.param(forecast.NINE_TENTHS, 0.9, id="polling: p90"),
    ],
)
def test_the_value_is_the_documented_one(value: float, documented: float) -> None:
    assert value == documented
