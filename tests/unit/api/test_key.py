"""A key file that others may read is reported, and one that is meant to be so is not."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from asset_worker.api.key import ApiKey, exposure

KEY = "tlk_4F2SECRET"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text(KEY)
    path.chmod(0o600)
    return path


def exposures(logs):
    return [log for log in logs if log["event"] == "api.key_exposed"]


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


def test_an_exposed_key_file_is_logged_once_and_again_when_it_was_replaced(file: Path):
    file.chmod(0o644)
    with capture_logs() as logs:
        key = ApiKey(value=None, file=file, on_read=lambda _: None)
        for text in (f"{KEY}2", f"{KEY}3"):
            file.write_text(text)
            key.reload(lambda: None)
        assert [(log["log_level"], log["path"]) for log in exposures(logs)] == [("warning", str(file))]
        for mode in (0o600, 0o664):
            file.chmod(mode)
            key.reload(lambda: None)
    assert [log["detail"].split("(")[1][:9] for log in exposures(logs)] == ["mode 0644", "mode 0664"]
    assert KEY not in repr(logs)


def test_a_key_file_of_the_workers_alone_is_not_logged(file: Path):
    with capture_logs() as logs:
        ApiKey(value=None, file=file, on_read=lambda _: None)
    assert logs == []
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_new_key_is_used_even_if_its_file_is_gone_before_its_rights_are_seen(
    file: Path, monkeypatch: pytest.MonkeyPatch
):
    key = ApiKey(value=None, file=file, on_read=lambda _: None)
    file.write_text(f"{KEY}2")

    def gone(_: Path) -> None:
        raise FileNotFoundError

    monkeypatch.setattr("asset_worker.api.key.exposure", gone)
    assert key.reload(lambda: None)
    assert key.value == f"{KEY}2"
