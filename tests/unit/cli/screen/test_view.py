"""What is shown of a running service."""

from __future__ import annotations

import pytest

from asset_worker.cli.screen.seen import Seen
from asset_worker.cli.screen.view import FORECAST_LIMIT, FORECAST_SECONDS, View
from asset_worker.domain.assets import AssetId, Missing, asset_from
from asset_worker.domain.progress import LastSeen, Progress
from asset_worker.domain.submissions import Submission
from asset_worker.poller.recent import NAMES
from asset_worker.queue.ports import Lease
from asset_worker.schedule.forecast import Forecast
from asset_worker.telemetry.snapshot import Snapshot
from asset_worker.telemetry.waiting import WaitingAsset
from tests.doubles.looks import ID, decided


class Service:
    """A service with a number of pending assets, all alike."""

    is_built, is_stopping = True, False

    def __init__(self, pending, done=0):
        self.pending, self.done = pending, done
        self.asked: list[int] = []

    def snapshot(self):
        completions = {"ready": self.done} if self.done else {}
        return Snapshot(pending=self.pending, waiting_on={"asset": self.pending}, completions=completions)

    def waiting(self, limit):
        self.asked.append(limit)
        progress = Progress(1, waiting_on=("asset",), last_seen=LastSeen("processing", file_type="video/\x1bmp4"))
        return [WaitingAsset(AssetId(ID), 5.0, 1.0, progress, Forecast(3.0, 9.0))] * min(limit, self.pending)


def scene(service, *, elapsed=1.0, listening_to=(), seen=None, shows_ended=False):
    it = View(service, seen or Seen(), title="x", listening_to=listening_to, shows_ended=shows_ended)
    found = it.scene(elapsed=elapsed, now=0.0, utc_offset=0.0)
    assert found is not None
    return found


def look(seen, asset_id, observation):
    lease = Lease(Submission(AssetId(asset_id), "command", 1), 0.0, 5.0, None, None, 1, Progress())
    seen.observe(lease, observation, decided(lease, observation))


def asset(asset_id=ID, status="processing", **fields):
    return asset_from({"_id": asset_id, "status": status, **fields})


def test_a_row_has_what_looks_have_shown_and_nothing_that_a_terminal_obeys():
    seen = Seen()
    look(seen, ID, asset(filename="clip\x1b.mp4"))
    look(seen, ID, Missing())
    [row] = scene(Service(1), seen=seen).assets
    assert (row.asset_id, row.filename, row.file_type) == (ID, r"clip\x1b.mp4", r"video/\x1bmp4")
    assert (row.stage, row.age, row.left, row.outcome) == ("processing", 5.0, Forecast(3.0, 9.0), None)


@pytest.mark.parametrize("filename", [None, 7, ["x"]])
def test_an_asset_may_have_no_name(filename):
    seen = Seen()
    look(seen, ID, asset(filename=filename))
    assert scene(Service(1), seen=seen).assets[0].filename == ""


def test_names_of_a_million_assets_are_not_kept():
    seen = Seen()
    for number in range(NAMES + 5):
        look(seen, f"a{number}", asset(f"a{number}", filename="x" * 1000))
        look(seen, "a0", asset("a0", filename="first"))
    assert [bool(seen.name_of(f"a{number}")) for number in (0, 1, NAMES)] == [True, False, True]
    assert len(seen.name_of(f"a{NAMES}")) == 255
    assert len(seen._names) == NAMES


def test_what_has_ended_keeps_its_row_where_events_go_elsewhere():
    seen = Seen()
    for number in range(50):
        look(seen, f"a{number}", asset(f"a{number}", "failed", filename="clip.mp4"))
    assert len(seen.ended) <= 11
    ended = scene(Service(1, done=1), seen=seen, shows_ended=True).assets[0]
    assert (ended.asset_id, ended.outcome, ended.filename, ended.age) == ("a0", "failed", "clip.mp4", 5.0)
    assert len(scene(Service(1, done=1), seen=seen).assets) == 1
    assert len(scene(Service(1, done=1), seen=seen, shows_ended=True, listening_to=["stdin"]).assets) == 1


@pytest.mark.parametrize(
    ("service", "listening_to", "has_rows"),
    [
        (Service(10), (), True),
        (Service(11), (), False),
        (Service(2, done=9), (), False),
        (Service(2, done=9), ["stdin"], True),
    ],
)
def test_few_assets_have_rows(service, listening_to, has_rows):
    assert (scene(service, listening_to=listening_to).assets is not None) is has_rows


def test_forecasts_are_made_now_and_then_and_not_of_very_many():
    service = Service(100)
    it = View(service, Seen(), title="x", listening_to=(), shows_ended=False)
    for tenth in range(100):
        it.scene(elapsed=tenth / 10, now=0.0, utc_offset=0.0)
    assert len(service.asked) == 10 / FORECAST_SECONDS
    many = Service(FORECAST_LIMIT + 1)
    assert scene(many).left is None
    assert many.asked == []


def test_what_a_million_assets_wait_for_is_shown():
    assert scene(Service(1_000_000)).waiting == {"asset": 1_000_000}


def test_nothing_is_shown_before_the_service_is_built():
    service = Service(1)
    service.is_built = False
    it = View(service, Seen(), title="x", listening_to=(), shows_ended=False)
    assert it.scene(elapsed=0.0, now=0.0, utc_offset=0.0) is None
