"""Each planted fault of the worker is found by one short history, which is clean without it."""

from typing import Any

import pytest

from asset_worker.simulator.lifecycles import Lifecycle, Rendition
from tests.simulation.__main__ import judge
from tests.simulation.actions import (
    Action,
    Append,
    Begin,
    Kill,
    Pause,
    Rotate,
    SetClock,
    StopWorker,
    Submit,
    Tear,
    Upload,
)
from tests.simulation.disk_faults import DiskSlow, FilesFail, JournalFails, ReceiverFails
from tests.simulation.faults import ListLies, key_refused
from tests.simulation.history import History
from tests.simulation.planted import FAULTS
from tests.simulation.rate_limits import RateLimits, Window
from tests.simulation.receivers import Answers
from tests.simulation.setup import Setup, receiver

SOON = Lifecycle(ends_after=5.0)
NEVER = Lifecycle(ends_after=float("inf"))
LATE_STREAM = Lifecycle(ends_after=3.0, hls=Rendition(ends_after=30.0))
APPEND = Append(lives=(SOON,))


def history(*actions: Action, seed: int = 0, **setup: Any) -> History:
    """Return a history with few settings."""
    return History(Setup(**setup), actions, seed)


def refused_by(status: int) -> Begin:
    """The receiver of the first webhook answers with this status."""
    return Begin(fault=ReceiverFails(receiver(0), Answers(status)), lasts=30.0)


def slow_journal(after: float) -> Begin:
    """Each call in the journal's thread takes two seconds."""
    return Begin(after=after, fault=DiskSlow("journal", 2.0), lasts=60.0)


HISTORIES = {
    "position-too-early": history(
        Append(lives=(NEVER,)), Pause(after=10.0), slow_journal(0.0), APPEND, Kill(after=6.0), deadline=60.0
    ),
    "settled-in-two": history(APPEND, slow_journal(3.0), Kill(after=10.0)),
    "event-before-settling": history(APPEND, slow_journal(3.0), Kill(after=10.0)),
    "failed-acceptance-taken-for-done": history(
        Begin(after=10.0, fault=JournalFails(), lasts=60.0),
        Submit(after=10.0, lives=(SOON,)),
        Kill(after=1.0),
        http=True,
    ),
    "number-not-increased": history(APPEND, Append(after=20.0, repeats=1), dedupe_window=0.0),
    "dedupe-window-ignored": history(APPEND, Append(after=20.0, repeats=1)),
    "progress-lost": history(Append(lives=(LATE_STREAM,)), StopWorker(after=15.0), transitions=True),
    "deadline-begins-again": history(Append(lives=(NEVER,)), StopWorker(after=20.0), deadline=40.0),
    "upgrade-forgets-events": history(earlier="bcac4c2", webhooks=2),
    "outbox-kept": history(APPEND),
    "wall-clock-deadline": history(
        Append(lives=(NEVER,)), SetClock(after=20.0, by=3600.0), Pause(after=20.0), deadline=60.0
    ),
    "torn-line-read": history(Tear(life=SOON, rest_after=4.0)),
    "rotated-file-forgotten": history(APPEND, Append(after=20.0, lives=(SOON,)), Rotate(), APPEND),
    "rotated-file-left-open": history(APPEND, Rotate(after=5.0), Append(after=5.0, lives=(SOON,))),
    "truncation-unnoticed": history(
        Append(lives=(SOON, SOON)), Rotate(after=5.0, how="copytruncate"), Append(after=5.0, lives=(SOON,))
    ),
    "rejection-dropped": history(Append(junk=("not an ID!",))),
    "answered-before-durable": history(
        slow_journal(10.0), Submit(after=10.0, lives=(SOON,)), Kill(after=0.5), http=True
    ),
    "late-uploads-missed": history(
        Upload(after=20.0, lives=(Lifecycle(ends_after=5.0, visible_after=25.0),)),
        Upload(after=1.0, lives=(SOON,)),
        Upload(after=10.0, lives=(SOON,)),
        Upload(after=10.0, lives=(SOON,)),
        account=True,
    ),
    "task-leaked": history(Append(lives=(SOON,) * 60)),
    "list-believed-unproven": history(
        Begin(fault=ListLies("says only ready")),
        Append(lives=(Lifecycle(ends_after=60.0),) * 3),
        Pause(after=30.0),
    ),
    "grace-of-404-ignored": history(Append(lives=(Lifecycle(ends_after=5.0, visible_after=5.0),))),
    "deadline-ignored": history(Append(lives=(NEVER,)), deadline=40.0, strategy="exponential"),
    "wait-of-429-ignored": history(
        Begin(fault=RateLimits((Window(3, 60.0),), "seconds")),
        Append(lives=(SOON,) * 8),
        Pause(after=30.0),
        batch="off",
    ),
    "own-rate-ignored": history(Append(lives=(SOON,) * 4), requests_per_second=0.5, batch="off"),
    "refused-key-used-on": history(
        Append(lives=(NEVER,) * 3), Begin(after=5.0, fault=key_refused(), lasts=50.0), Pause(after=50.0), deadline=90.0
    ),
    "advanced-before-sent": history(Begin(fault=FilesFail(), lasts=20.0), APPEND, Kill(after=15.0)),
    "never-synced": history(*(APPEND, Kill(after=12.0, power=True)) * 4),
    "not-searched-after-crash": history(
        APPEND, Begin(after=3.0, fault=DiskSlow("journal", 1.0), lasts=60.0), Kill(after=12.0)
    ),
    "deleted-before-answered": history(refused_by(503), APPEND, Pause(after=20.0), webhooks=1),
    "error-taken-for-delivered": history(refused_by(503), APPEND, Pause(after=20.0), webhooks=1),
    "dead-letter-lost": history(refused_by(400), APPEND, Pause(after=30.0), webhooks=1, retry=(1.0,)),
    "step-after-completion": history(
        Append(lives=(Lifecycle(ends_after=0.0, hls=Rendition(ends_after=0.0)),)), transitions=True
    ),
    "grace-ignored": history(
        Begin(fault=FilesFail(), lasts=60.0), APPEND, StopWorker(after=15.0), Pause(after=35.0), grace=5.0
    ),
    "key-logged": history(),
}


def test_each_fault_has_a_history() -> None:
    assert HISTORIES.keys() == FAULTS.keys()


@pytest.mark.parametrize("name", HISTORIES)
def test_a_planted_fault_is_found(name: str) -> None:
    """With the fault, the history breaks a promise that the fault concerns; without it, none."""
    fault = FAULTS[name]
    with fault.plant():
        found = judge(HISTORIES[name])
    assert fault.is_in(found), found
    assert judge(HISTORIES[name]) == []
