"""`assess` in the last second before a deadline."""

import pytest

from asset_worker.domain.assets import Ages, Expectations, Unanswered, Waiting, assess


@pytest.mark.parametrize(
    ("accepted", "decides_in"),
    [
        pytest.param(99.5, 0.5, id="half a second before the deadline"),
        pytest.param(99.0, 1.0, id="a second before the deadline"),
        pytest.param(199.5, 0.5, id="half a second before the deadline without an answer"),
    ],
)
def test_without_an_answer_the_next_look_is_due_by_the_next_deadline(accepted: float, decides_in: float) -> None:
    """An answer could end the wait at the deadline; the lack of one ends it at twice the deadline."""
    expectations = Expectations(deadline=100, unanswered_factor=2)
    assert assess(Unanswered("503"), expectations, Ages(accepted)) == Waiting(("answer",), decides_in)
