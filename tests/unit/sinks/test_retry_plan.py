"""The retry plan: delays, jitter, Retry-After, the end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset_worker.sinks.retry_plan import JITTER, is_planned, next_delay

SPECIFIED = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""That of the Standard Webhooks specification, after the first attempt."""

PLANS = st.lists(st.floats(0.001, 1e6), max_size=12)
UNIFORM = st.floats(0, 1, exclude_max=True)
RETRY_AFTER = st.none() | st.floats(0, 1e9)


@given(plan=PLANS, drawn=UNIFORM, retry_after=RETRY_AFTER, data=st.data())
def test_a_delay_is_that_of_the_plan_or_what_the_receiver_asks_for(plan, drawn, retry_after, data):
    """Never shorter than the plan's, and never longer than the plan's longest with jitter."""
    if not plan:
        return
    attempts = data.draw(st.integers(1, len(plan)))
    delay = next_delay(plan, attempts, retry_after=retry_after, uniform=lambda: drawn)
    assert delay is not None
    assert plan[attempts - 1] <= delay <= max(plan) * (1 + JITTER)
    if retry_after is not None:
        assert delay >= min(retry_after, max(plan))
    if retry_after is None or retry_after <= plan[attempts - 1]:
        assert delay <= plan[attempts - 1] * (1 + JITTER)


@given(plan=PLANS, more=st.integers(1, 5), retry_after=RETRY_AFTER)
def test_after_the_last_attempt_there_is_none(plan, more, retry_after):
    """Whatever the receiver asks for: one attempt, and one more for each delay of the plan."""
    assert next_delay(plan, len(plan) + more, retry_after=retry_after, uniform=lambda: 0.0) is None


@pytest.mark.parametrize(
    ("retry_after", "delay"), [(None, 5.0), (3.0, 5.0), (60.0, 60.0), (86_400.0, 86_400.0), (1e9, 86_400.0)]
)
def test_retry_after_is_obeyed_up_to_the_longest_delay(retry_after, delay):
    """A receiver can't put an event off for longer than the plan itself would."""
    assert next_delay(SPECIFIED, 1, retry_after=retry_after, uniform=lambda: 0.0) == delay


def test_jitter_only_makes_delays_longer():
    """By a fifth at most."""
    assert next_delay(SPECIFIED, 2, retry_after=None, uniform=lambda: 0.5) == pytest.approx(330)


@given(plan=PLANS, drawn=UNIFORM, latency=st.floats(0, 100))
def test_attempts_that_keep_to_the_delays_all_count_and_those_that_come_sooner_do_not(plan, drawn, latency):
    since_first = 0.0
    for attempts in range(1, len(plan) + 1):
        sooner = sum(plan[:attempts]) - 0.1
        assert not is_planned(plan, attempts, since_first=sooner)
        delay = next_delay(plan, attempts, retry_after=None, uniform=lambda: drawn)
        assert delay is not None
        since_first += delay
        assert is_planned(plan, attempts, since_first=since_first)
        since_first += latency


@pytest.mark.parametrize(
    ("since_first", "attempts", "planned"),
    [(0.0, 1, False), (4.9, 1, False), (4.999, 1, True), (5.0, 1, True), (304.9, 2, False), (305.0, 2, True)],
)
def test_an_attempt_is_planned_from_the_sum_of_the_delays_before_it_on(since_first, attempts, planned):
    """A millisecond less is a matter of rounding."""
    assert is_planned(SPECIFIED, attempts, since_first=since_first) == planned
