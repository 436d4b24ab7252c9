"""What looks have shown lately: file names, and how waits ended."""

from __future__ import annotations

from asset_worker.domain.assets import AssetId, Missing, asset_from
from asset_worker.domain.progress import Progress
from asset_worker.domain.submissions import Submission
from asset_worker.poller.observing import both
from asset_worker.poller.recent import Recent
from asset_worker.queue.ports import Lease
from tests.doubles.looks import decided


class Clock:
    """Noon, and a minute of steady time."""

    def now(self):
        return 1000.0

    def steady(self):
        return 60.0

    def monotonic(self):
        return 60.0


def look(recent, asset_id, observation):
    lease = Lease(Submission(AssetId(asset_id), "command", 1), 50.0, 10.0, None, None, 1, Progress())
    recent.observe(lease, observation, decided(lease, observation))


def asset(asset_id, status="processing", **fields):
    return asset_from({"_id": asset_id, "status": status, **fields})


def test_a_file_name_is_known_from_the_first_look_that_shows_it():
    recent = Recent(Clock())
    look(recent, "a", Missing())
    assert recent.name_of("a") == ""
    look(recent, "a", asset("a", filename="clip.mp4"))
    look(recent, "a", Missing())
    assert (recent.name_of("a"), recent.finished) == ("clip.mp4", ())


def test_an_asset_that_is_done_is_remembered_with_outcome_times_and_addresses():
    recent = Recent(Clock())
    hls = {"status": "ready", "manifest_url": "https://cdn.example/a.m3u8"}
    thumbnail = {"status": "ready", "representative_url": "https://cdn.example/a.jpg"}
    look(recent, "a", asset("a", "ready", filename="clip.mp4", hls=hls, thumbnail=thumbnail))
    [found] = recent.finished
    assert (found.asset_id, found.filename, found.outcome, found.reason) == ("a", "clip.mp4", "ready", None)
    assert (found.at, found.took) == (1000.0, 10.0)
    assert found.addresses == {"hls": "https://cdn.example/a.m3u8", "thumbnail": "https://cdn.example/a.jpg"}


def test_an_asset_that_failed_has_its_reason():
    recent = Recent(Clock())
    look(recent, "a", asset("a", "failed", error={"message": "no frames"}))
    [found] = recent.finished
    assert (found.outcome, found.reason, found.addresses) == ("failed", "no frames", {})


def test_odd_answers_are_no_error():
    recent = Recent(Clock())
    for number, odd in enumerate([None, 7, [], "x", {"status": "ready", "manifest_url": 7}, {"status": "ready"}]):
        look(recent, f"a{number}", asset(f"a{number}", "ready", filename=odd, hls=odd))
    assert all(each.addresses == {} for each in recent.finished)
    assert recent.name_of("a3") == "x"


def test_what_is_kept_is_bounded():
    recent = Recent(Clock())
    long = "https://cdn.example/" + "x" * 2048
    for number in range(1010):
        fields = {"filename": "n" * 10_000, "error": {"message": "r" * 10_000}}
        look(
            recent, f"a{number}", asset(f"a{number}", "failed", hls={"status": "ready", "manifest_url": long}, **fields)
        )
    assert [each.asset_id for each in recent.finished] == [f"a{1009 - number}" for number in range(50)]
    [last, *_] = recent.finished
    assert (len(last.filename), len(last.reason or "")) == (255, 500)
    assert last.addresses == {}
    assert [bool(recent.name_of(f"a{number}")) for number in (9, 10)] == [False, True]


def test_an_address_of_2048_characters_is_kept_and_a_longer_one_is_not():
    recent = Recent(Clock())
    for length in (2049, 2048):
        address = "https://cdn.example/".ljust(length, "x")
        look(recent, "a", asset("a", "ready", hls={"status": "ready", "manifest_url": address}))
    assert [each.addresses for each in recent.finished] == [{"hls": address}, {}]


def test_the_names_of_those_that_were_looked_at_last_are_kept():
    recent = Recent(Clock())
    for number in [*range(1000), 0, 1000]:
        look(recent, f"a{number}", asset(f"a{number}", filename="n"))
    assert [recent.name_of(f"a{number}") for number in (0, 1, 2, 1000)] == ["n", "", "n", "n"]


def test_two_may_watch():
    seen = []
    watch = both(lambda *look: seen.append(("first", *look)), lambda *look: seen.append(("second", *look)))
    watch(1, 2, 3)
    assert seen == [("first", 1, 2, 3), ("second", 1, 2, 3)]
