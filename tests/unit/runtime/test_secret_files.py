"""A file of secrets that others may read is found, and one that is meant to be so is not."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from asset_worker.runtime.secret_files import exposure, identity_of


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text("secret")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(("mode", "is_exposed"), [(0o400, False), (0o600, False), (0o644, True), (0o604, True)])
def test_a_file_that_every_user_may_read_is_exposed(file: Path, mode: int, is_exposed: bool):
    file.chmod(mode)
    found = exposure(file)
    assert (found is not None) == is_exposed
    assert found is None or (f"{mode:04o}" in found and "chmod 600" in found)


@pytest.mark.parametrize(
    ("owner_is_worker", "group_is_workers", "is_exposed"),
    [
        pytest.param(True, False, True, id="our file, and another group"),
        pytest.param(True, True, False, id="our file, and our group"),
        pytest.param(False, False, False, id="root's file, given to us by a list of rights (systemd's credentials)"),
        pytest.param(False, True, False, id="root's file, given to us by our group (Kubernetes' fsGroup)"),
    ],
)
def test_a_file_that_a_group_may_read_is_exposed_if_the_group_is_none_of_ours(
    file: Path, monkeypatch: pytest.MonkeyPatch, owner_is_worker: bool, group_is_workers: bool, is_exposed: bool
):
    file.chmod(0o440)
    found = file.stat()
    monkeypatch.setattr(os, "geteuid", lambda: found.st_uid + (not owner_is_worker))
    monkeypatch.setattr(os, "getegid", lambda: found.st_gid + 1)
    monkeypatch.setattr(os, "getgroups", lambda: [found.st_gid + 2, found.st_gid + 3 * (not group_is_workers)])
    assert (exposure(file) is not None) == is_exposed


def test_a_file_on_a_read_only_mount_is_the_platforms_business(file: Path, monkeypatch: pytest.MonkeyPatch):
    """Secrets of Kubernetes and Docker are 0644 and 0444 by default, in a mount that one container alone sees."""
    file.chmod(0o444)
    assert exposure(file) is not None
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_flag=os.ST_RDONLY | os.ST_NOSUID))
    assert exposure(file) is None


def test_a_file_that_was_changed_or_replaced_is_another(file: Path):
    before = identity_of(file)
    assert identity_of(file) == before
    file.write_text("longer secret")
    changed = identity_of(file)
    other = file.with_name("other")
    other.write_text("longer secret")
    other.replace(file)
    assert len({before, changed, identity_of(file)}) == 3
