"""Whether one asset is refused rather than the key."""

from __future__ import annotations

from asset_worker.domain.assets import AssetId
from asset_worker.poller.per_asset_refusals import REFUSALS, PerAssetRefusals

ODD, OTHER = AssetId("odd"), AssetId("other")


def refuse_while_others_are_answered(refusals, times):
    """Refuse `ODD` this often, each time with an answer about another asset in between; the results."""
    found = []
    for now in range(times):
        found.append(refusals.refused(ODD, float(now)))
        refusals.answered(OTHER, now + 0.5)
    return found


def test_a_key_that_is_refused_with_every_asset_is_no_assets_fault():
    refusals = PerAssetRefusals()
    assert not any(refusals.refused(asset_id, float(now)) for now in range(100) for asset_id in (ODD, OTHER))


def test_an_asset_that_is_refused_while_others_are_answered_is_found():
    assert refuse_while_others_are_answered(PerAssetRefusals(), REFUSALS + 2) == [False] * REFUSALS + [True, True]


def test_an_answer_about_it_clears_it():
    refusals = PerAssetRefusals()
    refuse_while_others_are_answered(refusals, REFUSALS + 2)
    refusals.answered(ODD, 50.0)
    assert not refusals.refused(ODD, 51.0)


def test_a_settled_asset_is_forgotten():
    """Its ID may be submitted again, and takes no memory until then."""
    refusals = PerAssetRefusals()
    refuse_while_others_are_answered(refusals, REFUSALS + 2)
    refusals.forget(ODD)
    refusals.forget(OTHER)
    assert not refusals.refused(ODD, 51.0)
