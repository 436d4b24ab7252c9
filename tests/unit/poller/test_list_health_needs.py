"""How many confirmations prove a shape, when a disagreement is news, and which shape is audited when."""

from __future__ import annotations

import itertools

import pytest

from asset_worker.poller.evidence import Shape
from asset_worker.poller.list_health import Disagreed, ListHealth, Step, Treatment

VIDEO = Shape("video", "ready", (("hls", "ready"),), frozenset({"_id", "status", "hls", "hls.status"}))
AUDIO = Shape("audio", "ready", (), frozenset({"_id", "status"}))
IMAGE = Shape("image", "ready", (), frozenset({"_id", "status"}))
NUMBERS = itertools.count()


def always_last():
    """Audits are as late as they may be."""
    return 1.0


def confirm(health, shape, count):
    """Have so many assets confirmed, which agree."""
    for number in range(count):
        assert health.shown(f"{shape.kind}-{number}", shape, 0.0) is Treatment.CONFIRM
        health.compared(f"{shape.kind}-{number}", 0.0, agreed=True)


def settle(health, shape, count):
    """Settle so many assets of a proven shape. Its audits agree."""
    while count:
        if health.shown("asset", shape, 0.0) is Treatment.SETTLE:
            count -= 1
        else:
            health.compared("asset", 0.0, agreed=True)


def needed(health):
    """How many confirmations prove a new shape now."""
    new = Shape(f"new-{next(NUMBERS)}", "ready", (), frozenset())
    return [health.shown(f"{new.kind}-{number}", new, 0.0) for number in range(200)].count(Treatment.CONFIRM)


def after_disagreements(count):
    """A health after so many disagreements, in which videos are proven again."""
    health = ListHealth(always_last)
    for _ in range(count):
        health.doubted("wrong", VIDEO, 0.0)
        health.compared("wrong", 0.0, agreed=False)
    confirm(health, VIDEO, 3 * 2**count)
    return health


def test_what_is_needed_halves_after_each_thousand_settlements_without_a_disagreement_down_to_three():
    health, found = after_disagreements(2), []
    for count in (999, 1, 999, 1, 1000):
        settle(health, VIDEO, count)
        found.append(needed(health))
    assert found == [12, 6, 6, 3, 3]


def test_an_asset_is_held_only_for_a_confirmation_although_enough_have_agreed_by_now():
    """Fewer were needed once many were settled in another shape. Held for nothing, it would wait to its deadline."""
    health = after_disagreements(1)
    confirm(health, IMAGE, 4)
    settle(health, VIDEO, 1000)
    assert health.shown("image", IMAGE, 0.0) is Treatment.CONFIRM
    assert health.proven == 1
    health.compared("image", 0.0, agreed=True)
    assert health.proven == 2


def test_a_disagreement_that_ends_a_row_of_one_shape_is_news_although_no_more_can_be_needed():
    health = ListHealth(always_last)
    for shape in (VIDEO, VIDEO, VIDEO, VIDEO, VIDEO, IMAGE):
        health.doubted("wrong", shape, 0.0)
        health.compared("wrong", 0.0, agreed=False)
    confirm(health, VIDEO, 1)
    for change in (Disagreed(IMAGE, 96, None), None):
        health.doubted("wrong", IMAGE, 0.0)
        assert health.compared("wrong", 0.0, agreed=False) == Step(change=change)


@pytest.mark.parametrize(("drawn", "place"), [(0.0, 40), (0.09, 40), (0.1, 41), (0.5, 45), (0.9, 49), (0.999, 50)])
def test_each_place_of_an_audit_is_as_likely_as_the_others(drawn: float, place: int) -> None:
    health = ListHealth(lambda: drawn)
    confirm(health, VIDEO, 3)
    treated = [health.shown(f"asset-{number}", VIDEO, 0.0) for number in range(place + 1)]
    assert treated == [Treatment.SETTLE] * place + [Treatment.CONFIRM]


def test_a_shape_that_gets_its_turn_because_another_missed_it_has_a_minute_for_it() -> None:
    health = ListHealth(always_last)
    for shape in (VIDEO, IMAGE, AUDIO):
        confirm(health, shape, 3)
    shown = [(60.0, AUDIO), (120.0, AUDIO), (179.0, AUDIO), (179.5, IMAGE)]
    treated = [health.shown(f"at {now}", shape, now) for now, shape in shown]
    assert treated == [Treatment.SETTLE] * 3 + [Treatment.CONFIRM]
