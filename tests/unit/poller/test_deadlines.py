"""How long a look may take where deadlines are strict."""

from __future__ import annotations

import msgspec
import pytest

from asset_worker.domain.assets import Expectations, Unanswered
from asset_worker.domain.submissions import Options
from asset_worker.poller.deadlines import seconds_left, too_late
from tests.doubles.looks import lease

EXPECTATIONS = Expectations(deadline=60)


@pytest.mark.parametrize(
    ("age", "options", "now", "left"),
    [
        pytest.param(10.0, None, 100.0, 50.0, id="just taken"),
        pytest.param(10.0, None, 105.0, 45.0, id="held for a while"),
        pytest.param(10.0, Options(deadline=30), 105.0, 15.0, id="the submission's own deadline"),
        pytest.param(59.5, None, 100.0, 1.0, id="near the deadline"),
        pytest.param(600.0, None, 100.0, 1.0, id="past the deadline"),
    ],
)
def test_a_look_may_take_until_the_deadline_and_a_second_at_least(age, options, now, left):
    taken = msgspec.structs.replace(lease(age=age, options=options), taken_at=100.0)
    assert seconds_left(taken, EXPECTATIONS, now=now) == left


def test_a_look_that_came_too_late_names_the_latest_failure():
    assert too_late(None) == Unanswered("the deadline came before the answer")
    assert too_late("503") == Unanswered("the deadline came before the answer; lately: 503")
