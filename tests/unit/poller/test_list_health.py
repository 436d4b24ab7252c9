"""When the shapes of documents in lists are trusted, what is audited, and what is held meanwhile."""

from __future__ import annotations

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from asset_worker.poller.evidence import Shape
from asset_worker.poller.list_health import Disagreed, ListHealth, Proven, Step, Treatment

SETTLE, CONFIRM, HOLD = Treatment.SETTLE, Treatment.CONFIRM, Treatment.HOLD
VIDEO = Shape("video", "ready", (("hls", "ready"),), frozenset({"_id", "status", "hls", "hls.status"}))
IMAGE = Shape("image", "ready", (), frozenset({"_id", "status"}))


def numbered(prefix, count, start=0):
    return [f"{prefix}{number}" for number in range(start, start + count)]


def always_last():
    """Audits are as late as they may be."""
    return 1.0


def proven(*shapes, uniform=always_last):
    """A health in which these shapes have just been proven, at time 0."""
    health = ListHealth(uniform)
    for shape in shapes:
        prove(health, shape)
    return health


def prove(health, shape, *, needed=3, now=0.0):
    names = numbered(f"{shape.kind}-confirmed-", needed)
    assert [health.shown(each, shape, now) for each in names] == [CONFIRM] * needed
    steps = [health.compared(each, now, agreed=True) for each in names]
    assert steps == [Step()] * (needed - 1) + [Step(change=Proven(shape, needed))]


def settled(health, shape, count, now=0.0, prefix="settled-"):
    """Show so many assets, none of which may be confirmed or held."""
    names = numbered(prefix, count)
    assert [health.shown(each, shape, now) for each in names] == [SETTLE] * count
    return tuple(names)


def test_three_confirmations_in_a_row_prove_a_shape_and_others_are_held_meanwhile():
    health = ListHealth(always_last)
    treated = [health.shown(each, VIDEO, 0.0) for each in numbered("a", 6)]
    assert treated == [CONFIRM] * 3 + [HOLD] * 3
    assert health.compared("a0", 1.0, agreed=True) == Step()
    assert health.shown("a6", VIDEO, 1.0) is HOLD
    assert health.compared("a2", 1.0, agreed=True) == Step()
    assert health.proven == 0
    step = health.compared("a1", 1.0, agreed=True)
    assert step == Step(settle=("a3", "a4", "a5", "a6"), change=Proven(VIDEO, 3))
    assert health.proven == 1
    assert health.shown("a7", VIDEO, 1.0) is SETTLE


def test_a_shape_is_proven_for_itself():
    health = proven(VIDEO)
    assert health.shown("a", IMAGE, 0.0) is CONFIRM
    assert health.shown("b", VIDEO, 0.0) is SETTLE


def test_without_a_shape_an_asset_is_confirmed_and_that_proves_nothing():
    health = ListHealth(always_last)
    for number in range(9):
        assert health.shown(f"a{number}", None, 0.0) is CONFIRM
        assert health.compared(f"a{number}", 0.0, agreed=number % 2 == 0) == Step()
    assert health.proven == 0


def test_beyond_256_shapes_assets_are_confirmed():
    health = ListHealth(always_last)
    for number in range(256):
        prove(health, Shape(f"kind-{number}", "ready", (), frozenset()))
    new = Shape("one more", "ready", (), frozenset())
    for number in range(9):
        assert health.shown(f"a{number}", new, 0.0) is CONFIRM
        health.compared(f"a{number}", 0.0, agreed=True)
    health.doubted("doubted", new, 0.0)
    assert health.compared("doubted", 0.0, agreed=False) == Step()
    assert health.proven == 256


def test_a_disagreement_makes_all_shapes_unproven_and_doubles_what_they_need_up_to_96():
    health = proven(VIDEO, IMAGE)
    needed = 3
    for expected in (6, 12, 24, 48, 96, 96):
        health.doubted("wrong", VIDEO, 0.0)
        step = health.compared("wrong", 0.0, agreed=False)
        assert step == Step(change=Disagreed(VIDEO, expected, ()))
        assert health.proven == 0
        prove(health, VIDEO, needed=expected)
        prove(health, IMAGE, needed=expected)
        needed = expected
    assert needed == 96


