"""What the poller counts: looks by kind, settlements by evidence, and how long steps take."""

from __future__ import annotations

import pytest

from asset_worker.api.errors import TransientError
from asset_worker.domain.assets import Expectations, Outcome
from asset_worker.domain.progress import LastSeen, Progress
from asset_worker.poller.counts import Counts
from asset_worker.poller.policy import Batching
from tests.doubles.api import PROCESSING, READY, ListingApi, ScriptedApi
from tests.doubles.looks import IDS, NOW, SCHEDULE, lease, seen
from tests.doubles.polling import poll

WATCHED = Progress(polls=1, phase_polls=1, last_seen=LastSeen("processing"), waiting_on=("asset",), waiting_at=NOW - 4)


@pytest.mark.virtual_time
@pytest.mark.parametrize("batching", [None, Batching(confirm_all=True), Batching()])
async def test_every_look_has_a_kind_and_every_settlement_its_evidence(batching):
    api = ListingApi({each: [PROCESSING, PROCESSING, READY] for each in IDS})
    _, poller, _ = await poll(api, ids=IDS, batching=batching, schedule=SCHEDULE)
    counts = poller.counts
    assert counts.looks["retrieve"] == len(api.retrieved)
    assert (counts.looks["list"] > 0) == (batching is not None)
    assert sum(counts.looks.values()) == poller.looks
    assert counts.settlements["list"] == poller.completions_from_lists
    assert sum(counts.settlements.values()) == counts.completions.total() == len(IDS)


@pytest.mark.virtual_time
async def test_a_deadline_that_passes_without_an_answer_is_no_evidence():
    api = ScriptedApi(*[TransientError("down")] * 1000)
    await_ready = Expectations(deadline=60.0)
    _, poller, _ = await poll(api, ids=IDS[:1], schedule=SCHEDULE, expectations=await_ready)
    assert poller.counts.settlements == {"list": 0, "retrieve": 0, "none": 1}
    assert poller.counts.completions == {"timed_out": 1}
    [lags] = poller.counts.detection_lags.read().values()
    assert lags.count == 0, "no look has shown it waiting"


@pytest.mark.parametrize("kind", ["list", "retrieve"])
def test_a_settlement_has_the_evidence_of_the_look_that_showed_the_end(kind):
    counts = Counts()
    counts.settled(lease(age=10.0, progress=WATCHED), Outcome.READY, seen("ready"), kind, elapsed=12.5)
    assert counts.settlements == {"list": 0, "retrieve": 0, "none": 0} | {kind: 1}
    assert counts.completions == {"ready": 1}
    [lags] = counts.detection_lags.read().values()
    assert (lags.count, lags.sum) == (1, 6.5), "from 4 s before the lease to 2.5 s after it"


def durations(counts):
    return {labels: (found.count, found.sum) for labels, found in counts.durations.read().items()}


def test_a_step_lasts_from_its_begin_to_the_look_that_found_it_ended():
    counts = Counts()
    shown = {"file_type": "video/mp4", "method": "direct"}
    counts.shown(lease(age=10.0, progress=WATCHED), seen(**shown), held=0.5)
    assert durations(counts) == {}, "it goes on"
    counts.shown(lease(age=10.0, progress=WATCHED), seen("ready", hls={"status": "processing"}, **shown), held=0.5)
    assert durations(counts) == {("asset", "video/mp4 direct"): (1, 10.5)}
    rendering = Progress(2, 1, LastSeen("ready", {"hls": "processing"}), ("hls",), ready_at=NOW - 7, waiting_at=NOW - 4)
    counts.shown(
        lease(age=17.0, ready_age=7.0, progress=rendering), seen("ready", hls={"status": "ready"}, **shown), held=0.5
    )
    assert durations(counts)["hls", "video/mp4 direct"] == (1, 7.5)


def test_what_had_ended_before_the_first_look_has_no_duration():
    counts = Counts()
    counts.shown(lease(age=10.0), seen("ready"), held=0.0)
    assert durations(counts) == {}


def test_a_rendition_of_an_asset_that_is_in_process_again_has_no_duration():
    counts = Counts()
    rendering = Progress(2, 1, LastSeen("ready", {"hls": "processing"}), ("hls",), ready_at=NOW - 7, waiting_at=NOW - 4)
    counts.shown(lease(age=17.0, ready_age=7.0, progress=rendering), seen(hls={"status": "ready"}), held=0.5)
    assert durations(counts) == {}


def test_each_kind_of_look_is_shown_before_the_first():
    assert Counts().looks == {"list": 0, "retrieve": 0, "none": 0}


def test_whoever_uploads_odd_types_makes_few_classes():
    counts = Counts()
    for number in range(50):
        counts.shown(lease(progress=WATCHED), seen("ready", file_type=f"video/x-{number}"), held=0.0)
    assert len(durations(counts)) == 17
    assert durations(counts)["asset", "other"][0] == 34
