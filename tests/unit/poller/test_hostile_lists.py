"""Lists that lag, skip, mix up, drop and lie, at any moment: what is settled is true, as the retrieves show it.

`tests.doubles.truth_check` states the law, `tests.doubles.list_faults` what lists do.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from asset_worker.domain.assets import WaitFor
from asset_worker.domain.submissions import Options
from asset_worker.simulator.lifecycles import KINDS, Lifecycle, Rendition
from tests.doubles import list_faults as lists
from tests.doubles.list_faults import Fault
from tests.doubles.truth_check import MOST_UNAUDITED, Findings
from tests.doubles.virtual_time import run_virtually
from tests.doubles.watching import DONE, Arrival, Watched, clips, watch
from tests.doubles.world import World, switched

OPTIONS = [
    None,
    None,
    Options(wait_for={"hls": WaitFor.IGNORE}),
    Options(wait_for={"thumbnail": WaitFor.REQUIRED}, deadline=200),
]
LAST_ARRIVAL = 300.0


def lifecycle_of(random: Random, kind: str) -> Lifecycle:
    """A lifecycle of every sort: most end well, some in an error, late or never."""
    usual = KINDS[kind]

    def rendition(median: float | None) -> Rendition | None:
        if median is None or random.random() < 0.15:
            return None
        ends = random.choice([0.0, median, random.uniform(0, 120), 400.0 if random.random() < 0.2 else 30.0])
        return Rendition(ends, "error" if random.random() < 0.1 else "ready", starts_after=ends * 0.1)

    return Lifecycle(
        ends_after=random.choice([0.0, usual.ready, random.uniform(0, 150), math.inf if random.random() < 0.1 else 20]),
        ends_in=random.choice(["ready"] * 9 + ["failed"]),
        reason=random.choice(["no frames", "too long"]),
        visible_after=random.choice([0.0] * 5 + [5.0, 60.0]),
        hls=rendition(usual.hls),
        thumbnail=rendition(usual.thumbnail),
    )


def populate(world: World, random: Random, count: int) -> list[Arrival]:
    """Assets in groups; some are finished or deleted before they are submitted, some don't exist."""
    arrivals: list[Arrival] = []
    kinds = random.sample([*KINDS], random.randint(1, 4))
    while sum(len(ids) for _, ids, _ in arrivals) < count:
        moment = random.choice([0.0, random.uniform(0, LAST_ARRIVAL)])
        age = random.choice([0.0, 0.0, 1.0, 1000.0])
        ids = [
            world.add(
                lifecycle_of(random, kind),
                KINDS[kind],
                born=moment - age - random.uniform(0, 3),
                deleted=random.choice([math.inf] * 30 + [moment + random.uniform(0, 60)]),
                metadata=random.choice([None, None, {"batch": 7}]),
            )
            for kind in random.choices(kinds, k=random.choice([1, 10, 60, 120]))
        ]
        if random.random() < 0.2:
            ids.append(f"{random.getrandbits(96):024x}")
        arrivals.append((moment, ids, random.choice(OPTIONS)))
    return arrivals


MILD: dict[str, Fault] = {
    "lags 1 s": lists.lags(1),
    "lags 5 s": lists.lags(5),
    "lags 60 s": lists.lags(60),
    "freezes": lists.freezes(at=50),
    "flaps": lists.flaps(20),
    "skips a third": lists.skips(0.3),
    "skips some always": lists.skips_some_always,
    "is empty": lists.is_empty,
    "has strangers": lists.has_strangers,
    "drops fields": lists.drops_fields(0.3),
    "drops file types": lists.drops("file_type"),
    "drops statuses": lists.drops("status"),
    "drops hls": lists.drops("hls"),
    "drops renditions": lists.drops_renditions(0.5),
    "drops addresses": lists.drops_addresses(0.5),
    "damages renditions": lists.damages_renditions(0.5),
    "unknown status": lists.has_another_status("archived"),
    "status null": lists.has_another_status(None),
    "is refused": lists.is_refused,
    "fails": lists.fails(0.5),
}
HARD: dict[str, Fault] = {
    "rotates": lists.rotates,
    "swaps": lists.swaps(0.5),
    "copies": lists.copies(0.3),
    "shows anybody": lists.shows_anybody(0.2),
    "says only ready": lists.says_only_ready,
    "renditions say ready": lists.renditions_say_ready,
    "foresees": lists.foresees(1.0),
    "foresees some": lists.foresees(0.2),
    "says failed": lists.says_failed,
    "lags, rotates": lists.both(lists.lags(10), lists.rotates),
    "skips, copies": lists.both(lists.skips(0.2), lists.copies(0.2)),
}
FAULTS = MILD | HARD


def scenario(seed: int, switches: Sequence[tuple[float, str]], *, twins: bool = False, slow: bool = False) -> Watched:
    """A run with lists that change what they do at these moments."""

    async def main() -> Watched:
        random = Random(seed)
        delays = (lambda random: random.choice([0.05, 0.3, 8.0])) if slow else None
        world = World(random, twins=twins, delay=delays)
        views = [(moment, FAULTS[name](world, world.honest)) for moment, name in sorted(switches)]
        world.view = switched(world.honest, views)
        return await watch(world, populate(world, random, 200), seconds=2000)

    found: Watched = run_virtually(main())
    return found