def test_what_was_settled_since_the_last_audit_that_agreed_is_named():
    health = proven(VIDEO, IMAGE)
    before = settled(health, VIDEO, 50)
    assert health.shown("audited", VIDEO, 0.0) is CONFIRM
    assert health.compared("audited", 0.0, agreed=True) == Step()
    settled(health, IMAGE, 2, prefix="image-")
    since = settled(health, VIDEO, 20, prefix="since-")
    health.doubted("wrong", VIDEO, 0.0)
    assert health.compared("wrong", 0.0, agreed=False).change == Disagreed(VIDEO, 6, since)
    assert not set(before) & set(since)


def test_an_audit_vouches_for_nothing_that_was_settled_after_it_began():
    health = proven(VIDEO)
    settled(health, VIDEO, 10)
    health.doubted("audited", VIDEO, 0.0)
    since = settled(health, VIDEO, 5, prefix="since-")
    health.compared("audited", 0.0, agreed=True)
    health.doubted("wrong", VIDEO, 0.0)
    assert health.compared("wrong", 0.0, agreed=False).change == Disagreed(VIDEO, 6, since)


def test_a_disagreement_about_an_unproven_shape_names_no_assets_and_is_reported_while_it_changes_anything():
    health = ListHealth(always_last)
    changes = []
    for number in range(7):
        assert health.shown(f"a{number}", VIDEO, 0.0) is CONFIRM
        changes.append(health.compared(f"a{number}", 0.0, agreed=False).change)
    assert changes == [Disagreed(VIDEO, needed, None) for needed in (6, 12, 24, 48, 96)] + [None, None]


def test_a_disagreement_that_ends_a_row_is_reported_although_no_more_can_be_needed():
    health = ListHealth(always_last)
    for number in range(6):
        health.doubted(f"a{number}", VIDEO, 0.0)
        health.compared(f"a{number}", 0.0, agreed=False)
    for agreed, change in [(False, None), (True, None), (False, Disagreed(VIDEO, 96, None)), (False, None)]:
        health.doubted("b", VIDEO, 0.0)
        assert health.compared("b", 0.0, agreed=agreed) == Step(change=change)


def test_an_audit_is_made_at_a_random_place_of_which_none_comes_later_than_the_51st_asset():
    places = []
    health = proven(VIDEO, uniform=random.Random(1).random)
    since = 0
    for number in range(5000):
        treatment = health.shown(f"a{number}", VIDEO, 0.0)
        if treatment is CONFIRM:
            places.append(since)
            since = 0
            assert health.compared(f"a{number}", 0.0, agreed=True) == Step()
        else:
            assert treatment is SETTLE
            since += 1
    assert set(places) == set(range(40, 51))
    assert 5000 / 52 < len(places) < 5000 / 43


def test_while_an_audit_is_in_flight_no_more_than_50_are_settled_and_the_others_wait_for_it():
    health = proven(VIDEO, uniform=lambda: 0.0)
    settled(health, VIDEO, 40)
    assert health.shown("audited", VIDEO, 0.0) is CONFIRM
    settled(health, VIDEO, 10, prefix="later-")
    held = numbered("held-", 35)
    assert {health.shown(each, VIDEO, 0.0) for each in held} == {HOLD}
    step = health.compared("audited", 1.0, agreed=True)
    assert step.confirm == (held[30],), "40 were settled since the last audit began"
    assert step.settle == (*held[:30], *held[31:])
    assert health.compared(held[30], 1.0, agreed=True).settle == ()
    assert {health.shown(each, VIDEO, 1.0) for each in numbered("more-", 36)} == {SETTLE}


def test_what_was_settled_is_named_although_another_shape_disagreed_first():
    health = proven(VIDEO, IMAGE)
    unaudited = settled(health, VIDEO, 6)
    health.doubted("in flight", VIDEO, 0.0)
    health.doubted("wrong image", IMAGE, 0.0)
    assert health.compared("wrong image", 0.0, agreed=False).change == Disagreed(IMAGE, 6, ())
    assert health.compared("in flight", 0.0, agreed=False).change == Disagreed(VIDEO, 6, unaudited)
    health.doubted("wrong again", VIDEO, 0.0)
    assert health.compared("wrong again", 0.0, agreed=False).change == Disagreed(VIDEO, 12, None)


