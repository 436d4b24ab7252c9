"""Histories of the whole worker, drawn from seeds: no promise is broken in any of them.

A failure prints the seed. `python -m tests.simulation --seed SEED --histories 1` runs that history again, shrinks it,
and prints what is left of it as Python, to become a test in `test_regressions.py`.
"""

import pytest

from tests.simulation.history import draw_history, run
from tests.simulation.world import World

HISTORIES = 300
AT_ONCE = 10
"""Histories of one test, so that the tests share the processors."""


@pytest.mark.parametrize("first", range(0, HISTORIES, AT_ONCE))
def test_no_history_breaks_a_promise(first: int) -> None:
    """Ten histories, each with a world of its own."""
    broken = {seed: found for seed in range(first, first + AT_ONCE) if (found := run(draw_history(seed)))}
    assert not broken


@pytest.mark.parametrize("seed", [3, 35, 48])
def test_a_history_is_the_same_each_time(seed: int) -> None:
    """Its log, its requests and its events follow from the seed alone."""
    assert _record(seed) == _record(seed)


def _record(seed: int) -> tuple[object, ...]:
    records: list[tuple[object, ...]] = []

    def note(world: World) -> None:
        lines = [(line.at, line.event, line.fields.get("asset_id")) for line in world.log_lines]
        received = [each.received for each in world.receivers.values()]
        exits = [(each.at, each.code) for each in world.exits]
        records.append((world.loop.steps, lines, world.api.requests, received, exits))

    assert run(draw_history(seed), look=note) == []
    [record] = records
    return record


def test_histories_reach_what_they_are_meant_to_reach() -> None:
    """Each kind of outcome, of trouble and of recovery happens in them, or they would prove little."""
    seen: set[str] = set()

    def note(world: World) -> None:
        seen.update(line.event for line in world.log_lines)
        seen.update(str(line.fields["outcome"]) for line in world.log_lines if line.event == "asset.completed")

    for seed in REACHING:
        run(draw_history(seed), look=note)
    assert not REACHED - seen


REACHING = (35, 142, 158, 128, 66, 63, 89, 92)
"""Some of the seeds that together reach all of it: others do as well, once histories are drawn differently."""
REACHED = {
    *("ready", "degraded", "failed", "not_found", "timed_out"),
    *("intake.accepted", "intake.rejected", "intake.rotated", "intake.waiting", "intake.unreadable"),
    *("account.following", "account.unreadable", "api.retry", "api.rate_limited", "api.unavailable", "api.recovered"),
    *("api.key_refused", "api.list_proven", "api.list_disagreed", "api.unknown_status"),
    *("sink.failed", "sink.recovered", "sink.attempt_failed", "sink.dead_letter", "sink.superseded"),
    *("journal.failed", "journal.recovered", "journal.upgraded", "clock.stepped", "worker.reloaded"),
}
