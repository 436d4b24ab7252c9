"""How events become lines, and how many of them fit into a batch."""

import pytest

from asset_worker.domain.events import Stored
from asset_worker.sinks.lines import encode, first_bytes

SIZES = [4, 9, 1]
"""Of the bodies. As lines, with a newline each, they have 5, 10 and 2 bytes."""


def events(sizes):
    return [Stored(position, f"a{position}.1", b"x" * size) for position, size in enumerate(sizes, 1)]


@pytest.mark.parametrize(
    ("limit", "count"), [(0, 1), (4, 1), (5, 1), (14, 1), (15, 2), (16, 2), (17, 3), (18, 3), (1_000, 3)]
)
def test_a_batch_has_as_many_events_as_fit_with_their_newlines_and_at_least_one(limit, count):
    assert first_bytes(events(SIZES), limit) == events(SIZES)[:count]


def test_of_no_events_none_are_first():
    assert first_bytes([], 10) == []


def test_each_event_is_a_line_that_ends():
    assert encode(events([2, 0])) == b"xx\n\n"
