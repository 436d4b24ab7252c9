"""Requests about dead letters: what each does, that it is done once, and how commands and the worker handle it."""

from __future__ import annotations

import errno
from contextlib import closing

import pytest
from structlog.testing import capture_logs

from asset_worker.queue.dead_letters import Answer, Request
from asset_worker.queue.local.dead_letter_access import LOCK_SECONDS, LONGEST_WAIT_SECONDS, NoAnswerError, ask
from asset_worker.queue.local.dead_letter_requests import carry_out
from asset_worker.queue.local.journal import FILE_NAME, Journal, JournalError
from asset_worker.queue.local.lock import StateDirectory
from asset_worker.queue.local.request_files import RequestFiles
from asset_worker.runtime.steady_time import Mark
from tests.doubles.clocks import ManualClock
from tests.doubles.local_queue import maintain, open_local
from tests.unit.queue.outbox_model import event_of, wants_all

A, B, OLD = "https://a.example/#1", "https://b.example/#2", "stdout"
ID = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def journal(tmp_path):
    """Events 1 to 3 are dead for A, and event 3 for B; event 1 is dead for stdout, from an earlier version."""
    with closing(Journal(tmp_path / FILE_NAME)) as journal:
        with journal.transaction():
            journal.add_events([event_of("a", number) for number in (1, 2, 3)])
            for sink, positions in ((A, (1, 2, 3)), (B, (3,))):
                journal.undelivered.claim(sink, 0, 9, examine=9, now=1.0, wants=wants_all)
                journal.advance(sink, 3, None, others=[A, B])
                for position in (1, 2, 3):
                    if position in positions:
                        journal.dead_letters.add(sink, position, attempts=9, first_at=1.0, now=2.0, reason="why")
                    journal.undelivered.delete(sink, position, now=2.0)
            journal._execute(
                "INSERT INTO dead_letters (sink, position, id, body, reason) "
                "SELECT 'stdout', 1, id, body, 'why' FROM dead_letters WHERE position = 1"
            )
        yield journal


def dead(journal):
    return sorted(journal._execute("SELECT sink, position FROM dead_letters"))


def records(journal):
    return sorted(journal._execute("SELECT sink, position, asset_id, attempts, first_at, next_at FROM undelivered"))


def done(journal, request, receivers=(A, B), request_id=ID):
    with journal.transaction():
        return carry_out(journal, request_id, request, receivers=receivers, now=50.0)


EVERYTHING = [(A, 1), (A, 2), (A, 3), (B, 3), (OLD, 1)]
RETRIES = {
    "an ID of two sinks": (Request("retry", ids=("a.3",)), Answer({A: 1, B: 1}), [(A, 3), (B, 3)]),
    "an ID of one sink": (Request("retry", ids=("a.3",), sink=A), Answer({A: 1}), [(A, 3)]),
    "several IDs": (Request("retry", ids=("a.2", "a.3"), sink=A), Answer({A: 2}), [(A, 2), (A, 3)]),
    "a sink": (Request("retry", sink=A), Answer({A: 3}), [(A, 1), (A, 2), (A, 3)]),
    "all, but those that no webhook had": (
        Request("retry", all=True), Answer({A: 3, B: 1}, {OLD: 1}), [(A, 1), (A, 2), (A, 3), (B, 3)]
    ),
}  # fmt: skip


@pytest.mark.parametrize(("request_", "answer", "put_back"), RETRIES.values(), ids=RETRIES)
def test_what_is_retried_has_a_record_as_if_it_had_never_been_tried(journal, request_, answer, put_back):
    assert done(journal, request_).answer == answer
    assert records(journal) == [(sink, position, "a", 0, None, 50.0) for sink, position in put_back]
    assert dead(journal) == sorted(set(EVERYTHING) - set(put_back))
    events = {position: event_of("a", position) for _, position in put_back}
    assert journal.events_after(0, 9) == [(n, event.id, event.body) for n, event in sorted(events.items())]


