"""When kept connections are given up, as a function of what timed out."""

from __future__ import annotations

import pytest

from asset_worker.api.dead_pool import NO_HELP_SECONDS, SHORTEST_INTERVAL_SECONDS, DeadPool

Replaced = bool
OLD, NEW = True, False
"""Whether the connection had been used before."""


def replaced(*timeouts: tuple[float, float, bool]) -> list[Replaced]:
    """The decision at each timeout: (when it began, when it timed out, whether its connection was used before)."""
    pool = DeadPool()
    return [pool.timed_out(now, sent_at=sent_at, is_reused=is_reused) for sent_at, now, is_reused in timeouts]


@pytest.mark.parametrize(
    ("timeouts", "expected"),
    [
        pytest.param([(0, 10, OLD)], [True], id="the first stands for all"),
        pytest.param([(0, 10, NEW)], [False], id="a new connection says nothing about those that are kept"),
        pytest.param([(0, 10, OLD), (9.9, 19.9, OLD)], [True, False], id="less than 10 s later"),
        pytest.param([(0, 10, OLD), (10, 20, OLD)], [True, True], id="10 s later: the path changed again"),
        pytest.param([(0, 10, NEW), (1, 11, OLD)], [False, True], id="a new one that the change hit, too"),
        pytest.param([(0, 10, OLD), (10, 20, NEW), (11, 21, OLD)], [True, False, False], id="an outage"),
        pytest.param([(0, 10, OLD), (10, 20, NEW), (39, 49, OLD)], [True, False, False], id="an outage for 29 s"),
        pytest.param([(0, 10, OLD), (10, 20, NEW), (40, 50, OLD)], [True, False, True], id="30 s after the outage"),
        pytest.param([(0, 10, OLD), (9, 19, NEW), (11, 21, OLD)], [True, False, True], id="a new one from before"),
        pytest.param([(0, 10, OLD), (39.9, 49.9, NEW), (50, 60, OLD)], [True, False, False], id="within 30 s"),
        pytest.param([(0, 10, OLD), (40, 50, NEW), (51, 61, OLD)], [True, False, True], id="30 s after it"),
        pytest.param([(0, 10, OLD), (99, 109, NEW), (100, 110, OLD)], [True, False, True], id="long after"),
    ],
)
def test_a_kept_connection_that_is_silent_stands_for_all_unless_new_ones_are_silent_too(timeouts, expected):
    assert replaced(*timeouts) == expected


def test_an_answer_on_a_new_connection_ends_the_doubt():
    pool = DeadPool()
    assert pool.timed_out(10, sent_at=0, is_reused=True)
    assert not pool.timed_out(20, sent_at=10, is_reused=False)
    pool.new_connection_answered()
    assert pool.timed_out(21, sent_at=11, is_reused=True)


def test_the_intervals_are_promised():
    assert (SHORTEST_INTERVAL_SECONDS, NO_HELP_SECONDS) == (10, 30)
