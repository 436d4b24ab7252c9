"""Journals that earlier versions wrote: brought up to date, with nothing lost."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from asset_worker.domain.assets import AssetId, WaitFor
from asset_worker.domain.progress import LastSeen, Progress
from asset_worker.domain.submissions import Options, Submission
from asset_worker.queue.local import migrations
from asset_worker.queue.local.journal import APPLICATION_ID, FILE_NAME, Journal, JournalError
from asset_worker.queue.local.migrations import MIGRATIONS, SCHEMA_VERSION
from asset_worker.queue.local.schedule_store import load_or_start
from asset_worker.queue.local.status_report import read_status
from tests.doubles.clocks import ManualClock
from tests.doubles.local_queue import event_for, open_local

DATA = Path(__file__).parent / "data"
QUEUE_FILE = "file:/srv/demo/work/queue"
EVENTS_FILE = "file:/srv/demo/work/events.jsonl"
FIRST, SECOND = 1795727759.9738903, 1795727774.8507726
"""When the two batches of that journal's pending assets were accepted."""
NOW = 1795727780.0
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
CLIP = {"file_type": "video/mp4", "method": "direct"}


PENDING = {
    "b8a1abcd1a6916c74da4f9fc": (
        Submission("b8a1abcd1a6916c74da4f9fc", QUEUE_FILE, 13),
        Progress(35, 34, LastSeen("processing", **CLIP), ("asset",), waiting_at=1795727772.6492114),
    ),
    "01d89a024cdce7a6d7288ff6": (
        Submission("01d89a024cdce7a6d7288ff6", QUEUE_FILE, 17),
        Progress(35, 34, LastSeen("processing", **CLIP), ("asset",), waiting_at=1795727772.6492438),
    ),
    "e1df8af9b474c7e89286a175": (
        Submission("e1df8af9b474c7e89286a175", QUEUE_FILE, 18),
        Progress(
            35,
            34,
            LastSeen("processing", {"thumbnail": "pending"}, "image/jpeg", "direct"),
            ("asset",),
            waiting_at=1795727772.6491182,
        ),
    ),
    "8224b122c3e4a892d9196ada": (
        Submission(
            "8224b122c3e4a892d9196ada",
            QUEUE_FILE,
            19,
            Options(metadata={"title": "Düne", "n": [1, 2.5, {"deep": None}], "big": 2**70}),
        ),
        Progress(
            33,
            33,
            LastSeen("ready", {"hls": "processing", "thumbnail": "ready"}, **CLIP),
            ("hls",),
            ready_at=1795727759.9829898,
            waiting_at=1795727772.8056939,
        ),
    ),
    "995253fd6c79a3de69f85e31": (
        Submission("995253fd6c79a3de69f85e31", QUEUE_FILE, 20),
        Progress(
            33,
            33,
            LastSeen("ready", {"hls": "pending", "thumbnail": "processing"}, **CLIP),
            ("hls", "thumbnail"),
            ready_at=1795727759.9835768,
            waiting_at=1795727772.6492748,
        ),
    ),
    "294c4ea3738d243a6e58d5ca": (
        Submission(
            "294c4ea3738d243a6e58d5ca",
            QUEUE_FILE,
            21,
            Options(
                wait_for={"hls": WaitFor.REQUIRED, "thumbnail": WaitFor.IGNORE}, deadline=9000.0, traceparent=TRACE
            ),
        ),
        Progress(
            33,
            33,
            LastSeen("ready", {"thumbnail": "ready"}, **CLIP),
            ("hls",),
            ready_at=1795727759.9823515,
            waiting_at=1795727772.8056152,
        ),
    ),
    "d0060cc54278c2614e1bcb38": (
        Submission("d0060cc54278c2614e1bcb38", QUEUE_FILE, 22, Options(deadline=7200.5)),
        Progress(34, 34, LastSeen("processing", **CLIP), ("asset",), waiting_at=1795727772.64926),
    ),
    "7671863c0bdbc23a14c15c91": (
        Submission("7671863c0bdbc23a14c15c91", QUEUE_FILE, 23),
        Progress(32, 31, LastSeen("missing"), ("visibility",), waiting_at=1795727772.6491842),
    ),
    "84d4cd1f47ca7883ff5a52f1": (
        Submission("84d4cd1f47ca7883ff5a52f1", QUEUE_FILE, 24),
        Progress(
            33,
            32,
            LastSeen("missing", was="processing", **CLIP),
            ("visibility",),
            missing_at=1795727764.1550477,
            waiting_at=1795727772.6492019,
        ),
    ),
    "b36cc9aa78a330a1a5e333cb": (
        Submission("b36cc9aa78a330a1a5e333cb", QUEUE_FILE, 25, Options(wait_for={"hls": WaitFor.IF_REQUESTED})),
        Progress(
            33,
            32,
            LastSeen("missing", {"hls": "processing"}, was="ready", **CLIP),
            ("visibility",),
            ready_at=1795727759.984259,
            missing_at=1795727764.1552432,
            waiting_at=1795727772.6492324,
        ),
    ),
    "ac7cc4a4ff4dab102522d538": (
        Submission("ac7cc4a4ff4dab102522d538", QUEUE_FILE, 26),
        Progress(12, 6, None, ("answer",)),
    ),
    "e9dd38b869ace91311021c9e": (Submission("e9dd38b869ace91311021c9e", QUEUE_FILE, 28), None),
    "70ef55b1a1f65507a2909cb6": (
        Submission(
            "70ef55b1a1f65507a2909cb6",
            QUEUE_FILE,
            29,
            Options(metadata={"user": "ada"}, wait_for={"thumbnail": WaitFor.REQUIRED}),
        ),
        None,
    ),
}
"""What the journal of version 0.1.0 holds as pending, by asset."""
AGAIN = "b8a1abcd1a6916c74da4f9fc"
"""One of them: it was settled once before."""
OUTBOX = [
    "81862fc9634f806fabf4a07c.1",
    "793d0e453f5082492d83a823.1",
    "ef412ed6f1cfd99216df6486.1",
    "rejected.0fc1e6a688ad9378b5fdb34b",
    "rejected.ef1093248d0700e31e0a0c66",
]
"""Its events that one sink does not have yet."""


