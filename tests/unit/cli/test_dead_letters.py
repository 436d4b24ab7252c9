"""The command `dead-letters`: what it shows, what it asks for, and how it ends."""

from __future__ import annotations

import errno
import os
from contextlib import closing

import msgspec
import pytest
from click.testing import CliRunner

from asset_worker.cli import asset_worker
from asset_worker.domain.deliveries import Condition
from asset_worker.queue.local.dead_letter_access import NoAnswerError
from asset_worker.queue.local.dead_letter_report import read_dead_letters
from asset_worker.queue.local.journal import FILE_NAME, Journal
from asset_worker.runtime.clock import SystemClock
from tests.unit.queue.outbox_model import event_of, wants_all

SINK, OTHER = "https://app.example/hooks#0a1b2c3d", "billing"
EVIL = "503 \x1b]52;c;eA==\x07 Service\nUnavailable \u202e"


@pytest.fixture
def state(tmp_path):
    """a.1 and b.1 are dead for one sink, a.1 for another; c.1 waits for its retry, and that sink is paused."""
    clock = SystemClock()
    now = clock.steady()
    with closing(Journal(tmp_path / FILE_NAME)) as journal, journal.transaction():
        journal.set_clock_mark(clock.mark())
        journal.add_events([event_of("a", 1), event_of("b", 1), event_of("c", 1)])
        for sink in (SINK, OTHER):
            journal.undelivered.claim(sink, 0, 9, examine=9, now=now, wants=wants_all)
            journal.advance(sink, 3, None, others=[SINK, OTHER])
        refused = [(SINK, 1, "503"), (OTHER, 1, "timeout"), (SINK, 2, EVIL)]
        for at, (sink, position, reason) in enumerate(refused, start=-60):
            journal.dead_letters.add(sink, position, attempts=10, first_at=now - 3600, now=now + at, reason=reason)
        for position in (1, 2, 3):
            journal.undelivered.delete(OTHER, position, now=now)
        for position in (1, 2):
            journal.undelivered.delete(SINK, position, now=now)
        journal.undelivered.change(SINK, 3, attempts=1, first_at=now, next_at=now + 7000, error="503")
        journal.set_condition(SINK, Condition("paused", now - 30, "410 Gone"))
    return tmp_path


