"""From batches to the queue: what is put, counted and logged."""

import asyncio
from collections.abc import Collection, Sequence
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from asset_worker.domain.assets import AssetId
from asset_worker.domain.events import Event
from asset_worker.domain.submissions import Batch, Options, Rejection, Submission, Zeros
from asset_worker.intake.ingest import MADE_AT_ONCE, NAMED_IN_LOG, Ingest
from asset_worker.intake.lines import parse, reject
from asset_worker.intake.rejections import REPORTED_IN_A_ROW, RejectedRow
from asset_worker.intake.splitter import Line, LineSplitter
from asset_worker.runtime.redaction import REDACTED, Secrets

SOURCE = "https://api.twelvelabs.io/v1.3/assets"
KEY = "tlk_0123456789SECRET"
SECRETS = Secrets()
SECRETS.add(KEY)


class FakeQueue:
    """A queue that drops repeats."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self.submissions: list[Submission] = []
        self.events: list[Event] = []
        self.positions: list[tuple[str, bytes | None]] = []
        self.accepts_settled = True

    async def room(self) -> int:
        return 5

    def has_room_for(self, asset_ids: Collection[AssetId]) -> bool:
        return len(asset_ids) <= 5

    async def put(
        self,
        submissions: Sequence[Submission],
        *,
        events: Sequence[Event],
        intake: str,
        position: bytes | None,
        accepts_settled: bool = True,
    ) -> list[Submission]:
        self.accepts_settled = accepts_settled
        fresh = []
        for submission in submissions:
            if submission.asset_id not in self._known:
                self._known.add(submission.asset_id)
                fresh.append(submission)
        self.submissions += fresh
        self.events += events
        self.positions.append((intake, position))
        return fresh


class Noon:
    def now(self) -> float:
        return 1_000_000_000.0

    def monotonic(self) -> float:
        return 0.0

    def steady(self) -> float:
        return 7.0


def batch(*ids: str, bad: Sequence[bytes] = (), position: bytes | None = b"here") -> Batch:
    submissions = [Submission(asset_id, "file:/queue", number) for number, asset_id in enumerate(ids, start=1)]
    rejections = [
        reject(Line(raw, number, number + 1), "why", number=number, origin="file:/queue", stream="1:2")
        for number, raw in enumerate(bad, start=100)
    ]
    return Batch(submissions, rejections, "file:/queue", position)


@pytest.fixture
def queue() -> FakeQueue:
    return FakeQueue()


@pytest.fixture
def ingest(queue: FakeQueue) -> Ingest:
    return Ingest(queue, Noon(), source=SOURCE, secrets=SECRETS)


async def test_those_are_returned_that_the_queue_has_accepted(ingest: Ingest):
    await ingest.accept(batch("a1"))
    assert [each.asset_id for each in await ingest.accept(batch("a1", "a2"))] == ["a2"]


async def test_there_is_as_much_room_as_in_the_queue(ingest: Ingest):
    assert await ingest.room() == 5
    assert [ingest.has_room_for([AssetId("a1")] * count) for count in (5, 6)] == [True, False]


async def test_submissions_are_put_together_with_the_position(ingest: Ingest, queue: FakeQueue):
    await ingest.accept(batch("a1", "a2"))
    assert [submission.asset_id for submission in queue.submissions] == ["a1", "a2"]
    assert queue.positions == [("file:/queue", b"here")]
    assert (ingest.lines.total(), ingest.rejected) == (2, 0)


async def test_an_empty_batch_still_keeps_its_position(ingest: Ingest, queue: FakeQueue):
    await ingest.accept(batch())
    assert queue.positions == [("file:/queue", b"here")]


async def test_a_bad_line_becomes_a_rejected_event(ingest: Ingest, queue: FakeQueue):
    await ingest.accept(batch(bad=[b"../x\xff"]))
    [event] = queue.events
    body = msgspec.json.decode(event.body)
    assert body["type"] == "dev.asset-worker.asset.rejected"
    assert body["source"] == SOURCE
    assert body["time"] == "2001-09-09T01:46:40.000Z"
    assert "subject" not in body
    assert body["data"]["line"] == "../x\ufffd"
    assert body["data"]["reason"] == "why"
    assert body["data"]["submission"] == {"source": "file:/queue:100", "metadata": {}}
    assert ingest.rejected == 1


async def test_the_event_of_a_line_that_is_read_again_is_the_same(ingest: Ingest, queue: FakeQueue):
    await ingest.accept(batch(bad=[b"!"]))
    await ingest.accept(batch(bad=[b"!"]))
    first, second = queue.events
    assert first == second


async def test_a_repeat_is_not_accepted_and_not_logged(ingest: Ingest):
    with capture_logs() as logs:
        await ingest.accept(batch("a1"))
        await ingest.accept(batch("a1", "a2"))
    assert ingest.lines == {("file", "accepted"): 2, ("file", "repeat"): 1, ("file", "rejected"): 0}
    assert [log["asset_id"] for log in logs] == ["a1", "a2"]


async def test_each_acceptance_and_each_rejection_is_logged(ingest: Ingest):
    with capture_logs() as logs:
        await ingest.accept(batch("a1", bad=[b"!"]))
    assert logs == [
        {"event": "intake.accepted", "log_level": "info", "asset_id": "a1", "source": "file:/queue:1"},
        {"event": "intake.rejected", "log_level": "warning", "source": "file:/queue:100", "reason": "why"},
    ]


async def test_a_backlog_is_logged_in_one_line(ingest: Ingest):
    ids = [f"a{number}" for number in range(NAMED_IN_LOG + 1)]
    with capture_logs() as logs:
        await ingest.accept(batch(*ids, "a0"))
    [log] = logs
    assert (log["count"], log["repeats"]) == (101, 1)
    assert (log["first"], log["last"]) == ("file:/queue:1", "file:/queue:101")
    assert log["asset_ids"] == ids[:100]


async def test_nothing_is_logged_of_a_batch_of_repeats(ingest: Ingest):
    await ingest.accept(batch("a1", "a2"))
    with capture_logs() as logs:
        await ingest.accept(batch("a1", "a2"))
    assert logs == []


async def test_many_rejections_at_once_are_logged_in_one_line_and_are_events_one_by_one(
    ingest: Ingest, queue: FakeQueue
):
    with capture_logs() as logs:
        await ingest.accept(batch(bad=[b"!"] * 1000))
    assert logs == [
        {
            "event": "intake.rejected",
            "log_level": "warning",
            "count": 1000,
            "first": "file:/queue:100",
            "last": "file:/queue:1099",
            "reason": "why",
        }
    ]
    assert (len({event.id for event in queue.events}), ingest.rejected) == (1000, 1000)
    [*_, last] = queue.events
    assert msgspec.json.decode(last.body)["data"]["submission"]["source"] == "file:/queue:1099"


async def test_others_get_their_turn_while_many_events_are_made(ingest: Ingest):
    accepting = asyncio.ensure_future(ingest.accept(batch(bad=[b"!"] * 10 * MADE_AT_ONCE)))
    rounds = 0
    while not accepting.done():
        await asyncio.sleep(0)
        rounds += 1
    assert rounds >= 10


async def test_an_input_of_nothing_but_rejected_lines_is_reported_until_a_line_is_accepted(ingest: Ingest):
    await ingest.accept(batch("a1"))
    await ingest.accept(batch(bad=[b"!"] * 999))
    assert ingest.rejected_inputs == []
    await ingest.accept(msgspec.structs.replace(batch(bad=[b"!"] * 2000), intake="stdin"))
    await ingest.accept(batch(bad=[b"!"]))
    found, other = (RejectedRow("file:/queue", count, Noon().now(), "why") for count in (1000, 2000))
    assert ingest.rejected_inputs == [found, other], "each input has a row of its own"
    await ingest.accept(msgspec.structs.replace(batch("a1"), intake="stdin"))
    assert ingest.rejected_inputs == [found], "a repeat is a good line, too"
    await ingest.accept(batch())
    assert ingest.rejected_inputs == [found]
    await ingest.accept(batch("a2"))
    assert ingest.rejected_inputs == []


async def test_a_line_that_is_the_key_is_no_good_line(ingest: Ingest):
    await ingest.accept(batch(bad=[b"!"] * REPORTED_IN_A_ROW))
    await ingest.accept(batch(KEY))
    [found] = ingest.rejected_inputs
    assert (KEY in repr(found), found.origin) == (False, "file:/queue")


async def test_there_is_room_where_the_queue_has_it(ingest: Ingest):
    assert await ingest.room() == 5


async def test_nothing_is_counted_when_the_queue_breaks(ingest: Ingest, queue: FakeQueue):
    async def broken(*_: Any, **__: Any) -> list[Submission]:
        raise RuntimeError("broken")

    queue.put = broken
    with pytest.raises(RuntimeError, match="broken"):
        await ingest.accept(batch("a1", bad=[b"!"]))
    assert ingest.lines.total() == 0


async def test_a_key_in_the_queue_file_gets_no_further(ingest: Ingest, queue: FakeQueue):
    with capture_logs() as logs:
        submission = Submission("a1", "file:/queue", 2, Options(metadata={"note": f"with {KEY}"}))
        lines = batch(KEY, bad=[f"key={KEY}".encode()])
        await ingest.accept(msgspec.structs.replace(lines, submissions=[*lines.submissions, submission]))
    assert [each.asset_id for each in queue.submissions] == ["a1"]
    assert queue.submissions[0].options == Options(metadata={"note": f"with {REDACTED}"})
    rejected = [msgspec.json.decode(event.body)["data"] for event in queue.events]
    assert [each["line"] for each in rejected] == [f"key={REDACTED}", REDACTED]
    assert "this is the API key" in rejected[1]["reason"]
    await ingest.accept(lines)
    assert len({event.id for event in queue.events}) == 3, "each such line has an ID of its own"
    assert KEY not in repr((logs, queue.events))


@pytest.mark.parametrize("before", [*range(768 - len(KEY) - 1, 770)])
async def test_a_key_at_the_place_where_a_line_is_cut_is_redacted_whole(ingest: Ingest, queue: FakeQueue, before: int):
    """No part of it is shown, at neither side of what is left out."""
    await ingest.accept(
        batch(bad=[b"!" * before + KEY.encode() + b"!" * 9000, b"!" * 9000 + KEY.encode() + b"!" * (before - 512)])
    )
    first, second = [msgspec.json.decode(event.body)["data"]["line"] for event in queue.events]
    assert first == ("!" * before + REDACTED)[:768].ljust(1024, "!")
    assert second == "!" * 768 + ("!" * 256 + REDACTED + "!" * (before - 512))[-256:]


async def test_a_key_in_a_line_over_the_limit_is_redacted_at_both_ends(ingest: Ingest, queue: FakeQueue):
    [line] = LineSplitter(0).feed(KEY.encode() * 5000 + b"\n")
    rejection = reject(line, "too long", number=1, origin="stdin", stream="1")
    await ingest.accept(Batch([], [rejection], "stdin", None))
    assert msgspec.json.decode(queue.events[0].body)["data"]["line"] == "*" * 1024


@pytest.mark.parametrize("form", ["\\u%04x", "%%25%02X"])
async def test_a_key_that_is_divided_where_a_long_line_was_cut_is_redacted(ingest: Ingest, queue: FakeQueue, form: str):
    """Asterisks are shorter than what they replace, so the place of the cut may come into what is shown."""
    encoded = "".join(form % ord(each) for each in KEY).encode()
    for before in range(0, len(encoded), 3):
        [line] = LineSplitter(0).feed(b" " * before + encoded * 5000 + b"!" * before + b"\n")
        rejection = parse(line, number=1, origin="stdin", stream="1")
        assert isinstance(rejection, Rejection)
        await ingest.accept(Batch([], [rejection], "stdin", None))
    for event in queue.events:
        shown = msgspec.json.decode(event.body)["data"]["line"]
        rest = Secrets()
        rest.add(KEY[:8])
        rest.add(KEY[-8:])
        assert rest.redact(shown.replace("*", " ")) == shown.replace("*", " ")


@pytest.mark.parametrize(
    "text",
    [KEY.upper(), KEY.lower(), f"{KEY}-1", f"id_{KEY}", f'{{"asset_id":"{KEY.lower()}"}}'],
)
async def test_an_id_that_holds_a_key_in_any_form_is_rejected(ingest: Ingest, queue: FakeQueue, text: str):
    """It would be sent to the API, in a URL that proxies log, and be in every event about it."""
    submission = parse(Line(text.encode(), 0, 99), number=1, origin="stdin", stream="1")
    assert isinstance(submission, Submission)
    await ingest.accept(Batch([submission], [], "stdin", None))
    assert queue.submissions == []
    [event] = queue.events
    assert msgspec.json.decode(event.body)["data"]["line"] == REDACTED


async def test_a_key_in_what_comes_with_an_id_is_redacted(ingest: Ingest, queue: FakeQueue):
    trace = f"cc-{'1' * 32}-{'2' * 16}-01"
    encoded = KEY.replace("_", "%5F").upper()
    origin = f"file:/spool/queue.{KEY}"
    submissions = [
        Submission("a1", origin, 1, Options(metadata={encoded: [encoded]}, traceparent=f"{trace}-{KEY}")),
        Submission("a2", origin, 2, Options(traceparent=trace)),
        Submission("a3", origin, 3),
    ]
    bad = reject(Line(b"!", 9, 10), "why", number=4, origin=origin, stream="1:2")
    await ingest.accept(Batch(submissions, [bad], "file:/queue", None))
    shown = f"file:/spool/queue.{REDACTED}"
    assert queue.submissions == [
        Submission("a1", shown, 1, Options(metadata={REDACTED: [REDACTED]})),
        Submission("a2", shown, 2, Options(traceparent=trace)),
        Submission("a3", shown, 3),
    ]
    assert msgspec.json.decode(queue.events[0].body)["data"]["submission"]["source"] == f"{shown}:4"


async def test_a_key_in_a_reason_is_redacted(ingest: Ingest, queue: FakeQueue):
    raw = b'{"asset_id":"a1","%b":1,"%b":2}' % (KEY.encode(), KEY.encode())
    rejection = parse(Line(raw, 0, 99), number=1, origin="stdin", stream="1")
    assert isinstance(rejection, Rejection)
    with capture_logs() as logs:
        await ingest.accept(Batch([], [rejection], "stdin", None))
    assert KEY not in repr((logs, queue.events))


async def test_a_key_in_utf_16_is_redacted(ingest: Ingest, queue: FakeQueue):
    [line] = LineSplitter(0).feed(f"{KEY}\n".encode("utf-16-be"))
    rejection = parse(line, number=1, origin="stdin", stream="1")
    assert isinstance(rejection, Rejection)
    await ingest.accept(Batch([], [rejection], "stdin", None))
    [long] = LineSplitter(0).feed(f"{KEY}{'!' * 40_000}{KEY}\n".encode("utf-16-be"))
    rejection = parse(long, number=1, origin="stdin", stream="1")
    assert isinstance(rejection, Rejection)
    await ingest.accept(Batch([], [rejection], "stdin", None))
    lines = [msgspec.json.decode(event.body)["data"]["line"] for event in queue.events]
    assert lines == [REDACTED, f"{REDACTED}{'!' * 1008}{REDACTED}"]


async def test_a_run_of_zeros_is_logged_once_and_makes_no_event(ingest: Ingest, queue: FakeQueue):
    with capture_logs() as logs:
        await ingest.accept(Batch([], [], "stdin", None, [Zeros("file:/queue", 3, 3000, 3050)]))
    assert logs == [
        {"event": "intake.zeros", "log_level": "warning", "source": "file:/queue:3", "bytes": 3000, "end": 3050}
    ]
    assert (queue.events, ingest.rejected) == ([], 0)


@pytest.mark.parametrize(
    ("intake", "kind"),
    [
        ("file:/var/spool/a-b:c", "file"),
        ("stdin", "stdin"),
        ("http", "http"),
        ("command", "command"),
        ("account:https://api.example/v1.3", "account"),
        ("account-backfill:https://api.example/v1.3", "account"),
    ],
)
async def test_lines_are_counted_by_the_kind_of_their_source(ingest: Ingest, intake: str, kind: str):
    assert ingest.read_at == {}
    await ingest.accept(msgspec.structs.replace(batch("a1", bad=[b"!", b"?"]), intake=intake))
    assert ingest.lines == {(kind, "accepted"): 1, (kind, "repeat"): 0, (kind, "rejected"): 2}
    assert ingest.read_at == {kind: 1_000_000_000.0}
