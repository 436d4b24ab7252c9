"""The heap of due times, against a sorted list."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from asset_worker.domain.assets import AssetId
from asset_worker.queue.heap import VISITED_AT_MOST, DueHeap

DUES = st.integers(0, 40).map(float)
LIMITS = st.integers(0, 60)


class DueHeapMachine(RuleBasedStateMachine):
    """Against a dictionary: the due time of each ID that counts."""

    def __init__(self):
        super().__init__()
        self.due: dict[AssetId, float] = {}
        self.heap = DueHeap(lambda asset_id, due: self.due.get(asset_id) == due)
        self.count = 0

    def entry(self, due):
        self.count += 1
        asset_id = AssetId(f"a{self.count}")
        self.due[asset_id] = due
        return due, asset_id

    @rule(due=DUES)
    def push(self, due):
        due, asset_id = self.entry(due)
        self.heap.push(asset_id, due)

    @rule(dues=st.lists(DUES, max_size=3) | st.lists(DUES, min_size=20, max_size=40))
    def push_all(self, dues):
        self.heap.push_all([self.entry(due) for due in dues])

    @precondition(lambda self: self.due)
    @rule(data=st.data(), due=DUES)
    def push_again(self, data, due):
        asset_id = data.draw(st.sampled_from(sorted(self.due)))
        self.due[asset_id] = due
        self.heap.push(asset_id, due)

    @precondition(lambda self: self.due)
    @rule(data=st.data())
    def an_id_no_longer_counts(self, data):
        del self.due[data.draw(st.sampled_from(sorted(self.due)))]

    @rule(until=DUES, limit=LIMITS)
    def pop_due(self, until, limit):
        popped = self.heap.pop_due(until, limit)
        assert [due for due, _ in popped] == sorted(due for due in self.due.values() if due <= until)[:limit]
        for due, asset_id in popped:
            assert self.due.pop(asset_id) == due

    @rule(now=DUES, limit=LIMITS)
    def count_due(self, now, limit):
        assert self.heap.count_due(now, limit) == min(limit, sum(due <= now for due in self.due.values()))

    @invariant()
    def the_next_due_is_the_earliest(self):
        assert self.heap.next_due == min(self.due.values(), default=None)
        assert len(self.heap) >= len(self.due)


def all_count(asset_id, due):
    return True


TestDueHeap = DueHeapMachine.TestCase
TestDueHeap.settings = settings(stateful_step_count=30)


@pytest.mark.parametrize(
    ("there", "pushed"),
    [
        pytest.param([60.0], [50.0], id="few"),
        pytest.param([60.0], [70.0, 55.0, 50.0], id="many beside what is there"),
        pytest.param([60.0] * 20, [50.0], id="few beside what is there"),
    ],
)
def test_what_is_pushed_together_may_be_due_before_what_was_there(there, pushed):
    heap = DueHeap(all_count)
    heap.push_all([(due, AssetId(f"a{number}")) for number, due in enumerate(there)])
    heap.push_all([(due, AssetId(f"b{number}")) for number, due in enumerate(pushed)])
    assert heap.next_due == 50.0


def test_all_that_are_due_are_counted_up_to_the_limit():
    heap = DueHeap(all_count)
    heap.push_all([(float(number), AssetId(f"a{number}")) for number in range(20)])
    assert [heap.count_due(now, 100) for now in (-1.0, 0.0, 2.0, 6.5, 99.0)] == [0, 1, 3, 7, 20]
    assert heap.count_due(99.0, 5) == 5


def test_entries_that_no_longer_count_are_not_visited_without_end():
    visited = 0

    def none_counts(asset_id, due):
        nonlocal visited
        visited += 1
        return False

    heap = DueHeap(none_counts)
    heap.push_all([(float(number), AssetId(f"a{number}")) for number in range(4 * VISITED_AT_MOST)])
    assert heap.count_due(1e9, 10) == 0
    assert visited <= 2 * VISITED_AT_MOST


def every(_, __):
    return True


def test_what_is_due_is_returned_once_the_earliest_first_and_leaves_the_heap():
    heap = DueHeap(every)
    heap.push_all([(3.0, AssetId("c")), (1.0, AssetId("a")), (2.0, AssetId("b"))])
    heap.push(AssetId("a"), 2.5)
    assert (heap.next_due, len(heap)) == (1.0, 4)
    assert heap.pop_due(0.5, 9) == []
    assert heap.pop_due(2.0, 1) == [(1.0, "a")]
    heap.push(AssetId("b"), 1.5)
    assert heap.pop_due(2.5, 9) == [(1.5, "b"), (2.5, "a")]
    assert (heap.next_due, len(heap)) == (3.0, 1)
    assert heap.pop_due(3.0, 0) == []
    assert heap.pop_due(3.0, 1) == [(3.0, "c")]
    assert (heap.next_due, len(heap)) == (None, 0)


def test_an_entry_that_no_longer_counts_is_passed_over():
    heap = DueHeap(lambda asset_id, due: (asset_id, due) != ("a", 1.0))
    heap.push_all([(1.0, AssetId("a")), (2.0, AssetId("b")), (3.0, AssetId("a"))])
    assert heap.count_due(2.0, 9) == 1
    assert heap.next_due == 2.0
    heap.push(AssetId("a"), 1.0)
    assert heap.pop_due(3.0, 9) == [(2.0, "b"), (3.0, "a")]


@pytest.mark.parametrize("limit", [0, 1, 999, 1000, 1001])
def test_what_is_due_is_counted_up_to_a_limit_wherever_it_is_in_the_heap(limit):
    heap = DueHeap(every)
    heap.push_all([(float(number), AssetId(f"a{number}")) for number in range(2_000)])
    assert heap.count_due(999.0, limit) == min(limit, 1000)
    assert heap.count_due(-1.0, limit) == 0
