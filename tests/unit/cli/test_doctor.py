"""`doctor` as a command: all checks are made and shown, none is waited for without end, and nothing is left behind."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from asset_worker.cli import asset_worker, doctor, usage
from asset_worker.cli.checks import Problem
from asset_worker.domain.worker_report import WorkerReport
from asset_worker.queue.local.journal import FILE_NAME, Journal

KEY = "tlk_0123456789SECRET"
NAMES = ["settings", "queue_file", "state_directory", "disk", "worker", "sink", "key"]

Doctor = Callable[..., tuple[int, dict[str, dict[str, Any]]]]


@pytest.fixture
def examined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Doctor:
    """Runs `doctor --local --json` in an empty directory; returns the exit code, and the checks by name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TWELVE_LABS_API_KEY", raising=False)

    def run(*arguments: str, **settings: str) -> tuple[int, dict[str, dict[str, Any]]]:
        before = sorted(tmp_path.rglob("*"))
        environ = {"STATE_DIRECTORY": "state", "ASSET_WORKER_API__KEY": KEY}
        environ |= {f"ASSET_WORKER_{name}": value for name, value in settings.items()}
        result = CliRunner().invoke(asset_worker, ["doctor", "--local", "--json", *arguments], env=environ)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert sorted(tmp_path.rglob("*")) == before
        assert KEY not in result.output
        shown = json.loads(result.stdout)
        assert shown["exit_code"] == result.exit_code
        return result.exit_code, {check["name"]: check for check in shown["checks"]}

    return run


def test_all_is_well(examined: Doctor):
    code, checks = examined()
    assert (code, list(checks)) == (0, NAMES)
    assert {name: check["state"] for name, check in checks.items()} == dict.fromkeys(NAMES, "ok") | {
        "queue_file": "skipped",
        "worker": "skipped",
    }


@pytest.mark.parametrize(
    ("settings", "name", "says", "code"),
    [
        pytest.param({"POLL__MAXX": "1"}, "settings", "ASSET_WORKER_POLL__MAX?", 2, id="a misspelt setting"),
        pytest.param({"API__KEY": "two words"}, "key", "no API key has", 2, id="a key that is none"),
        pytest.param({"API__KEY": "tlk_…"}, "key", "not ASCII", 2, id="the key of an example"),
        pytest.param({"API__KEY": ""}, "key", "set TWELVE_LABS_API_KEY", 2, id="no key"),
        pytest.param({"API__KEY_FILE": "absent/key"}, "key", "absent/key", 1, id="a key file that is not there yet"),
        pytest.param({"QUEUE__FILE": "none/queue"}, "queue_file", "create it", 1, id="no directory for the queue file"),
        pytest.param({"QUEUE__FILE": "."}, "queue_file", "--stdin", 2, id="a directory as the queue file"),
        pytest.param({"STATE__DIR": "file"}, "state_directory", "--state-dir", 2, id="a file as the state directory"),
        pytest.param({"EVENTS__SINKS": "none/events"}, "sink", "create it", 1, id="no directory for events"),
        pytest.param({"EVENTS__SINKS": "."}, "sink", "name a file in it", 2, id="a directory for events"),
        pytest.param({"ADMIN__TOKEN_FILE": "none"}, "token_file", "none", 1, id="no file of tokens yet"),
    ],
)
def test_a_problem_is_shown_with_what_to_do(
    examined: Doctor, tmp_path: Path, settings: dict[str, str], name: str, says: str, code: int
):
    (tmp_path / "file").touch()
    found, checks = examined(**settings)
    assert (found, checks[name]["state"]) == (code, "problem")
    assert says in f"{checks[name]['text']}: {checks[name]['fix']}"
    if name != "settings":
        assert set(NAMES) <= set(checks)


def test_a_state_directory_of_another_user_is_a_problem(
    examined: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "state").mkdir()
    os.chown(tmp_path / "state", 12345, -1) if os.geteuid() == 0 else monkeypatch.setattr(os, "geteuid", lambda: 12345)
    code, checks = examined()
    assert (code, checks["state_directory"]["state"]) == (2, "problem")
    assert "belongs to user" in checks["state_directory"]["text"]