CASES = settings(max_examples=int(os.environ.get("LIST_CASES", "6")), phases=[Phase.explicit, Phase.generate])
"""A case takes half a second, and what its seed makes of it does not shrink."""
moments = st.floats(0, LAST_ARRIVAL + 60)


@CASES
@given(
    seed=st.integers(0, 2**32),
    switches=st.lists(st.tuples(moments, st.sampled_from([*FAULTS])), max_size=5),
    twins=st.booleans(),
    slow=st.booleans(),
)
def test_no_outcome_is_false_but_those_that_a_consistent_lie_makes_and_the_log_names(seed, switches, twins, slow):
    found = scenario(seed, switches, twins=twins, slow=slow)
    assert found.findings.violations == []


@CASES
@given(
    seed=st.integers(0, 2**32),
    switches=st.lists(st.tuples(moments, st.sampled_from([*MILD])), max_size=5),
    slow=st.booleans(),
)
def test_lists_that_lag_skip_or_drop_make_no_false_outcome_at_all(seed, switches, slow):
    found = scenario(seed, switches, slow=slow)
    assert found.findings == Findings([], [])


LATER = Lifecycle(200, hls=Rendition(30), thumbnail=Rendition(10))
SOON = Lifecycle(60, hls=Rendition(30), thumbnail=Rendition(10))
BORN_LATE = 600


@pytest.mark.virtual_time
@pytest.mark.parametrize(
    "fault",
    [
        *(
            pytest.param(MILD[name], id=name)
            for name in ("drops fields", "drops hls", "drops renditions", "drops addresses")
        ),
        pytest.param(lists.rotates, id="rotates"),
        pytest.param(lists.swaps(1.0), id="swaps"),
        pytest.param(lists.copies(0.5), id="copies"),
        pytest.param(lists.shows_anybody(0.5), id="shows anybody"),
        pytest.param(lists.has_another_status("ready"), id="ready without the rest"),
    ],
)
async def test_no_mix_up_of_assets_that_were_seen_before_makes_a_false_outcome(fault):
    """Both shapes, with and without renditions, are proven when lists begin to mix up or to drop."""
    world = World(Random(3))
    done = [*clips(world, 120, DONE, born=-9), *clips(world, 120, Lifecycle(), born=-9)]
    later = [*clips(world, 120, LATER, born=0), *clips(world, 60, Lifecycle(250), born=0)]
    world.view = switched(world.honest, [(60.0, fault(world, world.honest))])
    found = await watch(world, [(0.0, done, None), (1.0, later, None)], seconds=2000)
    assert found.findings == Findings([], [])
    assert {event["data"]["outcome"] for event in found.events} == {"ready"}


@pytest.mark.virtual_time
@pytest.mark.parametrize(
    ("fault", "delay", "is_mixed", "at_once"),
    [
        pytest.param(lists.foresees(1.0), 0.1, False, 40, id="shows the end of each"),
        pytest.param(lists.foresees(1.0), 5.0, False, 5, id="shows the end of each, and retrieves are slow"),
        pytest.param(lists.foresees(0.5), 0.1, False, 5, id="shows the end of half"),
        pytest.param(lists.shows_anybody(1.0), 0.1, False, BORN_LATE, id="shows anybody"),
        pytest.param(lists.rotates, 0.1, True, 40, id="rotates"),
        pytest.param(lists.copies(0.5), 0.1, True, BORN_LATE, id="copies"),
    ],
)
async def test_a_lie_within_a_proven_shape_makes_few_false_outcomes_and_all_are_named(fault, delay, is_mixed, at_once):
    """Lists begin to lie about assets that were never seen before, in a shape that many assets have proven.

    `is_mixed`: half of those assets are done, and are shown so. They come in groups of `at_once`.
    """
    world = World(Random(4), delay=lambda random: random.uniform(0.5, 1.5) * delay)
    arrivals: list[Arrival] = [(0.0, clips(world, 200, DONE, born=-9), None)]
    for number in range(BORN_LATE // at_once):
        moment = 110.0 + 0.4 * number
        ids = clips(world, at_once, SOON, born=moment - 1)
        if is_mixed:
            ids[::2] = clips(world, len(ids[::2]), DONE, born=moment - 1)
        arrivals.append((moment, ids, None))
    world.view = switched(world.honest, [(100.0, fault(world, world.honest)), (300.0, world.honest)])
    found = await watch(world, arrivals, seconds=2000)
    assert found.findings.violations == []
    assert len(found.findings.excused) <= MOST_UNAUDITED
    contradicted = found.logged("api.list_contradicted")
    assert contradicted
    assert {log["log_level"] for log in contradicted} == {"error"}
    assert {*found.findings.excused} <= {each for log in contradicted for each in log["asset_ids"]}
