"""Where the files of servers are, which tests start."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest

from tests.doubles.postgres import ROOM, folder_in_memory


@pytest.mark.parametrize(("free", "has_room"), [(ROOM, True), (ROOM - 1, False)])
def test_they_are_in_memory_where_there_is_room(tmp_path, monkeypatch, free, has_room):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    assert folder_in_memory(str(tmp_path)) == (str(tmp_path) if has_room else None)


def test_they_are_not_in_memory_where_it_has_no_folder(tmp_path):
    assert folder_in_memory(str(tmp_path / "missing")) is None