def test_a_confirmation_that_agrees_vouches_for_what_was_settled_before_another_shape_disagreed():
    health = proven(VIDEO, IMAGE)
    settled(health, VIDEO, 6)
    health.doubted("wrong image", IMAGE, 0.0)
    health.compared("wrong image", 0.0, agreed=False)
    assert health.shown("first", VIDEO, 0.0) is CONFIRM
    assert health.shown("second", VIDEO, 0.0) is CONFIRM
    health.compared("first", 0.0, agreed=True)
    assert health.compared("second", 0.0, agreed=False).change == Disagreed(VIDEO, 12, None)


def test_a_confirmation_that_began_before_another_shape_disagreed_vouches_for_what_was_settled_before_it():
    health = proven(VIDEO, IMAGE)
    settled(health, VIDEO, 6)
    health.doubted("in flight", VIDEO, 0.0)
    health.doubted("wrong image", IMAGE, 0.0)
    health.compared("wrong image", 0.0, agreed=False)
    assert health.compared("in flight", 0.0, agreed=True) == Step()
    health.doubted("wrong", VIDEO, 0.0)
    assert health.compared("wrong", 0.0, agreed=False).change == Disagreed(VIDEO, 12, None)


def test_a_confirmation_that_agrees_contradicts_nothing_that_was_settled_after_it_began():
    """Nor does it vouch for that."""
    health = proven(VIDEO, IMAGE)
    health.doubted("in flight", VIDEO, 0.0)
    names = settled(health, VIDEO, 6)
    health.doubted("wrong image", IMAGE, 0.0)
    health.compared("wrong image", 0.0, agreed=False)
    assert health.compared("in flight", 0.0, agreed=True) == Step()
    health.doubted("wrong", VIDEO, 0.0)
    assert health.compared("wrong", 0.0, agreed=False).change == Disagreed(VIDEO, 12, names)


def test_a_confirmation_from_before_the_last_disagreement_that_shows_nothing_takes_no_place():
    health = proven(VIDEO, IMAGE)
    health.doubted("in flight", VIDEO, 0.0)
    health.doubted("wrong image", IMAGE, 0.0)
    health.compared("wrong image", 0.0, agreed=False)
    treated = [health.shown(each, VIDEO, 0.0) for each in numbered("a", 8)]
    assert treated == [CONFIRM] * 6 + [HOLD] * 2
    assert health.not_compared("in flight", 0.0) == Step()


def test_an_audit_that_disagrees_has_the_held_assets_confirmed_one_by_one():
    health = proven(VIDEO, uniform=lambda: 0.0)
    unaudited = settled(health, VIDEO, 40)
    health.shown("audited", VIDEO, 0.0)
    unaudited += settled(health, VIDEO, 10, prefix="later-")
    assert health.shown("held", VIDEO, 0.0) is HOLD
    step = health.compared("audited", 1.0, agreed=False)
    assert step == Step(confirm=("held",), change=Disagreed(VIDEO, 6, unaudited))


def test_a_refuted_shape_has_its_held_assets_confirmed_and_the_others_as_many_as_they_need():
    health = ListHealth(always_last)
    for shape in (VIDEO, IMAGE):
        for each in numbered(f"{shape.kind}-", 20):
            health.shown(each, shape, 0.0)
    step = health.compared("video-1", 1.0, agreed=False)
    assert step.settle == ()
    assert step.confirm == (*numbered("video-", 17, start=3), *numbered("image-", 6, start=3))
    assert health.compared("image-0", 1.0, agreed=True) == Step(), (
        "it began before the disagreement, and proves nothing"
    )
    steps = [health.compared(each, 2.0, agreed=True) for each in numbered("image-", 6, start=3)]
    assert steps == [Step()] * 5 + [Step(settle=tuple(numbered("image-", 11, start=9)), change=Proven(IMAGE, 6))]


def test_a_disagreement_with_a_list_from_before_the_last_disagreement_changes_nothing():
    """Many confirmations are in flight when lists begin to lie. They are one disagreement."""
    health = ListHealth(always_last)
    for each in numbered("a", 3):
        health.shown(each, VIDEO, 0.0)
    assert health.compared("a0", 1.0, agreed=False).change == Disagreed(VIDEO, 6, None)
    assert [health.compared(each, 1.0, agreed=False) for each in ("a1", "a2")] == [Step(), Step()]