@pytest.fixture
def path(tmp_path):
    """The journal of version 0.1.0 (schema 2), in a state directory of its own."""
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        connection.executescript((DATA / "journal-9fcc310.sql").read_text())
    return tmp_path / FILE_NAME


def clock():
    return ManualClock(wall=NOW)


def rows(path, *columns, table="pending"):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"SELECT {', '.join(columns)} FROM {table} ORDER BY 1").fetchall()


def pragma(path, name):
    with closing(sqlite3.connect(path)) as connection:
        [value] = connection.execute(f"PRAGMA {name}").fetchone()
        return value


def test_all_that_version_0_1_0_had_pending_is_found(path):
    with closing(Journal(path)) as journal:
        found = {row.submission.asset_id: row for row in journal.pending()}
    assert {asset_id: (row.submission, row.progress) for asset_id, row in found.items()} == PENDING
    assert {asset_id: row.completion for asset_id, row in found.items()} == dict.fromkeys(PENDING, 1) | {AGAIN: 2}
    assert {asset_id: row.accepted_at for asset_id, row in found.items()} == {
        asset_id: FIRST if submission.line < 27 else SECOND for asset_id, (submission, _) in PENDING.items()
    }
    assert pragma(path, "user_version") == SCHEMA_VERSION == 7


def test_its_other_tables_are_left_as_they_are(path):
    tables = ("settled", "outbox", "sinks", "intakes", "tally")
    before = {table: rows(path, "*", table=table) for table in tables}
    assert all(before.values())
    Journal(path).close()
    assert {table: rows(path, "*", table=table) for table in tables} == before


def test_its_dead_letters_are_kept_and_their_times_count_from_the_first_start(path):
    columns = ("sink", "position", "id", "body", "reason")
    before = rows(path, *columns, table="dead_letters")
    assert len(before) == 1
    Journal(path).close()
    assert rows(path, *columns, table="dead_letters") == before
    later = ("asset_id", "attempts", "first_at", "last_at")
    assert rows(path, *later, table="dead_letters") == [(None, None, None, None)]
    with closing(Journal(path)) as journal, journal.transaction():
        journal.end_future(NOW, among_pending=False)
    assert rows(path, *later, table="dead_letters") == [(None, None, None, NOW)]


def test_its_rows_have_the_shape_of_the_present_version(path):
    """They are written as `accept` and `save_progress` would write them now."""
    Journal(path).close()
    migrated = rows(path, "asset_id", "options", "progress")
    with closing(Journal(path)) as journal, journal.transaction():
        journal._execute("DELETE FROM pending")
        journal.accept([submission for submission, _ in PENDING.values()], at=FIRST, window_start=NOW)
        journal.save_progress({AssetId(each): progress for each, (_, progress) in PENDING.items() if progress})
    for old, new in zip(migrated, rows(path, "asset_id", "options", "progress"), strict=True):
        assert old[0] == new[0]
        assert [blob and json.loads(blob) for blob in old[1:]] == [blob and json.loads(blob) for blob in new[1:]]


