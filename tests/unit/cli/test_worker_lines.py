"""What people are shown of the worker's report on itself."""

from __future__ import annotations

import os
import subprocess

import pytest

from asset_worker.cli import systemd
from asset_worker.cli.systemd import unit_state
from asset_worker.cli.watching import fitted
from asset_worker.cli.worker_lines import worker_lines
from asset_worker.domain.worker_report import InputReport, ProblemReport, QuotaReport, WorkerReport

SINCE = "2026-11-27T12:00:00.000Z"
LATER = "2026-11-27T13:00:00.000Z"
HANGS = "it hangs, or can't write to its state directory"
DIED = "without stopping in order (kill -9, no memory, a power failure); the next start continues its work"


@pytest.mark.parametrize(
    ("worker", "line"),
    [
        (None, "worker     not running"),
        (
            WorkerReport("running", 7, version="1.2", started_at=SINCE, updated_ago=3.0),
            f"worker     running (pid 7, asset-worker 1.2, since {SINCE})",
        ),
        (
            WorkerReport("running", 7, version="1.2", started_at=SINCE, updated_ago=95.0),
            f"worker     running (pid 7, asset-worker 1.2, since {SINCE}); its last report is 95 s old: {HANGS}",
        ),
        (
            WorkerReport("running", 7),
            "worker     running (pid 7); it has written no report that this version can read",
        ),
        (
            WorkerReport("stopped", 7, version="1.2", stopped_at=LATER, stop_reason="SIGTERM"),
            f"worker     not running (stopped in order at {LATER}: SIGTERM)",
        ),
        (
            WorkerReport("died", 7, version="1.2", updated_at=LATER, problems=[ProblemReport("x")]),
            f"worker     not running: it ended at about {LATER} {DIED}",
        ),
    ],
)
def test_the_first_line_says_whether_it_runs(worker, line):
    assert worker_lines(worker, None) == [line]


def test_its_problems_inputs_and_quotas_follow():
    worker = WorkerReport(
        "running",
        7,
        version="1.2",
        unit="w.service",
        started_at=SINCE,
        problems=[
            ProblemReport(
                "the API refuses the key", SINCE, "status 401", LATER, "key_refused", "docs/runbook.md#key_refused"
            ),
            ProblemReport("the queue file can't be read (gone)", last_error="gone"),
        ],
        intakes={"queue file": InputReport(1000, 24), "standard input": InputReport()},
        quotas=[QuotaReport("minute", 60, 12, 29.6)],
    )
    assert worker_lines(worker, "active (running)")[1:] == [
        "unit       w.service is active (running)",
        f"problem    the API refuses the key, since {SINCE} (status 401); next try at {LATER} [key_refused]",
        "           see docs/runbook.md#key_refused",
        "problem    the queue file can't be read (gone)",
        "input      queue file: 24 bytes left to read",
        "quota      minute: 12 of 60 requests left, for 30 s",
    ]


@pytest.mark.parametrize(
    ("state", "ago", "is_silent"),
    [("running", 61, True), ("running", 60, False), ("running", None, False), ("died", 99, False)],
)
def test_a_worker_that_does_not_report_any_more_is_noticed(state, ago, is_silent):
    assert WorkerReport(state, 7, updated_ago=ago).is_silent == is_silent


def test_a_report_is_cut_to_the_screen():
    text = "".join(f"line {number} {'x' * 20}\n" for number in range(10))
    assert fitted(text, columns=14, rows=4) == ["line 0 xxxxxx…", "line 1 xxxxxx…", "… 8 more lines"]
    assert fitted("a\nb\n", columns=12, rows=4) == ["a", "b"]


@pytest.mark.parametrize(
    ("body", "state"),
    [
        (
            "echo LoadState=loaded; echo ActiveState=active; echo SubState=running; echo Result=success",
            "active (running)",
        ),
        (
            "echo LoadState=loaded; echo ActiveState=failed; echo SubState=failed; echo Result=exit-code",
            "failed (exit-code)",
        ),
        ("echo LoadState=not-found; echo ActiveState=inactive; echo SubState=dead", None),
        ("echo 'System has not been booted with systemd' >&2; exit 1", None),
        ("printf '\\377'", None),
        ("exec sleep 60", None),
    ],
)
def test_systemd_is_asked_for_the_unit_and_may_not_answer(tmp_path, monkeypatch, body, state):
    command = tmp_path / "systemctl"
    command.write_text(f"#!/bin/sh\n[ $1 = --system ] || exit 1\n{body}\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(systemd, "TIMEOUT_SECONDS", 0.3)
    assert unit_state("worker.service") == state


def test_a_unit_of_the_user_is_found(tmp_path, monkeypatch):
    command = tmp_path / "systemctl"
    command.write_text('#!/bin/sh\n[ "$1" = --user ] && echo ActiveState=active && echo "SubState=$5"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert unit_state("-x.service") == "active (-x.service)"


def test_without_systemd_nothing_is_known(monkeypatch):
    def run(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr(subprocess, "run", run)
    assert unit_state("worker.service") is None
