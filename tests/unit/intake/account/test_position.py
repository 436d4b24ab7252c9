"""How the positions of the two readers are stored."""

from __future__ import annotations

import msgspec
import pytest

from asset_worker.intake.account.filters import Filters
from asset_worker.intake.account.position import Backlog, Gap, Position, decode

VIDEOS = Filters(types=("video",))
POSITION = Position(
    began=1.0, start=2.0, checkpoint=4.0, floor=3.0, known={"a": 3.5}, filters=Filters(types=("video",))
)
BACKLOG = Backlog((Gap(1.0, 2.0), Gap(0.0, 1.0, 7, 9, ("a",))))


@pytest.mark.parametrize("position", [POSITION, BACKLOG])
def test_what_is_stored_is_read_again(position):
    assert decode(msgspec.json.encode(position), type(position)) == position


def test_the_form_of_what_is_stored_is_a_contract():
    """Another version reads it after an update."""
    assert msgspec.json.decode(msgspec.json.encode(POSITION)) == {
        "began": 1.0,
        "start": 2.0,
        "checkpoint": 4.0,
        "floor": 3.0,
        "known": {"a": 3.5},
        "filters": {"types": ["video"]},
        "earlier": None,
        "seen_until": -1e12,
        "version": 1,
    }
    assert msgspec.json.decode(msgspec.json.encode(BACKLOG)) == {
        "gaps": [{"low": 1.0, "high": 2.0}, {"low": 0.0, "high": 1.0, "index": 7, "total": 9, "ids": ["a"]}],
        "version": 1,
    }
    assert decode(b'{"gaps":[{"low":1.0,"high":2.0}]}', Backlog) == Backlog((Gap(1.0, 2.0, 0, None, ()),))


@pytest.mark.parametrize("stored", [None, b"", b"{}", b'{"began": 1.0, "version": 0}', b'{"began": 1.0, "version": 2}'])
def test_what_this_version_can_not_read_is_none(stored):
    assert decode(stored, Position) is None
