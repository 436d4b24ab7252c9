"""Whether it is one asset that is refused, and not the key."""

from __future__ import annotations

from asset_worker.domain.assets import AssetId
from asset_worker.poller.per_asset_refusals import REFUSALS, PerAssetRefusals

ODD, OTHER = AssetId("odd"), AssetId("other")


def test_a_key_that_is_refused_with_all_singles_nobody_out():
    it = PerAssetRefusals()
    assert not any(it.refused(asset_id, float(now)) for now in range(100) for asset_id in (ODD, OTHER))


def test_one_that_is_refused_while_others_are_answered_is_singled_out():
    it = PerAssetRefusals()
    found = []
    for now in range(REFUSALS + 2):
        found.append(it.refused(ODD, float(now)))
        it.answered(OTHER, now + 0.5)
    assert found == [False] * REFUSALS + [True, True]


def test_an_answer_about_it_clears_it():
    it = PerAssetRefusals()
    for now in range(REFUSALS + 2):
        it.refused(ODD, float(now))
        it.answered(OTHER, now + 0.5)
    it.answered(ODD, 50.0)
    assert not it.refused(ODD, 51.0)


def test_what_is_pending_no_more_takes_no_memory():
    it = PerAssetRefusals()
    it.refused(ODD, 1.0)
    it.forget(ODD)
    it.forget(OTHER)
    assert it._refused == {}
