"""`assess` in the last second before a deadline."""

import pytest

from asset_worker.domain.assets import Ages, Expectations, Unanswered, Waiting, assess


@pytest.mark.parametrize(
    ("accepted", "decides_in"),
    [
        pytest.param(99.5, 0.5, id="half a second before the deadline"),
        pytest.param(99.0, 1.0, id="a second before the deadline"),
        pytest.param(100.0, 100.0, id="at the deadline"),
        pytest.param(199.5, 0.5, id="half a second before the deadline without an answer"),
    ],
)
def test_without_an_answer_the_next_look_is_due_by_the_next_deadline(accepted: float, decides_in: float) -> None:
    """An answer could end the wait at the deadline; the lack of one ends it at twice the deadline."""
    expectations = Expectations(deadline=100, unanswered_factor=2)
    assert assess(Unanswered("503"), expectations, Ages(accepted)) == Waiting(("answer",), decides_in)


@pytest.mark.parametrize(
    ("accepted", "denied_for", "decides_in"),
    [
        pytest.param(50.0, 59.5, 0.5, id="the grace ends first"),
        pytest.param(99.5, 10.0, 0.5, id="the deadline comes first"),
        pytest.param(199.5, 10.0, 0.5, id="twice the deadline comes first"),
    ],
)
def test_a_denied_asset_is_looked_at_when_its_grace_or_a_deadline_ends(
    accepted: float, denied_for: float, decides_in: float
) -> None:
    """Denials of one asset alone end the wait after its grace, and a deadline ends it as always."""
    expectations = Expectations(deadline=100, not_found_grace=60, unanswered_factor=2)
    verdict = assess(Unanswered("403", denied_for=denied_for), expectations, Ages(accepted))
    assert verdict == Waiting(("answer",), decides_in)
