"""Whether one asset is denied rather than all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset_worker.domain.assets import AssetId
from asset_worker.poller.per_asset_refusals import DENIALS, PerAssetRefusals

ODD, OTHER, THIRD, FOURTH = map(AssetId, ("odd", "other", "third", "fourth"))


def deny_while_others_are_answered(refusals, times, *, by_api=True):
    """Deny `ODD` this often, once a second, each time with an answer about another asset in between; the results."""
    found = []
    for now in range(times):
        found.append(refusals.denied(ODD, float(now), by_api=by_api))
        refusals.answered(OTHER)
    return found


@pytest.mark.parametrize("by_api", [True, False], ids=["refused", "404"])
def test_what_all_assets_get_is_no_assets_fault(by_api):
    refusals = PerAssetRefusals()
    refusals.answered(OTHER)
    found = [refusals.denied(each, float(now), by_api=by_api) for now in range(100) for each in (ODD, OTHER)]
    assert found == [None] * 200


@pytest.mark.parametrize("by_api", [True, False], ids=["refused", "404"])
def test_an_asset_that_is_denied_while_others_are_answered_is_found(by_api):
    found = deny_while_others_are_answered(PerAssetRefusals(), DENIALS + 2, by_api=by_api)
    assert found == [None, None, 2.0, 3.0, 4.0]


def test_a_pause_in_the_answers_to_others_begins_the_count_again():
    """A gateway that answers everything with its default page for a while."""
    refusals = PerAssetRefusals()
    assert deny_while_others_are_answered(refusals, DENIALS)[-1] == 2.0
    assert refusals.denied(ODD, 10.0, by_api=False) == 10.0
    assert refusals.denied(ODD, 100.0, by_api=False) is None, "nobody was answered since the one before"
    refusals.answered(OTHER)
    assert refusals.denied(ODD, 130.0, by_api=False) is None
    refusals.answered(OTHER)
    assert refusals.denied(ODD, 160.0, by_api=False) == 60.0


@given(st.lists(st.sampled_from(["denied", "other"]), max_size=60))
def test_only_denials_with_answers_to_others_between_each_two_are_the_assets(steps):
    refusals, since, times, answered = PerAssetRefusals(), 0.0, 0, False
    for now, step in enumerate(steps):
        if step == "other":
            refusals.answered(OTHER)
            answered = True
            continue
        if not answered or not times:
            since, times = float(now), 0
        times, answered = times + 1, False
        assert refusals.denied(ODD, float(now), by_api=False) == (now - since if times >= DENIALS else None)


def test_an_answer_about_it_or_another_failure_clears_it():
    for clear in (PerAssetRefusals.answered, PerAssetRefusals.unanswered):
        refusals = PerAssetRefusals()
        deny_while_others_are_answered(refusals, DENIALS)
        assert refusals.is_denied(ODD)
        clear(refusals, ODD)
        assert not refusals.is_denied(ODD)
        assert refusals.denied(ODD, 51.0, by_api=True) is None


def test_one_that_is_denied_for_a_while_shows_that_denials_come_and_go():
    """A gateway that answers any request with its default page now and then."""
    refusals = PerAssetRefusals()
    deny_while_others_are_answered(refusals, DENIALS - 1, by_api=False)
    refusals.denied(OTHER, 8.0, by_api=False)
    refusals.answered(OTHER)
    assert refusals.denied(ODD, 9.0, by_api=False) is None


def test_a_settled_asset_is_forgotten():
    """Its ID may be submitted again, and takes no memory until then."""
    refusals = PerAssetRefusals()
    deny_while_others_are_answered(refusals, DENIALS)
    refusals.forget(ODD)
    refusals.forget(OTHER)
    assert refusals.denied(ODD, 51.0, by_api=True) is None


def test_the_asset_shown_last_is_asked_about_once_between_two_denials_of_another():
    refusals = PerAssetRefusals()
    assert refusals.witness_for(ODD) is None, "it was not denied"
    refusals.denied(ODD, 1.0, by_api=True)
    assert refusals.witness_for(ODD) is None, "no other was shown"
    refusals.shown(THIRD)
    refusals.shown(OTHER)
    assert refusals.witness_for(ODD) == OTHER
    refusals.asked()
    assert refusals.witness_for(ODD) is None, "it was asked"
    refusals.denied(ODD, 2.0, by_api=True)
    assert refusals.witness_for(ODD) == OTHER
    refusals.answered(THIRD)
    assert refusals.witness_for(ODD) is None, "another was answered"


def test_an_asset_is_no_witness_for_itself():
    refusals = PerAssetRefusals()
    refusals.answered(OTHER)
    refusals.answered(ODD)
    refusals.denied(ODD, 1.0, by_api=False)
    assert refusals.witness_for(ODD) == OTHER


def test_a_list_that_shows_the_denied_asset_makes_it_no_witness_for_itself():
    refusals = PerAssetRefusals()
    refusals.denied(ODD, 1.0, by_api=False)
    refusals.shown(OTHER)
    refusals.shown(ODD)
    assert refusals.witness_for(ODD) == OTHER


def test_an_asset_that_is_shown_again_is_the_one_shown_last():
    refusals = PerAssetRefusals()
    refusals.denied(ODD, 1.0, by_api=False)
    for shown in (OTHER, THIRD, OTHER):
        refusals.shown(shown)
    assert refusals.witness_for(ODD) == OTHER


def test_a_denied_asset_is_no_witness_for_another():
    refusals = PerAssetRefusals()
    refusals.shown(OTHER)
    refusals.shown(THIRD)
    refusals.denied(THIRD, 1.0, by_api=False)
    refusals.denied(ODD, 2.0, by_api=False)
    assert refusals.witness_for(ODD) == OTHER


def test_only_the_two_assets_shown_last_are_witnesses():
    refusals = PerAssetRefusals()
    for shown in (OTHER, THIRD, FOURTH):
        refusals.shown(shown)
    refusals.denied(FOURTH, 1.0, by_api=False)
    refusals.denied(ODD, 1.0, by_api=False)
    assert refusals.witness_for(ODD) == THIRD
    refusals.denied(THIRD, 2.0, by_api=False)
    refusals.denied(ODD, 2.0, by_api=False)
    assert refusals.witness_for(ODD) is None


def test_a_list_that_shows_others_proves_nothing_about_retrieves():
    """It may be answered while every retrieve is denied."""
    refusals = PerAssetRefusals()
    for now in range(10):
        assert refusals.denied(ODD, float(now), by_api=True) is None
        refusals.shown(OTHER)


@pytest.mark.parametrize(
    ("steps", "is_refused"),
    [
        pytest.param([], True, id="nothing is known"),
        pytest.param([ODD], True, id="nothing was shown"),
        pytest.param([OTHER, ODD, THIRD, ODD], False, id="perhaps it may not see these"),
        pytest.param([OTHER, ODD, "shown"], True, id="one that was shown"),
        pytest.param([OTHER, "witness"], True, id="the witness"),
        pytest.param([OTHER, ODD, "shown", "answered"], False, id="answered again"),
        pytest.param([OTHER, "witness", "answered"], False, id="the witness is answered again"),
    ],
)
def test_the_key_is_refused_if_nothing_was_shown_or_what_was_shown_is_refused(steps, is_refused):
    refusals = PerAssetRefusals()
    for step in steps:
        match step:
            case "shown":
                refusals.denied(OTHER, 0.0, by_api=True)
            case "witness":
                refusals.witness_was_refused()
            case "answered":
                refusals.answered(OTHER)
            case _ if step == OTHER:
                refusals.shown(OTHER)
            case _:
                refusals.denied(step, 0.0, by_api=True)
    assert refusals.key_is_refused is is_refused


def test_an_asset_that_was_shown_and_gets_a_404_says_nothing_about_the_key():
    refusals = PerAssetRefusals()
    refusals.shown(OTHER)
    refusals.denied(OTHER, 0.0, by_api=False)
    assert not refusals.key_is_refused
