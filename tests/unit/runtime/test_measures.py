"""What parts count: distributions."""

from __future__ import annotations

from bisect import bisect_right

from hypothesis import given
from hypothesis import strategies as st

from asset_worker.runtime.measures import Distribution, Histogram


def test_a_value_on_a_bound_is_below_it():
    found = Histogram[str]([1, 2])
    for value in (0.5, 1, 1.5, 2, 2.5):
        found.observe("a", value)
    found.observe("b", -1)
    assert found.read() == {"a": Distribution((2, 2, 1), 7.5, (1, 2)), "b": Distribution((1, 0, 0), -1, (1, 2))}


def test_a_key_may_be_shown_before_it_has_a_value():
    histogram = Histogram[str]([1.0], keys=["known"])
    assert histogram.read() == {"known": Distribution((0, 0), 0.0, (1.0,))}
    histogram.observe("known", 2.0)
    histogram.observe("new", 0.5)
    assert histogram.read() == {"known": Distribution((0, 1), 2.0, (1.0,)), "new": Distribution((1, 0), 0.5, (1.0,))}


def test_what_was_read_does_not_change():
    found = Histogram[str]([1])
    found.observe("a", 1)
    before = found.read()
    found.observe("a", 1)
    assert before == {"a": Distribution((1, 0), 1, (1,))}


@given(st.lists(st.integers(0, 9)), st.sets(st.integers(0, 9)).map(sorted))
def test_each_bound_has_the_values_up_to_it(values: list[int], bounds: list[int]):
    found = Histogram[None](bounds)
    for value in values:
        found.observe(None, value)
    counts = found.read()[None].counts if values else (0,) * (len(bounds) + 1)
    for place, bound in enumerate(bounds, start=1):
        assert sum(counts[:place]) == bisect_right(sorted(values), bound)
    assert sum(counts) == len(values)
