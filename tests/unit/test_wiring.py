"""What the service makes of its settings and its plan."""

from __future__ import annotations

from typing import Any

import pytest

from asset_worker.api.client import LIST_LIMIT
from asset_worker.domain.assets import Expectations, WaitFor
from asset_worker.domain.run_plan import RunPlan
from asset_worker.poller.policy import Batching
from asset_worker.runtime.redaction import Secrets
from asset_worker.service import Service
from asset_worker.settings.tree import Settings
from asset_worker.sinks.delivery import LAST_TRIES_SECONDS

KEY = "tlk_4F2SECRET"


def service(plan: RunPlan | None = None, **sections: dict[str, Any]) -> Service:
    settings = Settings.model_validate({"api": {"key": KEY}, **sections})
    return Service(settings, plan or RunPlan(), secrets=Secrets())


@pytest.mark.parametrize(
    ("poll", "ahead", "gather"),
    [
        pytest.param({}, 1.5, 0.5, id="the defaults"),
        pytest.param({"max": 300}, 15.0, 0.5, id="a long poll.max"),
        pytest.param({"initial": 0.4, "max": 300}, 15.0, 0.1, id="a long poll.max and a short poll.initial"),
        pytest.param({"initial": 0.5, "max": 1}, 0.1, 0.1 / 3, id="a poll.max so short that a list needs more"),
    ],
)
def test_how_looks_share_lists_follows_from_the_longest_and_the_shortest_delay(
    poll: dict[str, Any], ahead: float, gather: float
):
    batching = service(poll=poll)._batching()
    assert isinstance(batching, Batching)
    assert batching.limit == LIST_LIMIT
    assert batching.ahead == pytest.approx(ahead)
    assert batching.gather == pytest.approx(gather)
    assert batching.gather < batching.ahead


def test_lists_can_be_turned_off():
    assert service(poll={"batch": "off"})._batching() is None


def test_an_errand_that_keeps_nothing_ends_at_its_deadlines_though_nothing_was_answered():
    """Somebody waits at a terminal."""
    sections = {"poll": {"deadline": 5, "not_found_grace": 7}, "wait_for": {"hls": "required"}}
    expected = Expectations(
        wait_for={"hls": WaitFor.REQUIRED, "thumbnail": WaitFor.IF_REQUESTED}, deadline=5, not_found_grace=7
    )
    kept, unkept = service(RunPlan(), **sections), service(RunPlan(keeps_state=False), **sections)
    assert kept._expectations() == expected
    assert (kept._expectations().unanswered_factor, kept._grace) == (2.0, 25)
    assert (unkept._expectations().unanswered_factor, unkept._grace) == (1.0, LAST_TRIES_SECONDS)
    assert unkept._expectations().unanswered_deadline == unkept._expectations().deadline == 5


def test_the_key_is_among_what_is_never_shown():
    secrets = Secrets()
    Service(Settings.model_validate({"api": {"key": KEY}}), RunPlan(), secrets=secrets)
    assert KEY in secrets
