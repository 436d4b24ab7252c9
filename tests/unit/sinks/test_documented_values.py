"""The values that the documentation gives for event targets.

Tests that import a constant follow its change. A value that users rely on is held here as a literal; each ID names the
page of `docs/` that promises it.
"""

import pytest

from asset_worker.sinks import delivery, endpoint
from asset_worker.sinks.webhook import signing, sink


@pytest.mark.parametrize(
    ("value", "documented"),
    [
        pytest.param(delivery.BACKOFF_SECONDS, 0.5, id="operations: first interval of attempts"),
        pytest.param(delivery.BACKOFF_MAX_SECONDS, 30, id="operations: longest interval of attempts"),
        pytest.param(endpoint.FAILURES_TO_DOWN, 10, id="webhooks: failures in a row of a receiver that is down"),
        pytest.param(endpoint.FIRST_PROBE_SECONDS, 1, id="webhooks: first probe"),
        pytest.param(endpoint.LONGEST_PROBE_SECONDS, 60, id="webhooks: longest interval of probes"),
        pytest.param(sink.BODY_BYTES, 64 * 1024, id="webhooks: bytes that are read of an answer"),
        pytest.param(signing.SHORTEST_SECRET, 24, id="operations: bytes of a secret that nobody guesses"),
    ],
)
def test_the_value_is_the_documented_one(value: float, documented: float) -> None:
    assert value == documented
