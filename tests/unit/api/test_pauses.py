"""Whose pause a refusal starts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from asset_worker.api.limits.pauses import Pauses
from asset_worker.api.subjects import Endpoint

LIST, RETRIEVE = Endpoint.LIST, Endpoint.RETRIEVE


def used() -> Pauses:
    pauses = Pauses()
    for endpoint in Endpoint:
        pauses.sent(endpoint)
        pauses.answered(endpoint)
    return pauses


def rounds(pauses: Pauses, *, limited: Endpoint, times: int) -> list[bool]:
    """After each pause, the other endpoint is answered and this one is refused. Returns whether all paused."""
    found = []
    for _ in range(times):
        pauses.answered(limited.other)
        found.append(pauses.refused(limited))
    return found


def test_a_pause_is_an_endpoints_own_after_two_rounds() -> None:
    for endpoint in Endpoint:
        pauses = used()
        assert pauses.refused(endpoint)
        assert pauses.first is endpoint.other, "it shows whether it is limited too"
        assert rounds(pauses, limited=endpoint, times=4) == [True, False, False, False]
        assert pauses.alone is endpoint
        pauses.answered(endpoint)
        assert pauses.refused(endpoint), "the next pause is for all again"


def test_a_common_limit_stays_common() -> None:
    pauses = used()
    for endpoint in [LIST, RETRIEVE, RETRIEVE, LIST, LIST] * 20:
        assert pauses.refused(endpoint)
        pauses.answered(endpoint)
        pauses.answered(endpoint.other)


def test_refusals_with_nothing_of_the_other_kind_between_them_do_not_end_the_rounds() -> None:
    pauses = used()
    pauses.refused(LIST)
    assert rounds(pauses, limited=LIST, times=1) == [True]
    assert pauses.refused(LIST), "no retrieve was waiting"
    assert rounds(pauses, limited=LIST, times=1) == [False]
    assert pauses.alone is LIST


def test_rounds_that_are_not_running_do_not_count() -> None:
    pauses = used()
    pauses.refused(LIST)
    assert rounds(pauses, limited=LIST, times=1) == [True]
    assert rounds(pauses, limited=RETRIEVE, times=1) == [True]
    assert rounds(pauses, limited=LIST, times=1) == [True]
    pauses.answered(LIST)
    assert pauses.refused(LIST)


def test_a_refusal_of_the_other_endpoint_shows_a_common_limit_and_more_rounds_are_needed_then() -> None:
    pauses = used()
    pauses.refused(LIST)
    rounds(pauses, limited=LIST, times=2)
    assert pauses.refused(RETRIEVE)
    assert pauses.alone is None
    assert rounds(pauses, limited=LIST, times=4) == [True, True, True, False]


def test_the_other_endpoint_too_needs_more_rounds_after_a_common_limit() -> None:
    pauses = used()
    pauses.refused(LIST)
    rounds(pauses, limited=LIST, times=2)
    assert pauses.refused(RETRIEVE)
    assert rounds(pauses, limited=RETRIEVE, times=4) == [True, True, True, False]


def test_however_often_a_limit_proved_common_the_rounds_that_are_needed_have_an_end() -> None:
    pauses = used()
    for endpoint, needed in zip([LIST, RETRIEVE] * 4, [2, 4, 8, 16, 32, 64, 64, 64], strict=True):
        assert pauses.refused(endpoint)
        assert rounds(pauses, limited=endpoint, times=needed) == [*[True] * (needed - 1), False]


def test_an_endpoint_that_was_answered_has_to_be_found_limited_anew() -> None:
    pauses = used()
    pauses.refused(LIST)
    assert rounds(pauses, limited=LIST, times=2) == [True, False]
    pauses.answered(LIST)
    assert pauses.refused(LIST)
    assert rounds(pauses, limited=LIST, times=2) == [True, False]


def test_a_refusal_says_nothing_about_an_endpoint_while_the_other_is_not_answered() -> None:
    pauses = used()
    pauses.refused(RETRIEVE)
    pauses.refused(LIST)  # neither was answered since
    assert rounds(pauses, limited=LIST, times=1) == [True]
    assert pauses.alone is None


def test_none_goes_first_once_one_was_answered_or_an_endpoint_pauses_alone() -> None:
    for endpoint in Endpoint:
        pauses = used()
        pauses.refused(endpoint)
        pauses.answered(endpoint)
        assert pauses.first is None
        pauses.refused(endpoint)
        assert rounds(pauses, limited=endpoint, times=2) == [True, False]
        assert pauses.first is None


def test_once_a_list_was_sent_one_goes_first_after_each_refusal_of_a_retrieve() -> None:
    pauses = Pauses()
    pauses.sent(LIST)
    pauses.sent(RETRIEVE)
    pauses.refused(RETRIEVE)
    assert pauses.first is LIST


def test_lists_are_not_waited_for_if_none_are_sent_but_retrieves_are() -> None:
    for endpoint, first in ((RETRIEVE, None), (LIST, RETRIEVE)):
        pauses = Pauses()
        pauses.sent(endpoint)
        pauses.refused(endpoint)
        assert pauses.first is first


@given(steps=st.lists(st.tuples(st.sampled_from(Endpoint), st.booleans())))
def test_only_an_endpoint_that_is_limited_alone_pauses_alone(steps: list[tuple[Endpoint, bool]]) -> None:
    pauses, in_a_row = used(), 0
    for endpoint, is_refused in steps:
        if not is_refused:
            pauses.answered(endpoint)
            in_a_row = 0 if endpoint is LIST else in_a_row
            continue
        all_pause = pauses.refused(endpoint)
        in_a_row = in_a_row + 1 if endpoint is LIST else 0
        assert all_pause == (pauses.alone is None)
        if pauses.alone is LIST:
            assert in_a_row >= 2, "it was refused in at least two rounds, and not answered between"