def test_another_asset_takes_the_place_of_a_confirmation_that_shows_nothing():
    """The API denies some assets for good."""
    health = ListHealth(always_last)
    for each in numbered("a", 5):
        health.shown(each, VIDEO, 0.0)
    assert health.not_compared("a0", 0.0) == Step(confirm=("a3",))
    for each in ("a3", "a1", "a2"):
        step = health.compared(each, 0.0, agreed=True)
    assert step == Step(settle=("a4",), change=Proven(VIDEO, 3))


def test_after_ten_confirmations_in_a_row_that_show_nothing_nothing_is_held():
    """The API may be down for an hour. The held assets have their own deadlines."""
    health = ListHealth(always_last)
    confirming = numbered("a", 3)
    for each in numbered("a", 30):
        health.shown(each, VIDEO, 0.0)
    for _ in range(9):
        (following,) = health.not_compared(confirming.pop(0), 0.0).confirm
        confirming.append(following)
    assert health.not_compared(confirming.pop(0), 0.0) == Step(confirm=tuple(numbered("a", 18, start=12)))
    for each in (*confirming, "a12"):
        assert health.compared(each, 0.0, agreed=True).confirm == ()
    assert health.proven == 1
    health.doubted("b", VIDEO, 0.0)
    assert health.not_compared("b", 0.0) == Step(), "it counts anew after one that agreed"


def test_failures_with_an_agreement_in_between_are_not_in_a_row():
    health = ListHealth(always_last)
    for each in numbered("a", 40):
        health.shown(each, VIDEO, 0.0)
    confirming = numbered("a", 3)
    for place in range(1, 17):
        if place == 8:
            assert health.compared(confirming.pop(0), 0.0, agreed=True) == Step()
        step = health.not_compared(confirming.pop(0), 0.0)
        assert len(step.confirm) == 1
        confirming += step.confirm
    assert len(health.not_compared(confirming.pop(0), 0.0).confirm) == 40 - 3 - 16


def test_a_confirmation_that_shows_nothing_leaves_its_place_to_the_next_asset():
    """Counted as if it were still in flight, it would have others held for nothing."""
    health = ListHealth(always_last)
    names = numbered("a", 3)
    assert [health.shown(each, VIDEO, 0.0) for each in names] == [CONFIRM] * 3
    for each in names:
        assert health.not_compared(each, 0.0) == Step()
    again = numbered("b", 4)
    assert [health.shown(each, VIDEO, 0.0) for each in again] == [CONFIRM] * 3 + [HOLD]


def test_an_asset_that_is_retrieved_in_any_case_is_one_of_the_confirmations():
    health = ListHealth(always_last)
    health.doubted("doubted", VIDEO, 0.0)
    assert [health.shown(each, VIDEO, 0.0) for each in ("a0", "a1", "a2")] == [CONFIRM, CONFIRM, HOLD]
    health.doubted("odd", None, 0.0)
    assert health.compared("odd", 0.0, agreed=False) == Step(), "what has no shape proves and refutes nothing"


def test_while_confirmations_take_long_others_start_beside_them():
    health = ListHealth(always_last)
    for each in numbered("a", 20):
        health.shown(each, VIDEO, 10.0)
    assert health.overdue(VIDEO, 11.9) == Step()
    assert health.overdue(VIDEO, 12.0) == Step(confirm=("a3", "a4", "a5"))
    assert health.overdue(VIDEO, 12.1) == Step()
    for each in ("a3", "a4", "a5"):
        step = health.compared(each, 12.5, agreed=True)
    assert step.settle == tuple(numbered("a", 14, start=6))


def test_while_an_audit_takes_long_another_one_starts_beside_it():
    health = proven(VIDEO, uniform=lambda: 0.0)
    settled(health, VIDEO, 40)
    assert health.shown("audited", VIDEO, 0.0) is CONFIRM
    settled(health, VIDEO, 10, prefix="later-")
    assert {health.shown(each, VIDEO, 0.0) for each in ("b", "c")} == {HOLD}
    assert health.overdue(VIDEO, 2.0) == Step(confirm=("b",))
    assert health.compared("b", 2.5, agreed=True).settle == ("c",)


