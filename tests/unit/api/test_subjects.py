"""What is remembered about single assets."""

from __future__ import annotations

import math

import pytest

from asset_worker.api.subjects import (
    ANSWERED_LATELY_SECONDS,
    MOST_SUBJECTS,
    WORKS_SECONDS,
    Endpoint,
    Memory,
    Subject,
    Subjects,
)


def test_each_asset_is_remembered_alone_and_all_lists_together():
    assert [Subject(Endpoint.RETRIEVE, each).key for each in "ab"] == ["a", "b"]
    assert [Subject(Endpoint.LIST, each).key for each in "ab"] == ["", ""]
    assert [each.other for each in Endpoint] == [Endpoint.LIST, Endpoint.RETRIEVE]


def test_nothing_is_known_about_a_new_asset():
    subjects = Subjects()
    assert subjects.of("a", 7.0) == Memory(is_answered_lately=False, has_failed=False)
    assert subjects.failures("a") == 0
    assert not subjects.works_for_others(7.0)


@pytest.mark.parametrize(
    ("later", "is_lately"), [(0.0, True), (ANSWERED_LATELY_SECONDS, True), (ANSWERED_LATELY_SECONDS + 0.1, False)]
)
def test_an_answer_is_late_for_an_hour(later: float, is_lately: bool):
    subjects = Subjects()
    subjects.answered("a", 10_000.0)
    assert subjects.of("a", 10_000.0 + later) == Memory(is_answered_lately=is_lately, has_failed=False)
    assert subjects.of("b", 10_000.0 + later) == Memory(is_answered_lately=False, has_failed=False)


@pytest.mark.parametrize(("later", "works"), [(0.0, True), (WORKS_SECONDS, True), (WORKS_SECONDS + 0.1, False)])
def test_an_answer_shows_for_a_while_that_the_api_works(later: float, works: bool):
    subjects = Subjects()
    subjects.answered("a", 10.0)
    assert subjects.works_for_others(10.0 + later) is works


def test_failures_in_a_row_are_counted_until_an_answer():
    subjects = Subjects()
    assert [subjects.failed("a") for _ in range(3)] == [1, 2, 3]
    assert subjects.failed("b") == 1
    assert (subjects.failures("a"), subjects.has_failed("a")) == (3, True)
    subjects.answered("a", 1.0)
    assert (subjects.failures("a"), subjects.has_failed("a"), subjects.has_failed("b")) == (0, False, True)
    assert subjects.failed("a") == 1


def test_an_asset_that_is_refused_has_failed_until_it_is_answered_or_the_key_changes():
    subjects = Subjects()
    for key in "ab":
        assert subjects.refused(key, 1.0) is False
        assert subjects.has_failed(key)
    subjects.answered("a", 2.0)
    assert [subjects.has_failed(key) for key in "ab"] == [False, True]
    subjects.forget_refusals()
    assert not subjects.has_failed("b")


def test_a_refusal_concerns_one_asset_alone_if_others_were_answered_after_its_first():
    subjects = Subjects()
    assert subjects.refused("a", 1.0) is False
    assert subjects.refused("a", 2.0) is False
    subjects.answered("b", 3.0)
    assert subjects.refused("a", 4.0) is True
    assert subjects.refused("b", 3.0) is False, "it came at the time of the answer"
    subjects.answered("a", 5.0)
    assert subjects.refused("a", 6.0) is False, "its answer was the latest"
    subjects.answered("b", 7.0)
    subjects.forget_refusals()
    assert subjects.refused("a", 8.0) is False, "the key has changed"


@pytest.mark.parametrize("ends", ["failed", "refused"])
def test_an_asset_that_no_longer_works_shows_nothing(ends: str):
    subjects = Subjects()
    subjects.answered("a", 1.0)
    if ends == "failed":
        subjects.failed("a")
    else:
        subjects.refused("a", 2.0)
    assert not subjects.works_for_others(2.0)
    subjects.answered("a", 3.0)
    assert subjects.works_for_others(3.0)


def test_the_latest_thousand_are_remembered():
    subjects, now = Subjects(), -math.inf
    for number in range(MOST_SUBJECTS):
        subjects.failed(f"{number}")
    assert all(subjects.has_failed(f"{number}") for number in range(MOST_SUBJECTS))
    subjects.failed("0")
    subjects.failed("one more")
    assert not subjects.has_failed("1"), "the oldest is forgotten"
    assert [subjects.failures(key) for key in ("0", "2", "one more")] == [2, 1, 1]
    assert subjects.of("1", now) == Memory(is_answered_lately=False, has_failed=False)
