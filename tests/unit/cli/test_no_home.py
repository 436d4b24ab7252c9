"""Commands for a user without a home directory: no HOME, and a number that nobody knows, as in many containers."""

from __future__ import annotations

import os

import pytest
from click.testing import CliRunner

from asset_worker.cli import asset_worker, usage
from asset_worker.settings.loading import load
from asset_worker.settings.tree import NoStateDirectoryError

NOBODY = 54321


@pytest.fixture(autouse=True)
def no_home(monkeypatch, tmp_path_factory):
    tmp_path_factory.getbasetemp()  # created for the real user
    for name in ("HOME", "XDG_STATE_HOME", "STATE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TWELVE_LABS_API_KEY", "tlk_0123456789")
    monkeypatch.setattr(os, "getuid", lambda: NOBODY)
    monkeypatch.setattr(usage, "UNIT_STATE", tmp_path_factory.getbasetemp() / "no-such-unit")


@pytest.mark.parametrize(
    ("command", "arguments"),
    [("run", ["--stdin"]), ("status", []), ("schedule", [])],
    ids=["run", "status", "schedule"],
)
def test_a_command_that_keeps_state_asks_for_a_directory(command, arguments):
    result = CliRunner().invoke(asset_worker, [command, *arguments])
    assert result.exit_code == 2
    assert result.stderr.startswith("asset-worker: there is no state directory: HOME is not set")
    assert "--state-dir or STATE_DIRECTORY" in result.stderr


def test_a_directory_that_is_named_is_used(tmp_path):
    result = CliRunner().invoke(asset_worker, ["schedule", "--state-dir", str(tmp_path)])
    assert (result.exit_code, result.stderr) == (0, "")
    settings = load(config=None, environ={"STATE_DIRECTORY": str(tmp_path)}, overrides={})
    assert settings.state.directory == tmp_path


def test_the_settings_are_shown_without_one():
    result = CliRunner().invoke(asset_worker, ["config"])
    assert result.exit_code == 0
    assert "[state]\n# dir is not set\n" in result.stdout


def test_a_relative_home_is_none(monkeypatch):
    """A directory in the current one, which may be any, would be another state at each start."""
    for name in ("HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, "relative")
    with pytest.raises(NoStateDirectoryError):
        _ = load(config=None, environ={}, overrides={}).state.directory


@pytest.mark.parametrize("option", ["--queue-file", "--events"])
def test_a_path_in_the_home_directory_is_refused_in_a_sentence(option, tmp_path):
    result = CliRunner().invoke(asset_worker, ["run", "--stdin", option, "~/x", "--state-dir", str(tmp_path / "state")])
    assert result.exit_code == 2
    assert "write it from / on" in result.stderr