def test_an_audit_that_shows_nothing_is_made_up_for_by_the_next_asset():
    health = proven(VIDEO, uniform=lambda: 0.0)
    settled(health, VIDEO, 40)
    assert health.shown("audited", VIDEO, 0.0) is CONFIRM
    settled(health, VIDEO, 10, prefix="later-")
    assert health.shown("held", VIDEO, 0.0) is HOLD
    assert health.not_compared("audited", 0.0) == Step(confirm=("held",))
    assert health.not_compared("held", 0.0) == Step()
    assert health.shown("next", VIDEO, 0.0) is CONFIRM
    assert health.shown("after", VIDEO, 0.0) is HOLD
    assert health.compared("next", 0.0, agreed=True) == Step(settle=("after",))


def test_an_audit_that_shows_nothing_is_made_up_for_although_nothing_was_held():
    health = proven(VIDEO, uniform=lambda: 0.0)
    settled(health, VIDEO, 40)
    assert health.shown("audited", VIDEO, 0.0) is CONFIRM
    assert health.not_compared("audited", 0.0) == Step()
    assert health.shown("next", VIDEO, 0.0) is CONFIRM


def test_an_audit_that_a_held_asset_made_up_for_is_not_made_again():
    health = proven(VIDEO, uniform=lambda: 0.0)
    settled(health, VIDEO, 40)
    assert health.shown("audited", VIDEO, 0.0) is CONFIRM
    settled(health, VIDEO, 10, prefix="later-")
    assert health.shown("held", VIDEO, 0.0) is HOLD
    assert health.not_compared("audited", 0.0) == Step(confirm=("held",))
    assert health.compared("held", 0.0, agreed=True) == Step()
    assert health.shown("next", VIDEO, 0.0) is SETTLE


def test_an_asset_that_can_not_wait_is_not_released_later():
    health = ListHealth(always_last)
    for each in numbered("a", 5):
        health.shown(each, VIDEO, 0.0)
    health.withdrawn("a3", VIDEO)
    for each in numbered("a", 3):
        step = health.compared(each, 0.0, agreed=True)
    assert step.settle == ("a4",)


def test_settlements_before_a_disagreement_do_not_halve_what_is_needed_after_it():
    health = proven(VIDEO)
    for number in range(999):
        if health.shown(f"a{number}", VIDEO, 0.0) is CONFIRM:
            health.compared(f"a{number}", 0.0, agreed=True)
    health.doubted("wrong", VIDEO, 0.0)
    health.compared("wrong", 0.0, agreed=False)
    prove(health, VIDEO, needed=6)
    settled(health, VIDEO, 40)
    prove(health, IMAGE, needed=6)


def test_once_a_minute_the_shape_whose_last_audit_was_longest_ago_is_audited():
    health = proven(VIDEO, IMAGE)
    assert health.shown("a", IMAGE, 59.0) is SETTLE
    assert health.shown("b", IMAGE, 60.0) is SETTLE, "it is the other shape's turn, which was proven first"
    assert health.shown("c", VIDEO, 61.0) is CONFIRM
    assert health.shown("d", VIDEO, 62.0) is SETTLE
    assert health.shown("e", IMAGE, 120.9) is SETTLE
    assert health.shown("f", VIDEO, 121.0) is SETTLE
    assert health.shown("g", IMAGE, 121.0) is CONFIRM
    assert health.shown("h", IMAGE, 130.0) is SETTLE


def test_a_shape_that_is_not_shown_any_more_misses_its_turn():
    health = proven(VIDEO, IMAGE)
    assert health.shown("a", IMAGE, 60.0) is SETTLE
    assert health.shown("b", IMAGE, 119.0) is SETTLE
    assert health.shown("c", IMAGE, 120.0) is CONFIRM


def test_a_shape_that_is_not_proven_any_more_loses_its_turn():
    health = proven(VIDEO, IMAGE)
    assert health.shown("a", IMAGE, 60.0) is SETTLE, "it is the turn of the other shape"
    health.doubted("wrong", VIDEO, 60.0)
    health.compared("wrong", 60.0, agreed=False)
    prove(health, IMAGE, needed=6, now=60.0)
    assert health.shown("b", IMAGE, 61.0) is CONFIRM