async def test_the_queue_goes_on_where_version_0_1_0_was_killed(path):
    queue = open_local(path, clock(), sinks=(EVENTS_FILE, "stdout"))
    assert queue.waiting_on() == {
        "asset": 4,
        "hls": 3,
        "thumbnail": 1,
        "visibility": 3,
        "answer": 1,
        "first look": 2,
    }
    assert list(queue.intakes) == [QUEUE_FILE]
    assert b'"offset":1172,"line":30,' in queue.intakes[QUEUE_FILE]
    assert (await queue.outbox.checkpoint(EVENTS_FILE)).startswith(b'{"inode":1466379,"offset":15273,')
    assert [event.id for event in await queue.outbox.read("stdout", 99)] == OUTBOX
    assert [(event.position, event.id) for event in await queue.outbox.read(EVENTS_FILE, 99)] == [(17, OUTBOX[-1])]

    leases = {lease.submission.asset_id: lease for lease in await queue.take(99)}
    assert leases.keys() == PENDING.keys()
    for asset_id, lease in leases.items():
        submission, progress = PENDING[asset_id]
        assert (lease.submission, lease.progress) == (submission, progress or Progress())
        assert lease.age == pytest.approx(NOW - lease.accepted_at)
        ready_at, missing_at = lease.progress.ready_at, lease.progress.missing_at
        assert lease.ready_age == (None if ready_at is None else pytest.approx(NOW - ready_at))
        assert lease.missing_age == (None if missing_at is None else pytest.approx(NOW - missing_at))

    await queue.begin(ends_by_itself=True)
    for lease in leases.values():
        await queue.settle(lease, event_for(lease))
    sent = [event.id for event in await queue.outbox.read("stdout", 99)]
    assert sent == OUTBOX + [f"{asset_id}.{2 if asset_id == AGAIN else 1}" for asset_id in leases]
    assert await queue.finish() == {"rejected": 2, "ready": 13}
    assert await queue.put([PENDING[AGAIN][0]], events=(), intake="i", position=None) == []
    await queue.close()


def test_status_reads_it_once_it_is_up_to_date(path):
    Journal(path).close()
    report = read_status(path.parent, clock=clock(), limit=99)
    assert (report.pending_count, report.outbox_count, report.dead_letters) == (13, 5, 1)
    assert report.completed_lately == {"ready": 13, "failed": 1, "degraded": 1}
    lines = {line.asset_id: line for line in report.pending}
    for asset_id, (submission, progress) in PENDING.items():
        known = progress or Progress()
        status = known.last_seen.status if known.last_seen else None
        line = lines[asset_id]
        assert (line.source, line.status, line.waiting_on, line.polls) == (
            submission.source,
            status,
            known.waiting_on,
            known.polls,
        )


def test_what_its_schedule_had_learned_is_set_aside_with_a_log_line(tmp_path):
    path = tmp_path / "schedule.msgpack"
    shutil.copy(DATA / "schedule-9fcc310.msgpack", path)
    with capture_logs() as logs:
        assert load_or_start(path) is None
    assert [(log["event"], log["error"]) for log in logs] == [
        ("schedule.unreadable", "it is of version 1; this asset-worker reads version 2")
    ]
    assert not path.exists()
    assert path.with_suffix(".unreadable").read_bytes() == (DATA / "schedule-9fcc310.msgpack").read_bytes()


def many(path, count):
    """A journal of schema 2 with so many pending assets."""
    with closing(sqlite3.connect(path)) as connection:
        for migrate in MIGRATIONS[:2]:
            migrate(connection)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 2")
        connection.executemany(
            "INSERT INTO pending VALUES (?, 'file:/q', ?, ?, 1.0, 1, ?)",
            [
                (
                    f"a{number:04}",
                    number,
                    b'{"hls":"ignore"}' if number % 3 else None,
                    b'{"polls":%d,"sighting":{"status":"ready","hls":"pending"}}' % number if number % 2 else None,
                )
                for number in range(count)
            ],
        )
        connection.commit()


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 100])
def test_rows_are_rewritten_in_chunks_to_the_last(tmp_path, monkeypatch, count):
    monkeypatch.setattr(migrations, "CHUNK_ROWS", 10)
    many(tmp_path / "j", count)
    with closing(Journal(tmp_path / "j")) as journal:
        found = {row.submission.line: row for row in journal.pending()}
    assert found.keys() == set(range(count))
    for number, row in found.items():
        assert row.submission.options == (Options(wait_for={"hls": WaitFor.IGNORE}) if number % 3 else None)
        seen = Progress(number, last_seen=LastSeen("ready", {"hls": "pending"}))
        assert row.progress == (seen if number % 2 else None)


