"""What the gate counts about attempts."""

from __future__ import annotations

import pytest

from asset_worker.api.responses import Verdict
from asset_worker.api.subjects import Endpoint
from asset_worker.api.traffic import MOST_STATUSES, Traffic, class_of


def ended(traffic: Traffic, status: int | None, verdict: Verdict = Verdict.FAILED, *, wall: float = 0.0) -> None:
    traffic.begin()
    traffic.end(Endpoint.LIST, status, verdict, seconds=1.5, wall=wall)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (100, "1xx"),
        (199, "1xx"),
        (200, "2xx"),
        (301, "3xx"),
        (429, "4xx"),
        (599, "5xx"),
        (600, "5xx"),
        (99, "5xx"),
        (0, "5xx"),
        (None, "none"),
    ],
)
def test_there_are_six_classes_of_statuses(status: int | None, expected: str):
    assert class_of(status) == expected


def test_at_first_nothing_is_counted():
    traffic = Traffic()
    assert (traffic.sent, traffic.refused, traffic.in_flight, traffic.ended, traffic.succeeded_at) == (
        0,
        0,
        0,
        {},
        None,
    )
    assert traffic.durations.read() == {}


def test_attempts_are_counted_by_endpoint_and_status():
    traffic = Traffic()
    for status in (200, 200, 404, None):
        ended(traffic, status)
    traffic.begin()
    assert (traffic.sent, traffic.in_flight) == (5, 1)
    assert traffic.ended == {("list", "200"): 2, ("list", "404"): 1, ("list", "none"): 1}
    found = {labels: (each.count, each.sum) for labels, each in traffic.durations.read().items()}
    assert found == {("list", "2xx"): (2, 3.0), ("list", "4xx"): (1, 1.5), ("list", "none"): (1, 1.5)}


def test_a_server_that_makes_statuses_up_makes_few_labels():
    traffic = Traffic()
    for status in range(100, 999):
        ended(traffic, status)
    assert len(traffic.ended) == MOST_STATUSES + 1
    assert traffic.ended["list", "other"] == 899 - MOST_STATUSES


def test_only_a_success_is_a_success():
    traffic = Traffic()
    for verdict in set(Verdict) - {Verdict.SUCCEEDED}:
        ended(traffic, 500, verdict, wall=7.0)
    assert traffic.succeeded_at is None
    ended(traffic, 404, Verdict.SUCCEEDED, wall=8.0)
    ended(traffic, 500, Verdict.FAILED, wall=9.0)
    assert traffic.succeeded_at == 8.0
