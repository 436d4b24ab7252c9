"""When a disk is called full."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from asset_worker.queue.local.full_disks import ROOM, advice_about


@pytest.mark.parametrize(
    ("blocks", "files", "free_files", "is_full"),
    [
        pytest.param(64, 9, 9, False, id="room for SQLite's own files"),
        pytest.param(63, 9, 9, True, id="less"),
        pytest.param(64, 9, 0, True, id="no room for another file"),
        pytest.param(64, 1, 0, True, id="room for one file, which is taken"),
        pytest.param(64, 9, 1, False, id="room for one file"),
        pytest.param(64, 0, 0, False, id="a file system that counts no files"),
    ],
)
def test_a_disk_is_full_below_256_kib_or_without_room_for_a_file(
    tmp_path, monkeypatch, blocks, files, free_files, is_full
):
    found = SimpleNamespace(f_bavail=blocks, f_frsize=4096, f_files=files, f_favail=free_files)
    monkeypatch.setattr(os, "statvfs", lambda _: found)
    assert advice_about(tmp_path, otherwise="look") == (ROOM if is_full else "look")


def test_a_disk_that_can_not_be_examined_is_not_called_full(tmp_path):
    assert advice_about(tmp_path / "missing", otherwise="look") == "look"