def called(state, *arguments):
    result = CliRunner().invoke(asset_worker, ["dead-letters", *arguments, "--state-dir", str(state)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def objects(text):
    return [msgspec.json.decode(line) for line in text.splitlines()]


def test_list_has_a_line_for_each_the_latest_first_and_nothing_that_a_terminal_obeys(state):
    head, first, *others = called(state, "list").stdout.splitlines()
    assert head.split() == ["ID", "SINK", "ATTEMPTS", "FIRST", "LAST", "REASON"]
    assert [line.split()[:3] for line in [first, *others]] == [
        ["b.1", SINK, "10"],
        ["a.1", OTHER, "10"],
        ["a.1", SINK, "10"],
    ]
    assert first.endswith(r"503 \x1b]52;c;eA==\x07 Service\nUnavailable \u202e")


def test_list_shows_so_many_and_says_that_there_are_more(state):
    result = called(state, "list", "--limit", "1")
    assert (len(result.stdout.splitlines()), result.stderr) == (2, "the latest 1 of 3: --limit shows more\n")
    assert len(called(state, "list", "--sink", OTHER).stdout.splitlines()) == 2


def test_list_as_json_has_all_fields_of_each(state):
    found = objects(called(state, "list", "--json").stdout)
    assert [(each["id"], each["asset_id"]) for each in found] == [("b.1", "b"), ("a.1", "a"), ("a.1", "a")]
    assert found[0].keys() == {"id", "sink", "asset_id", "attempts", "first_at", "last_at", "reason"}
    assert (found[0]["sink"], found[0]["attempts"], found[0]["reason"]) == (SINK, 10, EVIL)
    assert all(each["first_at"].endswith("Z") and each["first_at"] < each["last_at"] for each in found)
    assert [each["id"] for each in objects(called(state, "list", "--json", "--limit", "1").stdout)] == ["b.1"]


def test_a_reader_that_goes_away_is_not_taken_for_an_unreadable_journal(state):
    def show(_):
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        read_dead_letters(state, show, clock=SystemClock())


def test_list_of_none_says_so(tmp_path):
    Journal(tmp_path / FILE_NAME).close()
    result = called(tmp_path, "list")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", f"there are no dead letters in {tmp_path}\n")
    assert called(tmp_path, "list", "--json").output == ""


def test_show_has_the_event_for_each_sink(state):
    found = objects(called(state, "show", "a.1", "--json").stdout)
    assert [(each["sink"], each["event"]["id"]) for each in found] == [(OTHER, "a.1"), (SINK, "a.1")]
    text = called(state, "show", "a.1", "--sink", OTHER).stdout
    assert text.startswith("id        a.1\nsink      billing\nasset     a\nattempts  10\n")
    assert '"subject":"a"' in text


def test_show_of_a_damaged_event_shows_what_there_is(state):
    with closing(Journal(state / FILE_NAME)) as journal, journal.transaction():
        journal._execute("UPDATE dead_letters SET body = ?, last_at = 9e300 WHERE id = 'b.1'", (b'{"\x1b\xff',))
    [found] = objects(called(state, "show", "b.1", "--json").stdout)
    assert (found["event"], found["last_at"]) == ('{"\x1b\ufffd', None)
    assert "\\x1b" in called(state, "show", "b.1").stdout
    assert called(state, "list").exit_code == 0


def test_retry_and_drop_say_what_they_did(state):
    result = called(state, "retry", "a.1")
    assert (result.exit_code, sorted(result.stdout.splitlines())) == (
        0, [f"1 to be sent again to {OTHER}", f"1 to be sent again to {SINK}"]
    )  # fmt: skip
    assert objects(called(state, "drop", "--all", "--json").stdout) == [{"counts": {SINK: 1}, "left": {}}]
    result = called(state, "drop", "--all")
    assert (result.exit_code, result.stdout) == (0, f"there are no such dead letters in {state}\n")
    assert "the sink is resumed if it was paused" in called(state, "retry", "--sink", SINK).stdout


def test_dead_letters_that_can_not_be_sent_again_are_left_and_named(state):
    with closing(Journal(state / FILE_NAME)) as journal, journal.transaction():
        journal._execute("UPDATE dead_letters SET attempts = NULL WHERE sink = ?", (OTHER,))
    result = called(state, "retry", "--all")
    assert (result.exit_code, result.stdout) == (0, f"2 to be sent again to {SINK}\n")
    assert result.stderr == f"1 left as they are: {OTHER} is not a webhook in events.sinks\n"
    result = called(state, "retry", "--all")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"1 left as they are: {OTHER} is not a webhook in events.sinks\n"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["retry", "x.1"], 1, "no dead letter has the ID x.1: nothing was done"),
        (["show", "x.1"], 1, "has the ID x.1: see `asset-worker dead-letters list`"),
        (["show", "b.1", "--sink", OTHER], 1, f"no dead letter of the sink {OTHER} in /"),
        (["drop", "--sink", "x"], 1, "there is no sink x: the sinks are"),
        (["retry"], 2, "name IDs, --sink or --all"),
        (["drop", "--all", "a.1"], 2, "--all goes with neither an ID nor --sink"),
        (["drop", "--all", "--sink", SINK], 2, "--all goes with neither an ID nor --sink"),
        (["retry", "\udcff"], 2, "it is not UTF-8 text"),
        (["list", "--sink", "\udcff"], 2, "it is not UTF-8 text"),
        (["list", "--limit", "0"], 2, "--limit"),
    ],
)
def test_what_can_not_be_done_ends_with_a_sentence(state, arguments, code, says):
    result = called(state, *arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert says in result.stderr
    assert len(objects(called(state, "list", "--json").stdout)) == 3


@pytest.mark.parametrize("command", [["list"], ["show", "a.1"], ["retry", "--all"], ["drop", "--all"]])
def test_a_directory_without_a_journal_is_refused_and_stays_as_it_is(tmp_path, command):
    result = called(tmp_path, *command)
    assert result.exit_code == 2
    assert "no worker has kept its state" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_no_answer_is_an_error_that_says_what_becomes_of_the_request(state, monkeypatch):
    def refuse(*_, **__):
        raise NoAnswerError("no answer within 30 seconds")

    monkeypatch.setattr("asset_worker.cli.dead_letter_stores.ask", refuse)
    result = called(state, "retry", "--all")
    assert (result.exit_code, result.stderr) == (1, "asset-worker: no answer within 30 seconds\n")


@pytest.mark.parametrize(
    ("problem", "code", "advice"),
    [(errno.ENOSPC, 75, "check the disk"), (errno.EACCES, 2, "as the user of the worker")],
)
def test_a_request_that_can_not_be_written_is_an_error_that_says_why(state, monkeypatch, problem, code, advice):
    def refuse(*_, **__):
        raise OSError(problem, os.strerror(problem))

    monkeypatch.setattr("asset_worker.cli.dead_letter_stores.ask", refuse)
    result = called(state, "retry", "--all")
    assert result.exit_code == code
    assert f"({os.strerror(problem)}): " in result.stderr
    assert advice in result.stderr


@pytest.mark.parametrize(
    ("kind", "says"),
    [(None, "the next one in 1 h 56 min"), ("down", "all of them once a probe is accepted"), ("paused", "is resumed")],
)
def test_status_shows_when_events_are_tried_again_by_what_is_wrong_with_their_webhook(state, kind, says):
    """While it is down, the plan of each event says nothing: probes decide."""
    with closing(Journal(state / FILE_NAME)) as journal, journal.transaction():
        journal.set_condition(SINK, None if kind is None else Condition(kind, 0, "503"))
    shown = CliRunner().invoke(asset_worker, ["status", "--state-dir", str(state)]).stdout
    [retries] = [line for line in shown.splitlines() if line.startswith("retries")]
    assert says in retries


def test_status_shows_what_webhooks_lack_and_what_is_wrong_with_them(state):
    shown = CliRunner().invoke(asset_worker, ["status", "--state-dir", str(state)]).stdout
    [retries] = [line for line in shown.splitlines() if line.startswith("retries")]
    assert retries == f"retries    1 of {SINK}, all of them once it is resumed"
    [problem] = [line for line in shown.splitlines() if line.startswith("problem")]
    assert problem.startswith(f"problem    {SINK} is paused since 20")
    assert problem.endswith(
        f"(410 Gone): restart, SIGHUP or `asset-worker dead-letters retry --state-dir {state} --sink '{SINK}'` "
        "resumes it [sink_paused]"
    )
    assert "\n           see docs/runbook.md#sink_paused\n" in shown
    assert f"dead letters  2 of {SINK}: see `asset-worker dead-letters list --state-dir {state}`" in shown
    assert f"\nstate      {state}\n" in shown
    report = msgspec.json.decode(
        CliRunner().invoke(asset_worker, ["status", "--state-dir", str(state), "--json"]).stdout
    )
    assert report["state_dir"] == str(state)
    assert report["outbox_depth"] == {SINK: 1, OTHER: 0}
    assert report["waiting_for_retry"][SINK]["count"] == 1
    assert report["waiting_for_retry"][SINK]["next_in"] == pytest.approx(7000, abs=60)
    assert (report["conditions"][SINK]["kind"], report["conditions"][SINK]["error"]) == ("paused", "410 Gone")
    assert (report["dead_letters"], report["dead_letters_by_sink"]) == (3, {SINK: 2, OTHER: 1})
    assert (report["outbox_count"], report["outbox_new"]) == (1, 0)


def test_status_of_the_default_directory_names_it_and_no_option(state, monkeypatch):
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(state))
    (state / "asset-worker").symlink_to(state)
    shown = CliRunner().invoke(asset_worker, ["status"]).stdout
    assert f"\nstate      {state}/asset-worker\n" in shown
    assert f"dead letters  2 of {SINK}: see `asset-worker dead-letters list`\n" in shown
