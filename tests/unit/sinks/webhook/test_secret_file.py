"""Files that may change while the worker runs."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from asset_worker.runtime.watched_file import CHECK_SECONDS, LARGEST_BYTES, WatchedFile
from asset_worker.sinks.ports import TargetNotReadyError, UnusableTargetError
from asset_worker.sinks.webhook.secret_file import read, watch
from asset_worker.sinks.webhook.signing import parse_secrets

ONE, OTHER = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "secrets"
    path.write_text(ONE)
    path.chmod(0o600)
    return path


def watched(file: Path, seen: list[str] | None = None) -> WatchedFile[str]:
    return watch(file, one_secret, sink="hooks", on_read=(seen if seen is not None else []).append)


def one_secret(text: str) -> str:
    return parse_secrets(text)[0].text


def events(logs) -> list[tuple[str, str]]:
    return [(log["log_level"], log["event"]) for log in logs]


def test_a_change_is_seen_within_a_second_and_no_sooner(file: Path):
    seen: list[str] = []
    found = watched(file, seen)
    with capture_logs() as logs:
        assert found.current(0) == ONE
        file.write_text(OTHER)
        assert found.current(CHECK_SECONDS / 2) == ONE
        assert found.current(CHECK_SECONDS) == OTHER
    assert seen == [ONE, OTHER]
    assert events(logs) == [("info", "sink.file_changed")]
    assert (logs[0]["sink"], logs[0]["path"]) == ("hooks", str(file))
    assert "whsec" not in repr(logs)


def test_a_file_that_is_replaced_by_another_of_the_same_size_and_time_is_seen(file: Path):
    found, before = watched(file), file.stat()
    other = file.with_name("other")
    other.write_text(OTHER)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(file)
    assert found.current(0) == OTHER


def test_an_unchanged_file_is_not_read_again(file: Path, monkeypatch: pytest.MonkeyPatch):
    found = watched(file)
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("it was read"))
    for second in range(10):
        assert found.current(second) == ONE


@pytest.mark.parametrize("damage", ["missing", "empty", "bad", "not UTF-8", "large", "a pipe"])
def test_what_was_read_last_stays_in_use_and_is_reported_once(file: Path, damage: str):
    found = watched(file)
    match damage:
        case "missing":
            file.unlink()
        case "empty":
            file.write_text(" \n")
        case "bad":
            file.write_text("S3CRET")
        case "not UTF-8":
            file.write_bytes(b"whsec_\xff")
        case "large":
            file.write_bytes(b"#" * (LARGEST_BYTES + 1))
        case "a pipe":
            file.unlink()
            os.mkfifo(file)
    with capture_logs() as logs:
        for second in range(5):
            assert found.current(second) == ONE
    assert events(logs) == [("warning", "sink.file_unreadable")]
    assert "S3CRET" not in repr(logs)
    with capture_logs() as logs:
        found.reload()
    assert events(logs) == [("warning", "sink.file_unreadable")]
    file.unlink(missing_ok=True)
    file.write_text(OTHER)
    file.chmod(0o600)
    with capture_logs() as logs:
        assert found.current(100) == OTHER
    assert events(logs) == [("info", "sink.file_changed")]


def test_a_reload_reads_at_once(file: Path):
    found = watched(file)
    found.current(0)
    file.write_text(OTHER)
    found.reload()
    assert found.current(0) == OTHER


@pytest.mark.parametrize(
    ("prepare", "kind"),
    [
        pytest.param(Path.unlink, TargetNotReadyError, id="missing"),
        pytest.param(lambda path: path.write_text("\n"), TargetNotReadyError, id="empty"),
        pytest.param(lambda path: path.write_text("S3CRET"), UnusableTargetError, id="bad"),
        pytest.param(lambda path: (path.unlink(), path.mkdir()), UnusableTargetError, id="a directory"),
    ],
)
def test_at_the_start_only_a_file_that_may_come_is_awaited(file: Path, prepare, kind: type):
    prepare(file)
    with pytest.raises(UnusableTargetError, match=str(file)) as refused:
        watched(file)
    assert type(refused.value) is kind
    assert "S3CRET" not in str(refused.value)


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.EIO, TargetNotReadyError), (errno.EACCES, UnusableTargetError)], ids=["disk", "rights"]
)
def test_an_error_of_the_disk_may_pass_and_missing_rights_do_not(
    file: Path, number: int, kind: type, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(UnusableTargetError, match=os.strerror(number)) as refused:
        read(file, one_secret)
    assert type(refused.value) is kind


def test_a_file_that_others_may_read_is_used_and_reported(file: Path):
    file.chmod(0o644)
    with capture_logs() as logs:
        assert watched(file).current(0) == ONE
    assert events(logs) == [("warning", "sink.file_exposed")]
    assert "mode 0644" in logs[0]["detail"]


def test_an_exposed_file_is_reported_again_only_when_something_else_is_wrong_with_it(file: Path):
    """It may be read again often."""
    file.chmod(0o644)
    with capture_logs() as logs:
        found = watched(file)
        found.reload()
        file.chmod(0o664)
        found.reload()
    assert events(logs) == [("warning", "sink.file_exposed")] * 2
    assert ["0644" in log["detail"] for log in logs] == [True, False]
