"""State directories of earlier versions, killed at work: the present version goes on with each, and loses nothing."""

from __future__ import annotations

import json
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from asset_worker import Client
from asset_worker.cli import asset_worker
from asset_worker.embedding.terms import ORIGIN
from asset_worker.queue.local import journal
from asset_worker.queue.local.migrations import MIGRATIONS, SCHEMA_VERSION
from asset_worker.queue.local.schedule_store import FILE_NAME, load
from asset_worker.schedule.learned import LearnedState
from tests.doubles.webhooks import Receiver, receiving
from tests.fixtures.upgrades.manifest import COPIES, LATE, REFUSING, Manifest, manifests
from tests.fixtures.upgrades.restoring import restore, seed
from tests.integration.processes import KEY, Run, Worker, eventually

MANIFESTS = manifests()
OLDEST = MANIFESTS[0]
FIRST_THAT_LEARNED_RIGHT = 4
"""The schema from which on what the schedule has learned is kept. Before, it learned from assets that were done at the
first look."""
LOSSES = {
    *("intake.reread", "intake.gap", "intake.rejected", "intake.position_unreadable"),
    *("sink.absent", "sink.dropped", "sink.dead_letter", "schedule.unreadable"),
}
"""What the log would say if something of the earlier version were not understood."""
EACH = pytest.mark.parametrize("made", MANIFESTS, ids=[f"{each.commit}-schema-{each.schema}" for each in MANIFESTS])


class Upgrade:
    """The present worker, in the place of one that was killed."""

    def __init__(self, made: Manifest, worker: Worker, base_url: str, receiver: Receiver) -> None:
        self.made, self._worker, self._base_url, self._receiver = made, worker, base_url, receiver
        self.copies = worker.folder / COPIES / "events.jsonl"
        restore(made, worker.folder, base_url=base_url)
        self.before = worker.events_file.read_bytes()

    def start(self, *, is_service: bool | None = None, **options: Any) -> Run:
        """Start the worker: with --once, or as a service if it follows the account, which --once reads but once."""
        follows = self.made.has_account if is_service is None else is_service
        sinks: list[Any] = [str(self._worker.events_file), str(self.copies)]
        url = f"http://127.0.0.1:{self._receiver.port}"
        if self.made.has_webhooks:
            sinks += [
                {"name": LATE, "url": f"{url}/{LATE}", "timeout": 60},
                {"name": REFUSING, "url": f"{url}/{REFUSING}", "timeout": 60, "outcomes": ["ready"]},
            ]
        return self._worker.start(
            "run",
            *("--queue-file", self._worker.queue_file, "--state-dir", self._worker.state),
            *([] if follows else ["--once"]),
            base_url=self._base_url,
            EVENTS__SINKS=json.dumps(sinks),
            EVENTS__TRANSITIONS=str(self.made.has_transitions).lower(),
            ACCOUNT__FOLLOW=str(follows).lower(),
            ACCOUNT__INTERVAL="1",
            **options,
        )

    async def finish(self, run: Run) -> None:
        """Wait until there is nothing left to do, and for the end."""
        if self.made.has_account:
            await run.until("worker.started")
            await eventually(lambda: not self.wrong(), otherwise=lambda: [*self.wrong(), run.stderr])
            run.send(signal.SIGTERM)
        assert await run.end() == 0, run.stderr

    def received(self, name: str) -> dict[str, bytes]:
        """What a webhook has got, by the event's ID; each has come once."""
        requests = [each for each in self._receiver.received if each.path == f"/{name}"]
        received = {each.headers["webhook-id"]: each.body for each in requests}
        assert len(requests) == len(received)
        return received

    def wrong(self) -> list[str]:
        """Broken promises: each asset has its one completion event under the right ID, at each sink."""
        made, written = self.made, self._worker.events_file.read_bytes()
        if written[-1:] != b"\n":
            return ["the last line is partial"]
        lines = {json.loads(line)["id"]: line for line in written.splitlines()}
        completions = Counter(
            event["id"] for event in map(json.loads, written.splitlines()) if event["data"]["outcome"] is not None
        )
        again = [each for each, completion in made.pending.items() if completion == 2]
        expected = Counter(
            [f"{each}.1" for each in (*made.settled, *again, *made.unseen, *made.uploaded)]
            + [f"{each}.{completion}" for each, completion in made.pending.items()]
            + made.rejected
        )
        wrong = [f"{each}: missing" for each in expected - completions]
        wrong += [f"{each}: repeated, or not expected" for each in completions - expected]
        if not written.startswith(self.before):
            wrong.append("what had been delivered has changed")
        if len(lines) != len(written.splitlines()):
            wrong.append("a step was repeated")
        if self.copies.read_bytes() != written:
            wrong.append("what one file lacked was not delivered to it as to the other")
        if made.has_webhooks:
            new = written[len(self.before) :].splitlines()
            owed = {*made.undelivered[LATE], *(json.loads(line)["id"] for line in new)}
            received = self.received(LATE)
            wrong += [f"{each}: not sent" for each in owed - received.keys() if each in expected]
            wrong += [f"{each}: sent again" for each in received.keys() - owed]
            ready = {json.loads(line)["id"] for line in new if json.loads(line)["type"].endswith(".ready")}
            wrong += [f"{each}: not sent" for each in ready - self.received(REFUSING).keys()]
            wrong += [f"{each}: sent otherwise" for each, body in received.items() if body != lines.get(each)]
        return wrong


