"""One state from what is pending and what has been settled."""

from __future__ import annotations

import pytest

from asset_worker.domain.progress import Progress
from asset_worker.domain.states import AssetState, PendingState, SettledState, combined


def pending(completion: int) -> PendingState:
    return PendingState(accepted_at=0.0, completion=completion, progress=Progress(), due_in=1.0)


def settled(completion: int) -> SettledState:
    return SettledState(completion, "ready", accepted_at=0.0, completed_at=5.0, event=None)


def test_an_asset_that_was_submitted_again_is_both():
    assert combined(pending(2), settled(1)) == AssetState(pending(2), settled(1))


@pytest.mark.parametrize("completion", [2, 3])
def test_a_wait_that_ended_between_the_two_reads_is_not_pending(completion: int):
    assert combined(pending(2), settled(completion)) == AssetState(settled=settled(completion))


def test_one_of_the_two_or_neither_stays_what_it_is():
    assert combined(pending(1), None) == AssetState(pending=pending(1))
    assert combined(None, settled(1)) == AssetState(settled=settled(1))
    assert combined(None, None) == AssetState()