@pytest.mark.parametrize(
    ("request_", "answer", "dropped"),
    [
        (Request("drop", ids=("a.3",)), Answer({A: 1, B: 1}), [(A, 3), (B, 3)]),
        (Request("drop", sink=OLD), Answer({OLD: 1}), [(OLD, 1)]),
        (Request("drop", all=True), Answer({A: 3, B: 1, OLD: 1}), EVERYTHING),
    ],
    ids=["an ID", "a sink that is no webhook", "all"],
)
def test_what_is_dropped_is_gone(journal, request_, answer, dropped):
    assert done(journal, request_).answer == answer
    assert dead(journal) == sorted(set(EVERYTHING) - set(dropped))
    assert (records(journal), journal.events_after(0, 9)) == ([], [])


ERRORS = {
    "an ID that is unknown": (Request("retry", ids=("a.1", "x.1")), "no dead letter has the ID x.1: nothing was done"),
    "an ID of another sink": (
        Request("drop", ids=("a.1",), sink=B), f"no dead letter of the sink {B} has the ID a.1: nothing was done"
    ),
    "a sink that is unknown": (
        Request("retry", sink="x"), f"there is no sink x: the sinks are {A}, {B}, {OLD}"
    ),
    "a sink that is no webhook": (
        Request("retry", sink=OLD),
        f"events can't be sent to {OLD} again, which is not a webhook in events.sinks: nothing was done",
    ),
    "an ID that a sink has that is no webhook": (
        Request("retry", ids=("a.1",)),
        f"events can't be sent to {OLD} again, which is not a webhook in events.sinks: nothing was done",
    ),
    "nothing": (Request("drop"), "it names no event and no sink, and does not ask for all"),
    "no IDs": (Request("drop", ids=()), "it names no event and no sink, and does not ask for all"),
}  # fmt: skip


@pytest.mark.parametrize(("request_", "error"), ERRORS.values(), ids=ERRORS)
@pytest.mark.parametrize("receivers", [(A, B), None], ids=["a worker", "no worker"])
def test_what_can_not_be_done_changes_nothing_and_says_why(journal, request_, error, receivers):
    answer = done(journal, request_, receivers).answer
    assert (answer.error, answer.counts) == (error, {})
    assert (dead(journal), records(journal)) == (sorted(EVERYTHING), [])


def test_events_of_a_webhook_that_was_removed_are_not_sent_again_by_a_worker_without_it(journal):
    assert done(journal, Request("retry", sink=A), receivers=(B,)).answer.error is not None
    assert done(journal, Request("retry", all=True), receivers=(B,), request_id="2").answer == Answer(
        {B: 1}, {A: 3, OLD: 1}
    )


@pytest.mark.parametrize("receivers", [("idle",), None], ids=["a worker", "no worker"])
def test_a_sink_without_dead_letters_may_be_asked_for(journal, receivers):
    """It may be paused."""
    with journal.transaction():
        journal.advance("idle", 3, None, others=[A, B])
    assert done(journal, Request("retry", sink="idle"), receivers).answer == Answer()


def test_a_request_is_carried_out_once(journal):
    first = done(journal, Request("retry", ids=("a.2",)))
    assert (first.is_new, first.answer) == (True, Answer({A: 1}))
    with journal.transaction():
        journal.dead_letters.add(A, 2, attempts=9, first_at=60.0, now=70.0, reason="why")
        journal.undelivered.delete(A, 2, now=70.0)
    again = done(journal, Request("retry", ids=("a.2",)))
    assert (again.is_new, again.answer) == (False, first.answer)
    assert (dead(journal), records(journal)) == (sorted(EVERYTHING), [])


async def test_what_was_put_back_while_its_sink_was_away_waits_for_it_as_for_any_absent_sink(journal, tmp_path):
    done(journal, Request("retry", ids=("a.2",), sink=A), receivers=None)
    journal.close()
    clock = ManualClock()
    queue = open_local(tmp_path / FILE_NAME, clock, sinks=["file"])
    with capture_logs() as lines:
        await queue.begin(ends_by_itself=False)
    assert [(line["event"], line["sink"], line["events"]) for line in lines] == [("sink.absent", A, 1)]
    assert [position for position, *_ in queue.journal.events_after(0, 9)] == [2]
    assert (queue.outbox.depth(), await queue.outbox.read("file", 9)) == (0, [])
    await queue.close()
    queue = open_local(tmp_path / FILE_NAME, clock, sinks=["file", A], independent=[A])
    await queue.begin(ends_by_itself=False)
    taken = await queue.outbox.take(A, 9, now=clock.steady(), until=clock.steady(), without=(), wants=wants_all)
    assert [owed.event.id for owed in taken.events] == ["a.2"]
    await queue.outbox.delivered(A, 2, now=clock.steady())
    assert queue.journal.events_after(0, 9) == []


