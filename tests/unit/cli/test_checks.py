"""`config --check` finds what can't be used, and leaves nothing behind."""

from __future__ import annotations

import os

import pytest
from click.testing import CliRunner

from asset_worker.cli import asset_worker


@pytest.fixture
def checked(tmp_path, monkeypatch):
    """Checks settings in an empty directory; returns the exit code and what it says."""
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").write_text("a1\n")
    monkeypatch.chdir(tmp_path)

    def check(**settings):
        before = sorted(tmp_path.rglob("*"))
        environ = {"STATE_DIRECTORY": "state"} | {f"ASSET_WORKER_{name}": value for name, value in settings.items()}
        result = CliRunner().invoke(asset_worker, ["config", "--check"], env=environ)
        assert sorted(tmp_path.rglob("*")) == before
        return result.exit_code, result.stderr

    return check


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"EVENTS__SINKS": "directory"}, "directory is a directory"),
        ({"EVENTS__SINKS": "-,none/events"}, "none does not exist: create it"),
        ({"EVENTS__SINKS": "file/events"}, "Not a directory"),
        ({"QUEUE__FILE": "none/queue"}, "none does not exist: create it"),
        ({"QUEUE__FILE": "file/queue"}, "Not a directory"),
        ({"QUEUE__FILE": "directory"}, "not a regular file"),
        ({"STATE__DIR": "file"}, "file is a file"),
        ({"STATE__DIR": "file/state/of/it"}, "file is a file"),
    ],
    ids=lambda value: " ".join(value.values()) if isinstance(value, dict) else "",
)
def test_what_cannot_be_used_is_found(checked, settings, says):
    code, text = checked(**settings)
    assert (code, says in text) == (2, True), text
    assert text.startswith("asset-worker: ")


def test_all_problems_are_listed_at_once(checked):
    _, text = checked(EVENTS__SINKS="directory,none/events", QUEUE__FILE="none/queue", STATE__DIR="file")
    assert len(text.splitlines()) == 4


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"EVENTS__SINKS": "-,file,new,/dev/null", "QUEUE__FILE": "queue", "STATE__DIR": "several/levels/down"},
        {"QUEUE__FILE": "file", "STATE__DIR": "directory"},
    ],
)
def test_what_exists_or_can_be_created_is_good(checked, settings):
    assert checked(**settings) == (0, "the settings are good\n")


@pytest.mark.parametrize(("mode", "warns"), [(0o644, True), (0o600, False), (None, False)])
def test_a_key_file_that_others_may_read_is_good_with_a_warning(checked, tmp_path, mode, warns):
    """It works. A file that is not there yet is awaited."""
    if mode is not None:
        (tmp_path / "key").write_text("tlk_4F2SECRET")
        (tmp_path / "key").chmod(mode)
    code, text = checked(API__KEY_FILE=str(tmp_path / "key"))
    assert code == 0
    *warnings, last = text.splitlines()
    assert last == "the settings are good"
    assert bool(warnings) == warns
    assert all(line.startswith(f"asset-worker: warning: the key file {tmp_path}/key") for line in warnings)
    assert "SECRET" not in text


def make_shared(directory):
    directory.chmod(0o777)


def link_lock(directory):
    (directory / "lock").symlink_to("missing")


def link_journal(directory):
    (directory / "journal.sqlite3").symlink_to("missing")


def put_pipe(directory):
    os.mkfifo(directory / "journal.sqlite3-journal")


@pytest.mark.parametrize(
    ("prepare", "says"),
    [
        (make_shared, "everybody may write to the state directory"),
        (link_lock, "the file lock in it is a symbolic link"),
        (link_journal, "journal.sqlite3 is a symbolic link"),
        (put_pipe, "journal.sqlite3-journal is a named pipe"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_state_directory_that_the_worker_would_refuse_is_found(checked, tmp_path, prepare, says):
    prepare(tmp_path / "directory")
    code, text = checked(STATE__DIR="directory")
    assert (code, says in text) == (2, True), text
    assert len(text.splitlines()) == 1


def test_a_state_directory_of_another_user_is_found(checked, tmp_path, monkeypatch):
    owner = (tmp_path / "directory").stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    if not owner:
        assert checked(STATE__DIR="directory")[0] == 0
        os.chown(tmp_path / "directory", owner := 1000, -1)
    code, text = checked(STATE__DIR="directory")
    assert (code, f"belongs to user {owner}" in text) == (2, True), text


def test_a_run_into_a_directory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("TWELVE_LABS_API_KEY", "tlk_0123456789")
    result = CliRunner().invoke(
        asset_worker, ["run", "--stdin", "--events", str(tmp_path), "--state-dir", str(tmp_path / "state")]
    )
    assert result.exit_code == 2
    assert f"{tmp_path} is a directory: name a file in it" in result.stderr


def test_a_starter_file_is_printed_without_a_question_and_passes_the_check(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(asset_worker, ["config", "--init"], env={"ASSET_WORKER_POLL__MAXX": "1"})
    assert (result.exit_code, result.stderr) == (0, "")
    (tmp_path / "worker.toml").write_text(result.stdout)
    check = ["config", "--check", "--config", "worker.toml"]
    assert CliRunner().invoke(asset_worker, check, env={"STATE_DIRECTORY": "state"}).exit_code == 0


def test_what_config_prints_is_one_thing():
    result = CliRunner().invoke(asset_worker, ["config", "--init", "--schema"])
    assert (result.exit_code, "exclude one another" in result.stderr) == (2, True)