def test_a_state_directory_that_its_worker_uses_may_be_that_of_another_user(
    examined: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """As when root looks at the worker of a service."""
    running = WorkerReport("running", 7)
    monkeypatch.setattr("asset_worker.cli.doctor_local.read_worker", lambda path: running)
    monkeypatch.setattr(
        "asset_worker.cli.doctor_local.state_problem",
        lambda state, **_: Problem("it belongs to user 9: run as 9", True),
    )
    code, checks = examined()
    assert (code, checks["state_directory"]["state"], checks["worker"]["state"]) == (0, "warning", "ok")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
@pytest.mark.parametrize("state", ["running", "stopped"])
def test_root_leaves_the_state_directory_of_a_services_user_to_it(
    examined: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: Any
):
    """So with `DynamicUser=yes`: a change of the owner would take the directory from a worker that is well."""
    (tmp_path / "state").mkdir(mode=0o700)
    Journal(tmp_path / "state" / FILE_NAME).close()
    for path in (tmp_path / "state", *(tmp_path / "state").iterdir()):
        os.chown(path, 61500, 61500)
    monkeypatch.setattr("asset_worker.cli.doctor_local.read_worker", lambda path: WorkerReport(state, 7))
    code, checks = examined()
    found = checks["state_directory"]
    assert (code, found["state"], found["fix"]) == (0, "ok", None)
    assert "by user 61500" in found["text"]
    (tmp_path / "state").chmod(0o777)
    assert "everybody may write" in examined()[1]["state_directory"]["text"]


def test_the_state_of_the_systemd_unit_is_examined_where_no_other_is_named_or_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(usage, "UNIT_STATE", unit := tmp_path / "unit")
    unit.mkdir(mode=0o700)
    environ = {"STATE_DIRECTORY": None, "XDG_STATE_HOME": str(tmp_path / "own"), "ASSET_WORKER_API__KEY": KEY}

    def subjects(*arguments: str) -> dict[str, str]:
        result = CliRunner().invoke(asset_worker, ["doctor", "--local", "--json", *arguments], env=environ)
        checks = json.loads(result.stdout)["checks"]
        return {check["name"]: check["subject"] for check in checks if check["name"] in {"state_directory", "disk"}}

    assert subjects() == dict.fromkeys(("state_directory", "disk"), str(unit))
    assert subjects("--state-dir", "other")["state_directory"] == "other"
    (own := tmp_path / "own" / "asset-worker").mkdir(parents=True, mode=0o700)
    assert subjects()["state_directory"] == str(own), "this user has run a worker"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: path.write_text("no database " * 100), "is damaged"),
        (lambda path: _execute(path, "PRAGMA user_version = 99"), "newer asset-worker"),
        (lambda path: _execute(path, "CREATE TABLE mine (x)"), "another program"),
    ],
    ids=["damaged", "newer", "foreign"],
)
def test_a_journal_that_the_worker_would_refuse_is_a_problem(
    examined: Doctor, tmp_path: Path, make: Callable[[Path], None], says: str
):
    (tmp_path / "state").mkdir(mode=0o700)
    make(tmp_path / "state" / FILE_NAME)
    code, checks = examined()
    assert (code, checks["state_directory"]["state"]) == (2, "problem")
    assert says in checks["state_directory"]["text"]


def test_the_journal_of_a_worker_is_no_problem(examined: Doctor, tmp_path: Path):
    (tmp_path / "state").mkdir(mode=0o700)
    Journal(tmp_path / "state" / FILE_NAME).close()
    code, checks = examined()
    assert (code, checks["state_directory"]["state"]) == (0, "ok")


def _execute(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()


def test_a_full_disk_is_a_problem(examined: Doctor, monkeypatch: pytest.MonkeyPatch):
    real = os.statvfs

    def full(path: Any) -> Any:
        found = list(real(path))
        found[4] = 1  # f_bavail
        return os.statvfs_result(found)

    monkeypatch.setattr(os, "statvfs", full)
    code, checks = examined()
    assert (code, checks["disk"]["state"]) == (1, "problem")


def test_a_secret_file_that_others_may_read_is_a_warning_and_no_problem(examined: Doctor, tmp_path: Path):
    (tmp_path / "key").write_text(KEY)
    (tmp_path / "key").chmod(0o644)
    code, checks = examined(API__KEY_FILE="./key")
    assert (code, checks["key"]["state"], "chmod 600" in checks["key"]["fix"]) == (0, "warning", True)


def test_a_check_that_hangs_or_fails_does_not_keep_the_others_from_being_seen(
    examined: Doctor, monkeypatch: pytest.MonkeyPatch
):
    hangs = threading.Event()

    def fail() -> list[Any]:
        raise ZeroDivisionError("by zero")

    parts = [("queue_file", lambda: hangs.wait(60) and []), ("disk", fail)]
    monkeypatch.setattr(doctor, "local_checks", lambda settings: parts)
    code, checks = examined()
    hangs.set()
    assert (code, list(checks)) == (1, ["settings", "queue_file", "disk", "sink", "key"])
    assert "hangs" in checks["queue_file"]["fix"]
    assert checks["disk"]["text"] == "this check failed unexpectedly (ZeroDivisionError)"
    assert checks["key"]["state"] == "ok"


def test_inputs_and_targets_may_be_named_as_for_run(examined: Doctor, tmp_path: Path):
    (tmp_path / "q").touch()
    code, checks = examined("--queue-file", "q", "--events", "e", "--state-dir", "other")
    assert (code, checks["queue_file"]["subject"], checks["sink"]["subject"]) == (0, "q", "e")
    assert checks["state_directory"]["subject"] == "other"


def test_lines_for_people_have_no_control_characters(tmp_path: Path):
    result = CliRunner().invoke(
        asset_worker,
        ["doctor", "--local", "--queue-file", "/\x1b]52;c;eA==\x07/q"],
        env={"STATE_DIRECTORY": str(tmp_path), "ASSET_WORKER_API__KEY": KEY},
    )
    assert all(line.isprintable() for line in result.stdout.split("\n"))
    assert result.stdout.startswith("ok       settings         the settings are good\n")
