"""How long the worker knows a request, whom it asks to retry, and what a command does beside one that ends."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing

import pytest
from structlog.testing import capture_logs

from asset_worker.queue.dead_letters import Answer, Request
from asset_worker.queue.local import dead_letter_access
from asset_worker.queue.local.dead_letter_access import ask
from asset_worker.queue.local.dead_letter_requests import carry_out
from asset_worker.queue.local.journal import APPLICATION_ID, FILE_NAME, Journal, JournalError
from asset_worker.queue.local.lock import StateDirectory, StateDirectoryInUseError
from asset_worker.queue.local.migrations import MIGRATIONS, SCHEMA_VERSION
from asset_worker.queue.local.request_files import RequestFiles
from asset_worker.queue.local.request_service import RequestService
from tests.doubles.clocks import ManualClock
from tests.unit.queue.outbox_model import event_of

A, B = "https://a.example/#1", "https://b.example/#2"
ID = "0123456789abcdef0123456789abcdef"
WEEK = 7 * 86_400


def add_dead(journal, sink):
    with journal.transaction():
        journal._execute(
            "INSERT INTO dead_letters (sink, position, id, body, reason) VALUES (?, 1, 'a.1', ?, 'why')",
            (sink, event_of("a", 1).body),
        )


@pytest.fixture
def journal(tmp_path):
    """Event 1 is dead for A."""
    with closing(Journal(tmp_path / FILE_NAME)) as journal:
        add_dead(journal, A)
        yield journal


class Outbox:
    """What the service tells the outbox."""

    def __init__(self):
        self.counted, self.asked = [], []

    def count_request(self, counts, *, is_retry):
        self.counted.append((counts, is_retry))

    def ask_for_retry(self, sink):
        self.asked.append(sink)


class InlineCommits:
    """Commits that are made at once."""

    def __init__(self, journal):
        self.journal = journal

    async def read(self, call):
        return call(self.journal)

    async def write(self, call, applied=lambda _: None):
        with self.journal.transaction():
            result = call(self.journal)
        applied(result)
        return result


@pytest.fixture
def outbox():
    return Outbox()


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def service(tmp_path, journal, outbox, clock):
    return RequestService(tmp_path, InlineCommits(journal), outbox, clock, receivers=[A, B])


@pytest.mark.parametrize(
    ("request_", "asked"),
    [
        (Request("retry", sink=A), [A]),
        (Request("retry", all=True), []),
        (Request("drop", sink=A), []),
        (Request("retry", sink="x"), []),
    ],
    ids=["a retry of a sink", "a retry of all", "a drop", "an error"],
)
async def test_a_sink_is_tried_at_once_only_if_a_retry_names_it(service, outbox, tmp_path, request_, asked):
    RequestFiles(tmp_path).write(ID, request_)
    await service.serve()
    assert outbox.asked == asked


async def test_a_request_that_a_power_cut_brings_back_is_not_done_again_within_a_week(
    service, outbox, journal, clock, tmp_path
):
    files, request = RequestFiles(tmp_path), Request("drop", sink=A)
    for after, count in ((0, 1), (WEEK, 1), (1, 2)):
        clock.move(after)
        await service.clean()
        files.write(ID, request)
        await service.serve()
        assert len(outbox.counted) == count
        add_dead(journal, A) if journal.dead_letters.sinks() == set() else None


async def test_what_commands_have_left_is_deleted_and_a_directory_that_prevents_it_logged(service, tmp_path):
    requests = tmp_path / "requests"
    requests.mkdir(0o700)
    (requests / "left.draft").touch()
    (requests / "left.draft").chmod(0o600)
    os.utime(requests / "left.draft", (1, 1))
    requests.chmod(0o777)
    with capture_logs() as lines:
        await service.clean()
    assert [(line["event"], line["path"]) for line in lines] == [("dead_letters.requests_unusable", str(tmp_path))]
    requests.chmod(0o700)
    await service.clean()
    assert list(requests.iterdir()) == []


# A command


def test_all_dead_letters_may_be_asked_for_without_ids_or_when_there_is_none(journal):
    requests = (Request("drop", ids=(), all=True), Request("drop", all=True))
    for number, (request, counts) in enumerate(zip(requests, ({A: 1}, {}), strict=True)):
        with journal.transaction():
            assert carry_out(journal, str(number), request, receivers=[A], now=1.0).answer == Answer(counts)


def test_an_answer_that_is_there_is_taken_although_the_worker_has_ended(journal, tmp_path):
    journal.close()
    held, slept = StateDirectory(tmp_path).__enter__(), []

    def sleep(seconds):
        slept.append(seconds)
        if len(slept) == 20:  # the lock is tried after the next look
            files = RequestFiles(tmp_path)
            [found] = files.find()
            files.answer(found.id, Answer({A: 7}))
            held.__exit__(None, None, None)

    answer = ask(
        tmp_path,
        Request("retry", sink=A),
        clock=ManualClock(),
        sleep=sleep,
        monotonic=lambda: len(slept) * dead_letter_access.LOOK_SECONDS,
    )
    assert answer == Answer({A: 7})


def test_a_command_upgrades_no_journal(tmp_path):
    """The worker may be of an earlier version, which could not start again."""
    path = tmp_path / FILE_NAME
    with closing(sqlite3.connect(path)) as connection:
        for migrate in MIGRATIONS[:-1]:
            migrate(connection)
        connection.commit()
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION - 1}")
    with pytest.raises(JournalError, match="start the worker once with this version"):
        ask(tmp_path, Request("retry", all=True), clock=ManualClock())
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION - 1,)


def test_a_command_closes_the_journal_before_a_worker_may_open_it(journal, tmp_path, monkeypatch):
    journal.close()
    closed = []

    class Watched(Journal):
        def close(self):
            with pytest.raises(StateDirectoryInUseError), StateDirectory(tmp_path):
                pass
            super().close()
            closed.append(True)

    monkeypatch.setattr(dead_letter_access, "Journal", Watched)
    ask(tmp_path, Request("drop", all=True), clock=ManualClock())
    assert closed == [True]
