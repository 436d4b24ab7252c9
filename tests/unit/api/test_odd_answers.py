"""Odd answers: what is logged of them, and how much."""

from __future__ import annotations

from structlog.testing import capture_logs

from asset_worker.api.odd_answers import MAX_KINDS, OddAnswers
from asset_worker.domain.assets import AssetId


def test_each_kind_is_logged_once_and_endless_ones_are_not():
    odd = OddAnswers()
    with capture_logs() as logs:
        for number in range(3 * MAX_KINDS):
            odd.report([f"kind {number}", "kind 0"])
    assert [line["what"] for line in logs] == [f"kind {number}" for number in range(100)]
    assert len(odd._logged) == 100


def test_what_is_odd_about_one_asset_is_logged_with_its_id():
    odd = OddAnswers()
    with capture_logs() as logs:
        odd.report(["one"], AssetId("a"))
        odd.report(["one", "two"], AssetId("b"))
        odd.report(["three"])
    about = {"event": "api.odd_answer", "log_level": "warning"}
    assert logs == [
        {**about, "what": "one", "asset_id": "a"},
        {**about, "what": "two", "asset_id": "b"},
        {**about, "what": "three"},
    ]
