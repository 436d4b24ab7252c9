"""Commands that read files, and say in a sentence why they can't."""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from asset_worker.cli import asset_worker, usage
from asset_worker.cli.demo import demo, describe_webhooks
from asset_worker.cli.run import run
from asset_worker.cli.schedule import schedule
from asset_worker.cli.simulate import skew
from asset_worker.cli.status import status
from asset_worker.cli.submit import submit
from asset_worker.cli.wait import wait
from asset_worker.domain.assets import AssetId, Outcome
from asset_worker.domain.events import Event
from asset_worker.domain.progress import LastSeen, Progress
from asset_worker.domain.submissions import Submission
from asset_worker.queue.local.journal import FILE_NAME, Journal
from asset_worker.settings.tree import Settings
from asset_worker.simulator.deliveries import Deliveries, Delivery

TOO_LONG = "x" * 300
"""A name that no file can have. Like a directory without permission, but for root, too."""


def invoked(command, *arguments: str | Path) -> Result:
    result = CliRunner().invoke(asset_worker, [command.name, *(str(argument) for argument in arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (run, ["--queue-file", f"{TOO_LONG}/q"]),
        (run, ["--queue-file", f"{TOO_LONG}/q", "--once"]),
        (status, ["--state-dir", TOO_LONG]),
        (schedule, ["--state-dir", TOO_LONG]),
        (submit, ["a1", "--queue-file", f"{TOO_LONG}/q"]),
    ],
    ids=lambda value: value.name if hasattr(value, "name") else "",
)
def test_a_path_that_can_not_be_accessed_is_reported_in_a_sentence(command, arguments):
    result = invoked(command, *arguments)
    assert (result.exit_code, "File name too long" in result.stderr) == (2, True)
    assert result.stderr.startswith("asset-worker: ")


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
@pytest.mark.parametrize(("command", "flag"), [(run, "--queue-file"), (status, "--state-dir")], ids=["run", "status"])
def test_a_directory_without_permission_is_reported_in_a_sentence(command, flag, error, monkeypatch):
    def refuse(*_args, **_options):
        raise error

    monkeypatch.setattr(Path, "stat", refuse)
    result = invoked(command, flag, "/closed/x")
    assert (result.exit_code, error.strerror in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("command", "flag"),
    [
        (run, "--queue-file"),
        (run, "--state-dir"),
        (run, "--config"),
        (run, "--events"),
        (status, "--state-dir"),
        (schedule, "--config"),
        (submit, "--queue-file"),
    ],
)
def test_a_path_that_a_script_left_empty_is_refused(command, flag, tmp_path, monkeypatch):
    """An unset shell variable must not mean the current directory."""
    monkeypatch.chdir(tmp_path)
    arguments = ["a1"] if command is submit else []
    result = invoked(command, *arguments, flag, "")
    assert result.exit_code == 2
    assert flag in result.stderr
    assert "name a" in result.stderr
    assert not list(tmp_path.iterdir())


def test_submit_expands_a_home_directory_as_run_does(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert invoked(submit, "a1", "--queue-file=~/q").exit_code == 0
    assert (tmp_path / "q").read_text() == "a1\n"


def test_submit_writes_to_no_file_that_run_would_refuse(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in ("q\udcff", "~nobody-here/q"):
        assert invoked(submit, "a1", "--queue-file", path).exit_code == 2
    assert not list(tmp_path.iterdir())


def event(number: int) -> Event:
    return Event(f"a{number}.1", Outcome.READY, b"{}")


def test_status_counts_events_for_a_sink_that_has_never_had_one(tmp_path):
    """The journal doesn't know its name yet."""
    with closing(Journal(tmp_path / FILE_NAME)) as journal, journal.transaction():
        journal.add_events([event(number) for number in range(6)])
    assert "outbox     6 to send to a sink that has had none yet" in invoked(status, "--state-dir", tmp_path).stdout
    report = msgspec.json.decode(invoked(status, "--state-dir", tmp_path, "--json").stdout)
    assert (report["outbox_count"], report["outbox_depth"]) == (6, {})


def test_status_shows_how_far_each_sink_is_behind(tmp_path):
    with closing(Journal(tmp_path / FILE_NAME)) as journal, journal.transaction():
        journal.add_events([event(number) for number in range(6)])
        journal.advance("stdout", 2, None, others=())
        journal.advance("file:/e", 6, None, others=["stdout"])
    lines = invoked(status, "--state-dir", tmp_path).stdout.splitlines()
    assert [line for line in lines if line.startswith("outbox")] == [
        "outbox     0 to send to file:/e",
        "outbox     4 to send to stdout",
    ]


EVIL = "file:/e\x1b]52;c;eA==\x07\n\x9b\u202e\x7f"


def test_status_shows_nothing_that_a_terminal_obeys(tmp_path):
    asset_id = AssetId("6298d673f1090f1100476d4c")
    with closing(Journal(tmp_path / FILE_NAME)) as journal, journal.transaction():
        journal.accept([Submission(asset_id, EVIL, 7)], at=1.0, window_start=0.0)
        journal.save_progress({asset_id: Progress(polls=1, last_seen=LastSeen(EVIL), waiting_on=(EVIL,))})
        journal.add_events([event(0)])
        journal.advance(EVIL, 0, None, others=())
    shown = r"file:/e\x1b]52;c;eA==\x07\n\x9b\u202e\x7f"
    lines = invoked(status, "--state-dir", tmp_path).stdout.splitlines()
    assert all(line.isprintable() for line in lines)
    assert [line for line in lines if f"{shown}  1 look  {shown}:7" in line]
    assert f"outbox     1 to send to {shown}" in lines
    output = invoked(status, "--state-dir", tmp_path, "--json").stdout
    assert output[:-1].isprintable()
    [pending] = msgspec.json.decode(output)["pending"]
    assert (pending["status"], pending["source"]) == (EVIL, f"{EVIL}:7")


@pytest.mark.parametrize(
    "arguments",
    [
        ["submit", "a1", "--queue-file", f"{EVIL}/q"],
        ["status", "--state-dir", EVIL],
        ["run", "--config", EVIL],
        ["wait", EVIL],
        ["simulate", "--fault", EVIL],
        [EVIL],
        ["run", "--admin-port", EVIL],
        ["run", "--log-level", EVIL],
    ],
    ids=ascii,
)
def test_an_error_repeats_an_argument_on_one_line_and_nothing_that_a_terminal_obeys(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(asset_worker, arguments)
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert all(line.isprintable() for line in lines)
    assert lines[-1].startswith(("asset-worker: ", "Error: "))
    assert r"eA==\x07\n\x9b\u202e\x7f" in lines[-1]


def test_status_refuses_a_limit_that_sqlite_can_not_count(tmp_path):
    result = invoked(status, "--state-dir", tmp_path, "--limit", "99999999999999999999")
    assert (result.exit_code, "--limit" in result.stderr) == (2, True)


def test_the_demo_says_what_to_do_without_a_temporary_directory(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", list)
    result = invoked(demo)
    assert (result.exit_code, "TMPDIR" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("received", "bad_signatures", "is_good", "says"),
    [
        (["a.1", "b.1"], 0, True, "2 of 2 events delivered in 2 attempts (failed: none), each signed, none twice"),
        (
            ["a.1", "b.1", "a.1"],
            0,
            True,
            "2 of 2 events delivered in 3 attempts (failed: none), each signed, 1 came again",
        ),
        (["a.1"], 0, False, "1 of 2 events"),
        (["a.1", "b.1"], 1, False, "NOT each signed"),
        (["a.1", "b.1", "c.1"], 0, False, "2 of 2 events"),
    ],
)
def test_the_demo_fails_unless_each_event_was_received_and_signed(capsys, received, bad_signatures, is_good, says):
    deliveries = Deliveries()
    for each in received:
        deliveries.requests += 1
        deliveries.accept(Delivery(each, "x.ready", None, None, "binary"), at=0)
    deliveries.bad_signatures = bad_signatures
    assert describe_webhooks(deliveries, {"a.1", "b.1"}) == is_good
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("timeout", ["0", "-1", "nan", "inf", "soon", "1m30"])
def test_a_timeout_that_is_no_duration_is_refused(timeout: str):
    result = invoked(wait, "a1", "--timeout", timeout)
    assert result.exit_code == 2
    assert "Invalid value for '--timeout'" in result.stderr


@pytest.mark.parametrize(("timeout", "seconds"), [("90", 90.0), ("0.5", 0.5), ("1h30m", 5400.0)])
def test_a_timeout_may_have_units(timeout: str, seconds: float, monkeypatch: pytest.MonkeyPatch):
    asked: list[float] = []

    def run_service(settings: Settings, *_: object, **__: object) -> int:
        asked.append(settings.poll.deadline)
        return 0

    monkeypatch.setattr("asset_worker.cli.wait.run_service", run_service)
    assert invoked(wait, "a1", "--timeout", timeout).exit_code == 0
    assert asked == [seconds]


def test_a_grace_may_be_zero_and_a_timeout_may_not(monkeypatch: pytest.MonkeyPatch):
    asked: list[float] = []

    def run_service(settings: Settings, *_: object, **__: object) -> int:
        asked.append(settings.poll.not_found_grace)
        return 0

    monkeypatch.setattr("asset_worker.cli.wait.run_service", run_service)
    assert invoked(wait, "a1", "--not-found-grace", "0").exit_code == 0
    assert asked == [0.0]
    assert "0 seconds or more" in invoked(wait, "a1", "--not-found-grace", "-1").stderr
    assert "more than 0 seconds" in invoked(wait, "a1", "--timeout", "0").stderr


def test_without_a_key_the_variable_that_probably_holds_it_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("TWELVE_LABS_API_KEY", raising=False)
    assert invoked(wait, "a1").stderr == (
        "asset-worker: there is no API key: set TWELVE_LABS_API_KEY, or api.key_file to a file that holds it\n"
    )
    monkeypatch.setenv("TWELVELABS_API_KEY", "tlk_0123456789abcdef")
    result = invoked(wait, "a1")
    assert result.exit_code == 2
    assert result.stderr.endswith(
        "(TWELVELABS_API_KEY is set, but it is not read: did you mean TWELVE_LABS_API_KEY?)\n"
    )


def test_the_state_of_the_systemd_unit_is_found_where_no_other_is_named_or_kept(monkeypatch, tmp_path):
    own, unit, named = tmp_path / "own", tmp_path / "unit", tmp_path / "named"
    monkeypatch.setenv("XDG_STATE_HOME", str(own))
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setattr(usage, "UNIT_STATE", unit)
    assert f"{own}/asset-worker:" in invoked(status).stderr, "there is no unit"
    unit.mkdir()
    notice = f"asset-worker: this is about the worker that keeps its state in {unit}\n"
    assert invoked(status).stderr.startswith(f"{notice}asset-worker: no worker has kept its state in {unit}:")
    assert f"{named}:" in invoked(status, "--state-dir", named).stderr
    (own / "asset-worker").mkdir(parents=True)
    assert f"{own}/asset-worker:" in invoked(status).stderr, "this user has run a worker"


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("-90", -90), ("1h30m", 5400), ("-1h", -3600), ("0", 0), ("-0.5", -0.5)]
)
def test_the_clock_of_the_simulator_is_ahead_or_behind_by_a_duration(text: str, seconds: float):
    assert skew(text) == seconds


@pytest.mark.parametrize("text", ["", "-", "--1", "1 h", "nan", "inf", "-inf", "2e8", "-5000d"])
def test_a_skew_that_is_no_duration_is_refused(text: str):
    with pytest.raises(ValueError, match="it must be "):
        skew(text)


def test_wait_makes_one_event_of_each_asset_whatever_the_settings_of_a_service_are(monkeypatch: pytest.MonkeyPatch):
    found: list[bool] = []

    def run_service(settings: Settings, *_: object, **__: object) -> int:
        found.append(settings.events.transitions)
        return 0

    monkeypatch.setattr("asset_worker.cli.wait.run_service", run_service)
    monkeypatch.setenv("ASSET_WORKER_EVENTS__TRANSITIONS", "true")
    assert invoked(wait, "a1").exit_code == 0
    assert found == [False]
