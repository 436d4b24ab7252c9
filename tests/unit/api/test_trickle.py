"""The slow rate at which requests go on when a quota is nearly used up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset_worker.api.limits.rate_limit_headers import LONGEST_RESET_SECONDS
from asset_worker.api.limits.trickle import LONGEST_GAP_SECONDS, SHORTEST_GAP_SECONDS, trickle_gap


@pytest.mark.parametrize(
    ("remaining", "unspent", "known_for", "gap"),
    [
        (200, 800, 86_400.0, 864.0),
        (199, 800, 86_400.0, 86_400.0 / 99.5),
        (200, 50, 86_400.0, 1728.0),
        (200, 0, 86_400.0, LONGEST_GAP_SECONDS),
        (200, -3, 86_400.0, LONGEST_GAP_SECONDS),
        (25, 800, 86_400.0, 6_912.0),
        (24, 800, 86_400.0, LONGEST_GAP_SECONDS),
        (0, 800, 86_400.0, LONGEST_GAP_SECONDS),
        (-2, 800, 86_400.0, LONGEST_GAP_SECONDS),
        (2000, 8000, 86_400.0, 86.4),
        (20_000, 80_000, 86_400.0, SHORTEST_GAP_SECONDS),
        (1, 48, 600.0, 1_200.0),
        (100, 1, 600.0, 600.0),
        (12, 48, 60.0, SHORTEST_GAP_SECONDS),
    ],
)
def test_the_trickle_is_the_slower_the_less_is_left_of_the_quota_or_of_our_share(
    remaining: int, unspent: int, known_for: float, gap: float
) -> None:
    """Half of what is left in a window, at most what is ours of it, a minute to two hours apart."""
    assert trickle_gap(remaining=remaining, unspent=unspent, known_for=known_for) == pytest.approx(gap)


@given(
    remaining=st.integers(-5, 5000),
    more=st.integers(0, 100),
    unspent=st.integers(-5, 5000),
    known_for=st.floats(1e-3, LONGEST_RESET_SECONDS),
)
def test_the_gap_of_the_trickle_falls_with_what_remains_and_has_an_end(
    remaining: int, more: int, unspent: int, known_for: float
) -> None:
    """A minute at least and two hours at most, whatever is reported."""
    gap = trickle_gap(remaining=remaining, unspent=unspent, known_for=known_for)
    assert SHORTEST_GAP_SECONDS <= gap <= LONGEST_GAP_SECONDS
    assert trickle_gap(remaining=remaining + more, unspent=unspent, known_for=known_for) <= gap
    assert trickle_gap(remaining=remaining, unspent=unspent + more, known_for=known_for) <= gap
