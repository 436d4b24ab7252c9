"""What the schedule has learned, kept between runs."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from asset_worker.queue.local.schedule_store import keep, keep_learned, recall, recall_or_begin
from asset_worker.schedule.adaptive import AdaptiveSchedule
from asset_worker.schedule.learned import LearnedState, UnreadableState
from asset_worker.schedule.ports import WaitState
from tests.doubles.threads import InlineThread


def taught():
    schedule = AdaptiveSchedule(initial=2, multiplier=1.5, maximum=30, uniform=lambda: 0.5)
    for number in range(40):
        schedule.observe(
            WaitState(2, age=20.0 + number % 5, waiting_on=(), file_type="video/mp4"), since=18, ended=("asset",)
        )
    return schedule


def test_what_was_kept_is_recalled(tmp_path):
    schedule, path = taught(), tmp_path / "schedule.msgpack"
    keep(path, schedule.learned())
    assert recall(path) == schedule.learned()
    assert sorted(tmp_path.iterdir()) == [path]


def test_where_nothing_was_kept_learning_begins(tmp_path):
    with capture_logs() as logs:
        assert recall_or_begin(tmp_path / "schedule.msgpack") is None
    assert logs == []


@pytest.mark.parametrize("kept", [b"", b"\0", b"{}", b"\x94\x63\xc0\x90\x90"], ids=["empty", "nul", "json", "newer"])
def test_what_cant_be_read_is_set_aside_and_told(tmp_path, kept):
    path = tmp_path / "schedule.msgpack"
    path.write_bytes(kept)
    assert isinstance(recall(path), UnreadableState)
    with capture_logs() as logs:
        assert recall_or_begin(path) is None
    assert [log["event"] for log in logs] == ["schedule.unreadable"]
    assert (tmp_path / "schedule.unreadable").read_bytes() == kept
    assert not path.exists()


def test_a_disk_that_fails_is_told_and_forgiven(tmp_path):
    with capture_logs() as logs:
        keep(tmp_path / "missing" / "schedule.msgpack", taught().learned())
    assert [log["event"] for log in logs] == ["schedule.not_kept"]


@pytest.mark.parametrize("fails", ["write", "fsync", "replace"])
def test_what_was_kept_before_survives_a_disk_that_fails_midway(tmp_path, monkeypatch, fails):
    before, path = LearnedState(price=1.5), tmp_path / "schedule.msgpack"
    keep(path, before)

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    where = {
        "write": "asset_worker.queue.local.schedule_store.to_bytes",
        "fsync": "os.fsync",
        "replace": "pathlib.Path.replace",
    }
    monkeypatch.setattr(where[fails], fail)
    with capture_logs() as logs:
        keep(path, taught().learned())
    assert [log["event"] for log in logs] == ["schedule.not_kept"]
    assert recall(path) == before


def test_it_is_on_the_disk_before_it_takes_the_place_of_what_was_kept_before(tmp_path, monkeypatch):
    path, synced = tmp_path / "schedule.msgpack", []
    keep(path, LearnedState(price=1.5))
    kept, fsync, replace = path.read_bytes(), os.fsync, Path.replace

    def note_sync(descriptor):
        assert path.read_bytes() == kept
        fsync(descriptor)
        synced.append((os.fstat(descriptor).st_ino, os.fstat(descriptor).st_size))

    def note_replace(draft, target):
        assert (draft.stat().st_ino, draft.stat().st_size) in synced
        return replace(draft, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "replace", note_replace)
    keep(path, taught().learned())
    assert recall(path) == taught().learned()
    assert synced


@pytest.mark.virtual_time
async def test_it_is_written_every_minute_and_at_the_end(tmp_path):
    schedule, path = taught(), tmp_path / "schedule.msgpack"
    keeping = asyncio.ensure_future(keep_learned(schedule, path, InlineThread()))
    await asyncio.sleep(59)
    assert not path.exists()
    await asyncio.sleep(2)
    first = path.read_bytes()
    schedule.observe(WaitState(2, age=900.0, waiting_on=(), file_type="image/png"), since=0, ended=("asset",))
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    assert path.read_bytes() != first
    assert recall(path) == schedule.learned()