# The worker


async def test_the_worker_logs_what_it_does_and_counts_it(journal, tmp_path):
    journal.close()
    queue = open_local(tmp_path / FILE_NAME, ManualClock(), sinks=[A, B], independent=[A, B])
    await queue.begin(ends_by_itself=False)
    assert (sum(queue.dead_letters_by_sink().values()), queue.outbox.owed(A)) == (5, 0)
    assert queue.dead_letters_by_sink()[A] == 3
    files = RequestFiles(tmp_path)
    requests = [
        Request("retry", sink=A), Request("drop", ids=("a.3",), sink=B), Request("retry", sink=B),
        Request("retry", sink="x"),
    ]  # fmt: skip
    for number, request in enumerate(requests):
        files.write(f"{number:032x}", request)
    (tmp_path / "requests" / f"{9:032x}.json").write_text("?")
    with capture_logs() as lines:
        await queue._requests.serve()
    assert [(line["event"], line.get("sink"), line.get("count")) for line in lines] == [
        ("dead_letters.retried", A, 3),
        ("dead_letters.dropped", B, 1),
        ("dead_letters.retried", B, 0),
        ("dead_letters.request_refused", None, None),
        ("dead_letters.request_refused", None, None),
    ]
    assert (sum(queue.dead_letters_by_sink().values()), queue.outbox.owed(A), queue.outbox.owed(B)) == (1, 3, 0)
    for number, says in ((3, "there is no sink x"), (9, "the request was refused: it is not a request")):
        answer = files.read_answer(f"{number:032x}")
        assert answer is not None
        assert str(answer.error).startswith(says)
    for sink in (A, B):
        await queue.outbox.wait_for_retry(sink)


async def test_a_directory_that_can_not_be_used_is_logged_once_and_stops_nothing(journal, tmp_path):
    journal.close()
    queue = open_local(tmp_path / FILE_NAME, ManualClock(), sinks=[A], independent=[A])
    (tmp_path / "requests").mkdir()
    (tmp_path / "requests").chmod(0o777)
    with capture_logs() as lines:
        for _ in range(3):
            await queue._requests.serve()
            await queue._requests.clean()
        (tmp_path / "requests").chmod(0o700)
        await queue._requests.serve()
        (tmp_path / "requests").chmod(0o777)
        await queue._requests.serve()
    assert [line["event"] for line in lines] == ["dead_letters.requests_unusable"] * 2


async def test_an_answer_that_can_not_be_written_is_written_later_and_the_request_done_once(
    journal, tmp_path, monkeypatch
):
    journal.close()
    queue = open_local(tmp_path / FILE_NAME, ManualClock(), sinks=[A], independent=[A])
    RequestFiles(tmp_path).write(ID, Request("retry", sink=A))

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with capture_logs() as lines:
        with monkeypatch.context() as patch:
            patch.setattr(RequestFiles, "answer", fail)
            for _ in range(3):
                await queue._requests.serve()
        await queue._requests.serve()
    assert [line["event"] for line in lines] == ["dead_letters.retried", "dead_letters.requests_unusable"]
    assert RequestFiles(tmp_path).read_answer(ID) == Answer({A: 3})
    assert queue.outbox.owed(A) == 3


