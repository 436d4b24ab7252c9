"""The file of what the schedule has learned."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from asset_worker.queue.local import schedule_store
from asset_worker.queue.local.schedule_store import load, load_or_start, save, save_periodically
from asset_worker.schedule.adaptive import AdaptiveSchedule
from asset_worker.schedule.learned import LearnedState, UnreadableState, to_bytes
from asset_worker.schedule.ports import WaitState
from tests.doubles.threads import ClosingThread


def trained():
    schedule = AdaptiveSchedule(initial=2, multiplier=1.5, maximum=30, uniform=lambda: 0.5)
    for number in range(40):
        schedule.observe(
            WaitState(2, age=20.0 + number % 5, waiting_on=(), file_type="video/mp4"), since=18, ended=("asset",)
        )
    return schedule


def test_what_was_saved_is_loaded(tmp_path):
    schedule, path = trained(), tmp_path / "schedule.msgpack"
    save(path, schedule.learned())
    assert load(path) == schedule.learned()
    assert load_or_start(path) == schedule.learned()
    assert sorted(tmp_path.iterdir()) == [path]


def test_without_a_file_learning_starts_from_nothing(tmp_path):
    with capture_logs() as logs:
        assert load_or_start(tmp_path / "schedule.msgpack") is None
    assert logs == []


@pytest.mark.parametrize("kept", [b"", b"\0", b"{}", b"\x94\x63\xc0\x90\x90"], ids=["empty", "nul", "json", "newer"])
def test_a_file_that_cannot_be_read_is_renamed_and_logged(tmp_path, kept):
    path = tmp_path / "schedule.msgpack"
    path.write_bytes(kept)
    assert isinstance(load(path), UnreadableState)
    with capture_logs() as logs:
        assert load_or_start(path) is None
    assert [log["event"] for log in logs] == ["schedule.unreadable"]
    assert (tmp_path / "schedule.unreadable").read_bytes() == kept
    assert not path.exists()


def test_an_error_without_a_number_is_named_by_its_text(tmp_path, monkeypatch):
    def fail(_):
        raise OSError("the disk is odd")

    monkeypatch.setattr(schedule_store, "open_to_read", fail)
    assert load(tmp_path / "schedule.msgpack") == UnreadableState("the disk is odd")


def put_link(path):
    (path.parent / "target").write_bytes(to_bytes(LearnedState(price=1.5)))
    path.symlink_to("target")


def put_larger_than_the_memory(path):
    path.touch()
    os.truncate(path, 1 << 42)


@pytest.mark.parametrize(
    ("put", "why"),
    [
        (os.mkfifo, "a named pipe and not a regular file"),
        (put_link, "a symbolic link and not a regular file"),
        (Path.mkdir, "a directory and not a regular file"),
        (lambda path: path.write_bytes(bytes((1 << 20) + 1)), "larger than 1 MiB"),
        (put_larger_than_the_memory, "larger than 1 MiB"),
    ],
    ids=["pipe", "link", "directory", "large", "larger than the memory"],
)
def test_what_is_no_regular_file_of_a_sensible_size_is_set_aside_at_once(tmp_path, put, why):
    path = tmp_path / "schedule.msgpack"
    put(path)
    assert load(path) == UnreadableState(why)
    with capture_logs() as logs:
        assert load_or_start(path) is None
    assert [(log["event"], log["error"]) for log in logs] == [("schedule.unreadable", why)]
    save(path, LearnedState(price=2.5))
    assert load(path) == LearnedState(price=2.5)
    assert not (tmp_path / "target").exists() or load(tmp_path / "target") == LearnedState(price=1.5)


def test_a_file_of_a_mebibyte_is_read(tmp_path, monkeypatch):
    path = tmp_path / "schedule.msgpack"
    save(path, trained().learned())
    monkeypatch.setattr(schedule_store, "MAX_BYTES", path.stat().st_size)
    assert load(path) == trained().learned()


def test_a_link_in_place_of_the_draft_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("data")
    (tmp_path / "schedule.new").symlink_to("precious")
    save(tmp_path / "schedule.msgpack", LearnedState(price=1.5))
    assert load(tmp_path / "schedule.msgpack") == LearnedState(price=1.5)
    assert (tmp_path / "precious").read_text() == "data"
    assert (tmp_path / "schedule.msgpack").lstat().st_mode == stat.S_IFREG | 0o600


def test_a_disk_that_fails_is_logged_and_raises_nothing(tmp_path):
    with capture_logs() as logs:
        save(tmp_path / "missing" / "schedule.msgpack", trained().learned())
    assert [log["event"] for log in logs] == ["schedule.not_kept"]


@pytest.mark.parametrize("fails", ["write", "fsync", "replace"])
def test_the_old_file_survives_a_disk_that_fails_midway(tmp_path, monkeypatch, fails):
    before, path = LearnedState(price=1.5), tmp_path / "schedule.msgpack"
    save(path, before)

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    where = {
        "write": "asset_worker.queue.local.schedule_store.to_bytes",
        "fsync": "os.fsync",
        "replace": "pathlib.Path.replace",
    }
    monkeypatch.setattr(where[fails], fail)
    with capture_logs() as logs:
        save(path, trained().learned())
    assert [log["event"] for log in logs] == ["schedule.not_kept"]
    assert load(path) == before


def test_the_new_file_is_synced_before_it_replaces_the_old_one(tmp_path, monkeypatch):
    path, synced = tmp_path / "schedule.msgpack", []
    save(path, LearnedState(price=1.5))
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
    save(path, trained().learned())
    assert load(path) == trained().learned()
    assert synced


@pytest.mark.virtual_time
async def test_it_is_written_every_minute_and_at_the_end(tmp_path):
    schedule, path = trained(), tmp_path / "schedule.msgpack"
    thread = ClosingThread()
    saving = asyncio.ensure_future(save_periodically(schedule, path, thread))
    await asyncio.sleep(59)
    assert not path.exists()
    await asyncio.sleep(2)
    first = path.read_bytes()
    schedule.observe(WaitState(2, age=900.0, waiting_on=(), file_type="image/png"), since=0, ended=("asset",))
    saving.cancel()
    await asyncio.gather(saving, return_exceptions=True)
    assert thread.closed
    assert path.read_bytes() != first
    assert load(path) == schedule.learned()
