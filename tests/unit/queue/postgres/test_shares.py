"""How a fleet shares its assets and its quota: laws of the pure part."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from asset_worker.queue.postgres.shares import LEAST_PORTION, Portion, fair_portion, fair_share, surplus, to_claim

OWNED = st.integers(0, 1_000_000)
OTHERS = st.lists(OWNED, max_size=8)


@given(owned=OWNED, others=OTHERS, unowned=OWNED, room=OWNED)
def test_a_worker_claims_what_there_is_up_to_its_share_and_its_room(owned, others, unowned, room):
    claimed = to_claim(owned, others, unowned, room=room, is_urgent=False)
    assert 0 <= claimed <= min(unowned, room)
    assert not claimed or owned + claimed <= fair_share(owned, others, unowned)
    assert to_claim(owned, others, unowned, room=room, is_urgent=True) == min(unowned, room)


@given(owned=st.lists(OWNED, min_size=1, max_size=8), unowned=OWNED)
def test_some_worker_always_claims_what_nobody_owns(owned, unowned):
    claims = [
        to_claim(each, [*owned[:place], *owned[place + 1 :]], unowned, room=10**9, is_urgent=False)
        for place, each in enumerate(owned)
    ]
    assert sum(claims) >= unowned
    assert not unowned or any(claims)


def test_a_surplus_is_what_is_over_the_fair_share_once_it_is_a_fifth_more():
    assert [surplus(owned, [100]) for owned in (100, 150, 152, 200)] == [0, 0, 26, 50]
    assert surplus(100, []) == 0, "it is alone"


@given(owned=st.lists(OWNED, min_size=1, max_size=8))
def test_fair_portions_add_up_to_one_and_each_has_a_floor(owned):
    portions = [fair_portion(each, [*owned[:place], *owned[place + 1 :]]) for place, each in enumerate(owned)]
    assert abs(sum(portions) - 1) < 1e-9
    assert min(portions) >= LEAST_PORTION / len(owned) / 2
    assert sorted(zip(owned, portions, strict=True)) == sorted(zip(owned, portions, strict=True), key=lambda each: each)


class Renewing:
    """A worker whose read of the others and whose write of its own portion may have those of others in between."""

    def __init__(self):
        self.portion, self.shown, self.used, self.owned, self.read = Portion(), 0.0, 0.0, 0, None

    def look(self, others):
        self.read = [(each.owned, each.shown) for each in others]

    def write(self):
        self.shown = self.portion.renew(self.owned, self.read)
        self.used, self.read = self.portion.used, None

    def renew(self, *others):
        self.look(others)
        self.write()


STEPS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1000), st.sampled_from(["go on"] * 9 + ["leave"])))


@given(steps=STEPS)
def test_portions_in_use_never_add_up_to_more_than_one(steps):
    """Workers renew in any order, own any number of assets, come and go."""
    workers, alive = [Renewing() for _ in range(5)], set()
    for place, owned, what in steps:
        worker = workers[place]
        if what == "leave":
            alive.discard(place)
            workers[place] = Renewing()
        elif worker.read is None:
            alive.add(place)
            worker.owned = owned
            worker.look([workers[each] for each in alive if each != place])
        else:
            worker.write()
        assert sum(workers[each].used for each in alive) <= 1 + 1e-9


def test_a_worker_that_is_alone_uses_all_with_the_second_renewal_and_one_that_joins_its_part_with_the_third():
    one, other = Renewing(), Renewing()
    for _ in range(2):
        one.renew()
    assert (one.used, one.owned) == (1.0, 0)
    one.owned = other.owned = 10
    used = []
    for _ in range(3):
        other.renew(one)
        one.renew(other)
        used.append((one.used, other.used))
    assert used == [(0.5, 0.0), (0.5, 0.0), (0.5, 0.5)]
