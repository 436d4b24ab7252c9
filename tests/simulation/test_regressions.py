"""Histories that broke a promise once, each as short as it could be made, and named after what was wrong."""

import errno
import sqlite3

import pytest

from asset_worker.simulator.lifecycles import Lifecycle
from tests.simulation.actions import Append, Begin, Kill, Pause, Rotate, SetClock, StopWorker, Submit, Upload
from tests.simulation.disk_faults import DiskSlow, FilesFail, JournalFails
from tests.simulation.faults import DatesOff, Disconnected, Failing
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
    "each attempt to read a file that was new after a start left a descriptor behind": History(
        Setup(),
        (
            Append(lives=(DONE,)),
            Begin(after=8.0, fault=FilesFail(ROOT, errno.EIO, frozenset({"scandir"})), lasts=43.0),
            Kill(steps=358, down=6.0),
            Rotate(),
            Append(lives=(DONE,)),
            Begin(fault=FilesFail(f"{ROOT}/queue", errno.EIO, frozenset({"pread"})), lasts=14.0),
            Pause(after=34.0),
        ),
    ),
    "a client was answered 500 when the journal failed while the worker stopped": History(
        Setup(http=True, grace=5.0),
        (
            Begin(fault=JournalFails(sqlite3.SQLITE_FULL), lasts=50.0),
            Submit(after=3.8, lives=(DONE,)),
            StopWorker(after=0.8, down=13.5),
            Pause(after=22.0),
        ),
    ),
    "a stop during a start that the disk holds up took longer than its grace": History(
        Setup(grace=5.0),
        (
            Kill(after=4.0, down=0.1),
            Begin(fault=DiskSlow("journal", 14.5), lasts=9.6),
            StopWorker(after=0.5, down=12.0),
        ),
    ),
    "the model took a batch that was only in the copy of a truncated file for a repeat": History(
        Setup(),
        (
            Begin(fault=DiskSlow("journal", 2.4), lasts=59.0),
            Append(lives=(DONE,)),
            Rotate(after=24.0, how="events_copy"),
            Kill(after=0.1),
        ),
    ),
    "the model took requests that reached nobody for probes with a refused key": History(
        Setup(batch="off"),
        (
            Begin(after=1.0, fault=Failing(status=401, code="api_key_invalid"), lasts=28.0),
            Begin(fault=Disconnected("TLS"), lasts=40.0),
            Append(after=13.0, lives=(DONE,) * 8),
            Pause(after=30.0),
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
    "the model took following to begin before the first answer, whose date was ahead": History(
        Setup(account=True),
        (
            Begin(after=0.01, fault=DatesOff(90.0), lasts=0.9),
            Upload(after=1.0, lives=(DONE,)),
        ),
    ),
    "the model took a file for lost that was reported, because the clock was set back": History(
        Setup(),
        (
            SetClock(after=8.0, by=-30.0),
            StopWorker(after=12.0, down=14.0),
            Append(after=4.0, lives=(DONE,), junk=("{",)),
            Rotate(after=9.0),
        ),
    ),
}


@pytest.mark.parametrize("history", HISTORIES.values(), ids=HISTORIES.keys())
def test_what_was_wrong_once_is_right(history: History) -> None:
    """The history breaks no promise any more."""
    assert run(history) == []