class AnyOrder(RuleBasedStateMachine):
    """Assets are shown and confirmations end in any order; lists lie from some time on, in one shape."""

    SHAPES = (VIDEO, IMAGE)

    @initialize(seed=st.integers(0, 99))
    def begin(self, seed):
        self.health = ListHealth(random.Random(seed).random)
        self.now = 0.0
        self.count = 0
        self.confirming, self.held, self.settled = {}, {}, {}
        self.audited = dict.fromkeys(self.SHAPES, 0)
        self.settled_in = {shape: [] for shape in self.SHAPES}

    def _settle(self, name, shape):
        self.settled[name] = shape
        self.settled_in[shape].append(name)
        assert self.health.proven

    def _follow(self, step):
        for name in step.settle:
            self._settle(name, self.held.pop(name))
        for name in step.confirm:
            shape = self.held.pop(name)
            self.confirming[name] = (shape, len(self.settled_in[shape]))

    @rule(shape=st.sampled_from(SHAPES), count=st.integers(1, 60), passed=st.sampled_from([0.0, 1.0, 61.0]))
    def show(self, shape, count, passed):
        self.now += passed
        for _ in range(count):
            self.count += 1
            name = f"asset-{self.count}"
            match self.health.shown(name, shape, self.now):
                case Treatment.SETTLE:
                    self._settle(name, shape)
                case Treatment.CONFIRM:
                    self.confirming[name] = (shape, len(self.settled_in[shape]))
                case Treatment.HOLD:
                    self.held[name] = shape

    @rule(data=st.data(), result=st.sampled_from(["agreed"] * 8 + ["disagreed", "nothing"]))
    def end(self, data, result):
        if not self.confirming:
            return
        name = data.draw(st.sampled_from(sorted(self.confirming)))
        shape, begun = self.confirming.pop(name)
        if result == "nothing":
            self._follow(self.health.not_compared(name, 0.0))
            return
        step = self.health.compared(name, self.now, agreed=result == "agreed")
        if result == "agreed":
            self.audited[shape] = max(self.audited[shape], begun)
        else:
            change = step.change
            named = (change.unaudited or ()) if isinstance(change, Disagreed) else ()
            assert set(self.settled_in[shape][self.audited[shape] :]) <= set(named)
            self.audited[shape] = len(self.settled_in[shape])
        self._follow(step)

    @rule(shape=st.sampled_from(SHAPES), passed=st.sampled_from([0.0, 2.0]))
    def overdue(self, shape, passed):
        self.now += passed
        if shape in self.held.values():
            self._follow(self.health.overdue(shape, self.now))

    @rule(data=st.data())
    def withdraw(self, data):
        if self.held:
            name = data.draw(st.sampled_from(sorted(self.held)))
            self.health.withdrawn(name, self.held.pop(name))

    @rule(data=st.data())
    def confirm_what_was_held_for_too_long(self, data):
        if self.held:
            name = data.draw(st.sampled_from(sorted(self.held)))
            shape = self.held.pop(name)
            self.confirming[name] = (shape, len(self.settled_in[shape]))
            self.health.doubted(name, shape, self.now)
            self.health.withdrawn(name, shape)

    @invariant()
    def at_most_50_are_settled_without_an_audit(self):
        for shape, names in self.settled_in.items():
            assert len(names) - self.audited[shape] <= 50

    @invariant()
    def what_is_held_waits_for_a_confirmation_of_its_shape(self):
        for shape in set(self.held.values()):
            assert any(each == shape for each, _ in self.confirming.values())

    def teardown(self):
        """When all confirmations have ended, nothing is held."""
        while self.confirming:
            name = next(iter(self.confirming))
            del self.confirming[name]
            self._follow(self.health.not_compared(name, 0.0))
        assert not self.held


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(stateful_step_count=60, deadline=None)


@pytest.mark.parametrize("result", [True, False])
def test_an_asset_that_was_not_confirmed_says_nothing(result):
    health = ListHealth(always_last)
    assert health.compared("a", 0.0, agreed=result) == Step()
    assert health.not_compared("a", 0.0) == Step()
