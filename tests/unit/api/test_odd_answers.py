"""Odd answers: what is logged of them, and how much."""

from __future__ import annotations

from structlog.testing import capture_logs

from asset_worker.api.odd_answers import MAX_KINDS, OddAnswers


def test_each_kind_is_logged_once_and_endless_ones_are_not():
    odd = OddAnswers()
    with capture_logs() as logs:
        for number in range(3 * MAX_KINDS):
            odd.report([f"kind {number}", "kind 0"])
    assert [line["what"] for line in logs] == [f"kind {number}" for number in range(100)]
    assert len(odd._logged) == 100