@pytest.mark.virtual_time
async def test_dead_letters_are_kept_for_the_retention_from_their_last_attempt(journal, tmp_path):
    journal.close()
    clock = ManualClock(wall=1000.0)
    queue = open_local(tmp_path / FILE_NAME, clock, sinks=[A], independent=[A])
    await queue.begin(ends_by_itself=False)  # the one of an earlier version counts from now
    clock.move(1.0)
    with capture_logs() as lines:
        await queue._prune_dead_letters()
        assert sum(queue.dead_letters_by_sink().values()) == 5
        clock.move(1.5)
        await queue._prune_dead_letters()
        assert sum(queue.dead_letters_by_sink().values()) == 1
        clock.move(997.5)
        await queue._prune_dead_letters()
        assert sum(queue.dead_letters_by_sink().values()) == 1
        clock.move(0.1)
        await maintain(queue)
        assert sum(queue.dead_letters_by_sink().values()) == 0
        await queue._prune_dead_letters()
    assert [(line["event"], line["count"]) for line in lines] == [
        ("dead_letters.pruned", 4), ("dead_letters.pruned", 1)
    ]  # fmt: skip


# The command


def test_without_a_worker_a_command_does_it_itself_and_leaves_no_file(journal, tmp_path):
    journal.close()
    assert ask(tmp_path, Request("retry", sink=A), clock=ManualClock()) == Answer({A: 3})
    assert not (tmp_path / "requests").exists()
    with closing(Journal(tmp_path / FILE_NAME)) as again:
        assert len(records(again)) == 3


def test_without_a_worker_what_is_put_back_is_due_by_the_time_of_the_journal(journal, tmp_path):
    """It may differ from the wall clock, which was set meanwhile."""
    clock = ManualClock()
    with journal.transaction():
        journal.set_clock_mark(Mark(clock.steady() + 5_000, clock.read()))
    ask(tmp_path, Request("retry", sink=B), clock=ManualClock())
    assert records(journal) == [(B, 3, "a", 0, None, clock.steady() + 5_000)]


def test_no_state_directory_is_created(tmp_path):
    with pytest.raises(JournalError, match="no worker has kept its state"):
        ask(tmp_path / "none", Request("retry", all=True), clock=ManualClock())
    assert not (tmp_path / "none").exists()


def names(tmp_path):
    return sorted(path.name for path in (tmp_path / "requests").iterdir())


class Answering:
    """A worker that answers when the command sleeps for the second time, or ends."""

    def __init__(self, directory, held, *, answers):
        self.directory, self.held, self.answers, self.sleeps = directory, held, answers, 0
        self.now = 0.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.sleeps += 1
        self.now = self.sleeps * seconds
        if self.sleeps == 2 and self.answers:
            files = RequestFiles(self.directory)
            [found] = files.find()
            files.answer(found.id, Answer({A: 7}))
        elif self.sleeps == 2 and self.held is not None:
            self.held.__exit__(None, None, None)


def test_beside_a_worker_a_command_waits_for_its_answer_and_deletes_it(journal, tmp_path):
    journal.close()
    with StateDirectory(tmp_path) as held:
        worker = Answering(tmp_path, held, answers=True)
        answer = ask(
            tmp_path, Request("retry", sink=A), clock=ManualClock(), sleep=worker.sleep, monotonic=worker.monotonic
        )
    assert (answer, names(tmp_path)) == (Answer({A: 7}), [])


def test_a_command_does_it_itself_if_the_worker_ends_meanwhile(journal, tmp_path):
    journal.close()
    worker = Answering(tmp_path, StateDirectory(tmp_path).__enter__(), answers=False)
    answer = ask(
        tmp_path, Request("retry", sink=A), clock=ManualClock(), sleep=worker.sleep, monotonic=worker.monotonic
    )
    assert (answer, names(tmp_path)) == (Answer({A: 3}), [])
    assert worker.now == LOCK_SECONDS


def test_a_worker_that_does_not_answer_keeps_the_request(journal, tmp_path):
    journal.close()
    with StateDirectory(tmp_path):
        worker = Answering(tmp_path, None, answers=False)
        with pytest.raises(NoAnswerError, match="is carried out by this worker, or by the next start"):
            ask(tmp_path, Request("retry", sink=A), clock=ManualClock(), sleep=worker.sleep, monotonic=worker.monotonic)
    assert worker.now == LONGEST_WAIT_SECONDS
    assert len(names(tmp_path)) == 1
