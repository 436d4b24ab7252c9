"""Histories that broke a promise once, each as short as it could be made, and named after what was wrong."""

import errno

import pytest

from asset_worker.simulator.lifecycles import Lifecycle
from tests.simulation.actions import Append, Begin, Kill, Pause, Rotate
from tests.simulation.disk_faults import FilesFail
from tests.simulation.faults import Disconnected
from tests.simulation.history import History, run
from tests.simulation.rate_limits import RateLimits, Window
from tests.simulation.setup import ROOT, Setup

DONE = Lifecycle()
HISTORIES = {
    "a failed TLS handshake ended the worker": History(
        Setup(),
        (
            Begin(fault=Disconnected("TLS"), lasts=20.0),
            Append(after=1.0, lives=(DONE,)),
            Pause(after=20.0),
        ),
    ),
    "a file rotated while the worker was down was missed where the directory could not be listed": History(
        Setup(),
        (
            Kill(after=1.0, steps=250, down=7.0),
            Append(lives=(DONE,)),
            Begin(after=5.0, fault=FilesFail(ROOT, errno.EIO, frozenset({"scandir"})), lasts=31.0),
            Rotate(after=1.4),
            Append(after=3.0, lives=(DONE,)),
        ),
    ),
    "the request after a short pause came sooner than the own rate allows": History(
        Setup(requests_per_second=2.0, batch="off", concurrency=4),
        (
            Begin(fault=RateLimits((Window(3, 60.0),), told="nothing"), lasts=90.0),
            Append(lives=(DONE,) * 6),
            Pause(after=90.0),
        ),
    ),
}


@pytest.mark.parametrize("history", HISTORIES.values(), ids=HISTORIES.keys())
def test_what_was_wrong_once_is_right(history: History) -> None:
    """The history breaks no promise any more."""
    assert run(history) == []
