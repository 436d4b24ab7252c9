"""Which waiting attempt is the next probe."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset_worker.api.probes import Candidate, next_probe, too_many
from asset_worker.api.subjects import Memory

ANSWERED = Candidate("answered", Memory(is_answered_lately=True, has_failed=False), None)
ANSWERED_ONCE = Candidate("answered once", Memory(is_answered_lately=True, has_failed=True), 40.0)
UNKNOWN = Candidate("unknown", Memory(is_answered_lately=False, has_failed=False), None)
FAILED = Candidate("failed", Memory(is_answered_lately=False, has_failed=True), None)
TRIED = Candidate("tried", Memory(is_answered_lately=False, has_failed=True), 30.0)
TRIED_LATER = Candidate("tried later", Memory(is_answered_lately=False, has_failed=True), 50.0)
IN_ORDER = [ANSWERED, ANSWERED_ONCE, UNKNOWN, FAILED, TRIED, TRIED_LATER]

candidates = st.lists(st.sampled_from(IN_ORDER), min_size=1, max_size=8)


@pytest.mark.parametrize("start", range(len(IN_ORDER)))
def test_it_prefers_what_was_answered_then_what_is_untried_then_what_was_tried_longest_ago(start: int) -> None:
    waiting = IN_ORDER[start:][::-1]
    choice = next_probe(waiting, last=None, probe_at=60.0, fresh_at=70.0)
    assert (waiting[choice.place], choice.at) == (IN_ORDER[start], 60.0)


@given(waiting=candidates, last=st.sampled_from(IN_ORDER), probe_at=st.floats(0, 99), fresh_at=st.floats(0, 99))
def test_never_is_the_same_tried_twice_running_while_another_waits(
    waiting: list[Candidate], last: Candidate, probe_at: float, fresh_at: float
) -> None:
    if last.tried_at is None:
        return
    chosen = waiting[next_probe(waiting, last=last.key, probe_at=probe_at, fresh_at=fresh_at).place]
    assert chosen != last or set(waiting) == {last}


@given(waiting=candidates, probe_at=st.floats(0, 99), fresh_at=st.floats(0, 99))
def test_what_may_well_succeed_goes_besides_and_nothing_else_does(
    waiting: list[Candidate], probe_at: float, fresh_at: float
) -> None:
    choice = next_probe(waiting, last=None, probe_at=probe_at, fresh_at=fresh_at)
    assert choice.at == (min(probe_at, fresh_at) if any(each.is_fresh for each in waiting) else probe_at)
    assert waiting[choice.place].is_fresh or choice.at == probe_at


@given(waiting=candidates, kept=st.integers(1, 3))
def test_what_is_fresh_waits_and_so_do_the_best_of_the_others(waiting: list[Candidate], kept: int) -> None:
    turned_away = too_many(waiting, last=None, kept=kept)
    stale = [place for place, each in enumerate(waiting) if not each.is_fresh]
    assert set(turned_away) <= set(stale)
    assert len(stale) - len(turned_away) == min(kept, len(stale))
    left = [IN_ORDER.index(waiting[place]) for place in stale if place not in turned_away]
    assert max(left, default=0) <= min((IN_ORDER.index(waiting[place]) for place in turned_away), default=9)


@pytest.mark.parametrize("each", IN_ORDER, ids=lambda each: each.key)
def test_what_has_neither_failed_nor_been_tried_since_the_outage_began_may_well_succeed(each: Candidate) -> None:
    assert each.is_fresh == (each in {ANSWERED, UNKNOWN})
    assert not Candidate(each.key, Memory(is_answered_lately=True, has_failed=False), 40.0).is_fresh, "it was tried"


@pytest.mark.parametrize(
    ("fresh_at", "chosen"),
    [
        pytest.param(59.0, ANSWERED, id="sooner than the probe: the best of the fresh ones"),
        pytest.param(60.0, ANSWERED_ONCE, id="with the probe: the probe"),
    ],
)
def test_the_best_of_the_fresh_ones_goes_only_if_it_may_go_sooner(fresh_at: float, chosen: Candidate) -> None:
    waiting = [UNKNOWN, ANSWERED, ANSWERED_ONCE]
    last = ANSWERED.key if chosen is ANSWERED_ONCE else None
    choice = next_probe(waiting, last=last, probe_at=60.0, fresh_at=fresh_at)
    assert (waiting[choice.place], choice.at) == (chosen, min(fresh_at, 60.0))