@pytest.mark.parametrize("damage", [b"no JSON", b"[]", b'{"sighting":1}'], ids=["text", "list", "number"])
def test_a_damaged_row_stops_it_and_leaves_the_journal_as_it_was(tmp_path, monkeypatch, damage):
    monkeypatch.setattr(migrations, "CHUNK_ROWS", 10)
    path = tmp_path / "j"
    many(path, 50)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE pending SET progress = ? WHERE line = 45", (damage,))
        connection.commit()
    before = rows(path, "*")
    with pytest.raises(JournalError, match="left as it is"):
        Journal(path)
    assert rows(path, "*") == before
    assert pragma(path, "user_version") == 2


def test_what_a_migration_began_before_a_failure_is_undone_and_done_by_the_next_start(tmp_path, monkeypatch):
    path = tmp_path / "j"
    many(path, 50)
    before = rows(path, "*")

    def fail(connection):
        MIGRATIONS[2](connection)
        raise sqlite3.OperationalError("killed")

    monkeypatch.setattr("asset_worker.queue.local.journal.MIGRATIONS", (*MIGRATIONS[:2], fail))
    with pytest.raises(JournalError):
        Journal(path)
    assert rows(path, "*") == before
    monkeypatch.undo()
    with closing(Journal(path)) as journal:
        assert sum(1 for _ in journal.pending()) == 50
    assert pragma(path, "user_version") == SCHEMA_VERSION


def test_pending_assets_in_the_same_state_share_what_was_last_seen(path):
    """A million of them are kept in memory."""
    with closing(Journal(path)) as journal:
        found = [row.progress.last_seen for row in journal.pending() if row.progress]
    processing = [each for each in found if each == LastSeen("processing", **CLIP)]
    assert len(processing) == 3
    assert len(set(map(id, processing))) == 1


async def test_the_queue_goes_on_where_a_worker_of_version_4_ended(tmp_path):
    """It kept no records. Two events wait for stdout, one for each sink; and more for a sink that was removed."""
    path, file, gone = tmp_path / FILE_NAME, "file:/srv/events.jsonl", "file:/srv/gone.jsonl"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((DATA / "journal-f327ddd.sql").read_text())
    later = 1795800010.0
    assert rows(path, "sink", "position", table="dead_letters") == [("old", 2), ("old", 4)]
    queue = open_local(path, ManualClock(wall=later), sinks=(file, "stdout", "hook"), independent=("hook",))
    await queue.begin(ends_by_itself=False)
    assert sum(queue.dead_letters_by_sink().values()) == 2
    assert rows(path, "position", "asset_id", "attempts", "first_at", "last_at", table="dead_letters") == [
        (2, "asset-1", None, None, later),
        (4, None, None, None, later),
    ]
    assert rows(path, "position", table="passed") == [(1,)]
    read = {sink: [event.position for event in await queue.outbox.read(sink, 9)] for sink in (file, "stdout")}
    assert read == {file: [5], "stdout": [3, 4, 5]}
    assert await queue.outbox.checkpoint(file) == b"mark"
    taken = await queue.outbox.take("hook", 9, now=later, until=later, without=(), wants=lambda _: True)
    assert [(owed.event.position, owed.asset_id) for owed in taken.events] == [
        (2, "asset-1"),
        (3, "asset-2"),
        (4, None),
        (5, "asset-3"),
    ]
    for sink in (file, "stdout"):
        await queue.outbox.advance(sink, 5, None)
    for position in (2, 3, 4, 5):
        await queue.outbox.delivered("hook", position, now=later)
    assert [position for position, *_ in queue.journal.events_after(0, 9)] == [2, 3, 4, 5], "they wait for the other"
    await queue.close()
    report = read_status(tmp_path, clock=ManualClock(wall=later), limit=9)
    assert (report.outbox_kept, report.dead_letters) == ({gone: 4}, 2)


async def test_a_journal_of_version_5_gets_room_for_events(tmp_path):
    path = tmp_path / FILE_NAME
    with closing(sqlite3.connect(path)) as connection:
        for migrate in MIGRATIONS[:5]:
            migrate(connection)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 5")
        connection.execute("INSERT INTO settled VALUES ('asset-1', 3, 'ready', 1.0, 2.0)")
        connection.commit()
    queue = open_local(path, clock(), keeps_events=True)
    settled = (await queue.find(AssetId("asset-1"))).settled
    assert (settled.completion, settled.outcome, settled.event) == (3, "ready", None)
    await queue.close()
    assert rows(path, "*", table="last_events") == []
