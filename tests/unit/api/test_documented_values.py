"""The values that the documentation gives for requests and rate limits.

Tests that import a constant follow its change. A value that users rely on is held here as a literal; each ID names the
page of `docs/` that promises it.
"""

import pytest

from asset_worker.api import bodies, breaker, client, dead_pool, probes, retry
from asset_worker.api.limits import limiter, pauses, rate_limit_headers, server_clock, trickle


@pytest.mark.parametrize(
    ("value", "documented"),
    [
        pytest.param(breaker.FAILURES_TO_OPEN, 12, id="operations: failures in a row that are an outage"),
        pytest.param(breaker.FIRST_PROBE_SECONDS, 1, id="operations: first interval of probes"),
        pytest.param(breaker.LONGEST_PROBE_SECONDS, 30, id="operations: longest interval of probes"),
        pytest.param(probes.FRESH_SECONDS, 5, id="operations: probes about assets that have not failed"),
        pytest.param(retry.ATTEMPTS, 4, id="operations: attempts of a single request"),
        pytest.param(dead_pool.SHORTEST_INTERVAL_SECONDS, 10, id="operations: new connections at most so often"),
        pytest.param(server_clock.SKEW_SECONDS, 300, id="operations: difference of the clocks that is logged"),
        pytest.param(limiter.FIRST_BACKOFF_SECONDS, 0.25, id="operations, polling: first pause after a 429"),
        pytest.param(limiter.LONGEST_BACKOFF_SECONDS, 60, id="operations, polling: longest pause after a 429"),
        pytest.param(
            rate_limit_headers.LONGEST_RETRY_AFTER_SECONDS, 3600, id="polling: longest pause that a server may ask for"
        ),
        pytest.param(pauses.FIRST_STRIKES, 2, id="operations, polling: pauses after which one kind pauses alone"),
        pytest.param(trickle.SHORTEST_GAP_SECONDS, 60, id="polling: fastest trickle"),
        pytest.param(trickle.LONGEST_GAP_SECONDS, 7200, id="polling: slowest trickle"),
        pytest.param(trickle.TRICKLE_SHARE, 0.5, id="polling: leaves 1 / sqrt(e) of the rest, so it takes two fifths"),
        pytest.param(client.LIST_LIMIT, 50, id="polling: assets of one list request"),
        pytest.param(bodies.LIST_BYTES_LIMIT, 4 * 1024 * 1024, id="polling, operations: bytes of a list"),
        pytest.param(bodies.ASSET_BYTES_LIMIT, 1024 * 1024, id="operations: bytes of the largest answer that is read"),
    ],
)
def test_the_value_is_the_documented_one(value: float, documented: float) -> None:
    assert value == documented