@pytest.fixture
async def upgrade(made, serve, worker) -> AsyncIterator[Upgrade]:
    simulator = await serve()
    seed(simulator, made)
    async with receiving() as receiver:
        yield Upgrade(made, worker, simulator.base_url, receiver)


@EACH
async def test_each_asset_gets_its_one_event_and_each_sink_what_it_lacked(upgrade, worker, made):
    has_learned = made.schema >= FIRST_THAT_LEARNED_RIGHT
    assert isinstance(load(worker.state / FILE_NAME), LearnedState) == has_learned
    run = upgrade.start()
    await upgrade.finish(run)
    assert upgrade.wrong() == []
    # An asset that the account has shown first is accepted once more, as the file says what to do with it.
    accepted = {each for log in run.logs("intake.accepted") for each in log.get("asset_ids", [log.get("asset_id")])}
    assert accepted == {*made.unseen, *made.uploaded}, "the queue file is read on from where it was"
    assert {log["event"] for log in run.logs()} & LOSSES == (set() if has_learned else {"schedule.unreadable"})
    upgraded = [(log["schema"], log["to"]) for log in run.logs("journal.upgrading")]
    assert upgraded == ([] if made.schema == SCHEMA_VERSION else [(made.schema, SCHEMA_VERSION)])
    assert len(run.logs("journal.upgraded")) == len(upgraded)
    if made.dead_letters:
        await _send_dead_letters_again(upgrade, worker)


async def _send_dead_letters_again(upgrade: Upgrade, worker: Worker) -> None:
    def called(*arguments: str) -> str:
        return CliRunner().invoke(asset_worker, ["dead-letters", *arguments, "--state-dir", str(worker.state)]).stdout

    before = upgrade.received(REFUSING)
    listed = [json.loads(line) for line in called("list", "--json").splitlines()]
    assert {each["id"] for each in listed} == {*upgrade.made.dead_letters}
    assert called("retry", "--all").startswith(f"{len(listed)} to be sent again")
    run = upgrade.start(is_service=False)
    assert await run.end() == 0, run.stderr
    assert upgrade.received(REFUSING).keys() - before.keys() == {*upgrade.made.dead_letters}


def version_of(state: Path) -> int:
    """The version of the journal, read without a change to its files."""
    with closing(sqlite3.connect(f"file:{state / journal.FILE_NAME}?mode=ro", uri=True)) as connection:
        [version] = connection.execute("PRAGMA user_version").fetchone()
        return int(version)


async def test_the_state_directory_of_a_client_in_python_is_upgraded(serve, tmp_path):
    with closing(sqlite3.connect(tmp_path / journal.FILE_NAME)) as connection:
        for migrate in MIGRATIONS[:-1]:
            migrate(connection)
        connection.execute(f"PRAGMA application_id = {journal.APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION - 1}")
        connection.execute("INSERT INTO sinks VALUES (?, 0, NULL)", (ORIGIN,))
        connection.execute("INSERT INTO pending VALUES ('asset-1', ?, 1, NULL, ?, 1, NULL)", (ORIGIN, time.time()))
        connection.commit()
    simulator = await serve()
    async with Client(api_key=KEY, base_url=simulator.base_url, state_dir=tmp_path) as client:
        assert client.kept == ("asset-1",)
    assert version_of(tmp_path) == SCHEMA_VERSION


@pytest.mark.parametrize("made", [OLDEST], ids=[OLDEST.commit])
async def test_an_upgrade_that_is_killed_before_and_after_each_step_goes_on(upgrade, worker, made):
    for version in range(made.schema, SCHEMA_VERSION):
        for moment, reached in (("before", version), ("after", version + 1)):
            killed = upgrade.start(program=("tests.integration.failpoints", f"commit:{moment}:1"))
            assert await killed.end() == -signal.SIGKILL, killed.stderr
            assert version_of(worker.state) == reached
    await upgrade.finish(upgrade.start())
    assert upgrade.wrong() == []


@pytest.mark.parametrize("made", [OLDEST], ids=[OLDEST.commit])
async def test_an_upgrade_on_a_full_disk_ends_with_75_and_the_next_start_goes_on(upgrade, worker, made):
    log = worker.state / f"{journal.FILE_NAME}-wal"
    reached = set()
    for room in (0, 12):
        size = log.stat().st_size if log.exists() else 0
        run = upgrade.start(before=f"ulimit -f {size // 512 + 8 * room};")  # a page has 8 of its blocks
        assert await run.end() == 75, run.stderr
        assert "disk" in run.stderr
        assert "Traceback" not in run.stderr
        reached.add(version_of(worker.state))
    assert len(reached) == 2, "one stopped at the first step, the other at a later one"
    await upgrade.finish(upgrade.start())
    assert upgrade.wrong() == []
