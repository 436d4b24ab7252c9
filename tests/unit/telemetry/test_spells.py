"""Spells: one report passes for each, whatever comes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from asset_worker.telemetry.spells import MOST_KINDS, QUIET_SECONDS, Spells


def test_the_first_report_of_a_spell_passes_and_the_next_spell_says_how_many_did_not():
    spells = Spells()
    assert [spells.report("a", second) for second in (0, 1, 59, 100, 159)] == [0, None, None, None, None]
    assert spells.report("b", 159) == 0
    assert spells.report("a", 159 + QUIET_SECONDS) == 4
    assert spells.report("a", 1_000) == 0


@given(st.lists(st.integers(0, 300), min_size=1, max_size=30))
def test_every_report_passes_or_is_counted(pauses: list[int]):
    spells, now, passed, counted = Spells(), 0.0, 0, 0
    for pause in pauses:
        now += pause
        if (held_back := spells.report("a", now)) is not None:
            passed += 1
            counted += held_back
    held_back = spells.report("a", now + QUIET_SECONDS)
    assert held_back is not None
    assert passed + counted + held_back == len(pauses)
    assert passed == 1 + sum(pause >= QUIET_SECONDS for pause in pauses[1:])


def test_kinds_without_end_take_no_memory():
    spells = Spells()
    assert all(spells.report(f"kind {number}", 0.0) == 0 for number in range(10 * MOST_KINDS))
    assert spells.report("kind 999", 1.0) is None
    assert spells.report("kind 0", 1.0) == 0
    assert len(vars(spells)["_spells"]) == MOST_KINDS


def test_a_kind_that_goes_on_is_not_forgotten_for_many_that_come_once():
    spells = Spells()
    passed = [spells.report("goes on", 0.0)]
    for number in range(10 * MOST_KINDS):
        spells.report(f"kind {number}", 1.0)
        passed.append(spells.report("goes on", 1.0))
    assert passed == [0, *[None] * (10 * MOST_KINDS)]
