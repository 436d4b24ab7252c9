"""A key file that others may read is reported, and one that is meant to be so is not."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from asset_worker.api.key import ApiKey

KEY = "tlk_4F2SECRET"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text(KEY)
    path.chmod(0o600)
    return path


def exposures(logs):
    return [log for log in logs if log["event"] == "api.key_exposed"]


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
