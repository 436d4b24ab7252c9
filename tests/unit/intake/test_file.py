"""The queue file's intake: when it looks, how much it takes, and when it ends."""

# ruff: noqa: ASYNC240 - nothing else runs in these loops while a test writes its files

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.unit.intake.doubles import Inbox
from worker.clock import SystemClock
from worker.intake.file import BATCH_LINES, INTERVAL_SECONDS, FileIntake
from worker.intake.follower import UNTERMINATED_SECONDS
from worker.lane import InlineLane, ThreadLane
from worker.stopping import Stop

pytestmark = pytest.mark.virtual_time

PROMISED_SECONDS = 0.5
"""An appended line is accepted within this time."""


class ClosingLane(InlineLane):
    closed = False

    def close(self) -> None:
        self.closed = True


def intake(path: Path, inbox: Inbox, positions: Mapping[str, bytes] | None = None, **options: Any) -> FileIntake:
    return FileIntake(path, inbox, InlineLane(), SystemClock(), positions or {}, **options)


@asynccontextmanager
async def running(following: FileIntake) -> AsyncIterator[Stop]:
    stop = Stop()
    task = asyncio.create_task(following.run(stop))
    yield stop
    stop.set("test")
    await task


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queue"


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


async def test_a_line_is_accepted_soon_after_it_is_appended(path: Path):
    inbox = Inbox()
    async with running(intake(path, inbox)):
        for number in range(20):
            append(path, b"a%d\n" % number)
            await asyncio.sleep(PROMISED_SECONDS)
            assert len(inbox.ids) == number + 1


async def test_a_file_that_appears_later_is_read(path: Path):
    inbox = Inbox()
    async with running(intake(path, inbox)):
        await asyncio.sleep(60)
        append(path, b"a1\n")
        await asyncio.sleep(PROMISED_SECONDS)
        assert inbox.ids == ["a1"]


async def test_a_rotated_file_is_read_on_and_told_of(path: Path):
    inbox = Inbox()
    append(path, b"a1\n")
    with capture_logs() as logs:
        async with running(intake(path, inbox)):
            await asyncio.sleep(1)
            append(path, b"a2\n")
            rotated = path.rename(path.with_name("queue.1"))
            append(path, b"b1\n")
            await asyncio.sleep(1)
            append(rotated, b"a3\n")
            await asyncio.sleep(60)
    assert inbox.ids == ["a1", "a2", "b1", "a3"]
    told = [(log["event"], log["log_level"], log["what"]) for log in logs]
    assert told == [(f"intake.{what}", "info", what) for what in ("appeared", "rotated", "retired")]


async def test_what_cannot_be_read_is_a_warning_once(path: Path):
    path.mkdir()
    with capture_logs() as logs:
        async with running(intake(path, Inbox())):
            await asyncio.sleep(60)
    assert [(log["log_level"], log["what"]) for log in logs] == [("warning", "unreadable")]


async def test_reading_goes_on_where_the_last_accepted_batch_ended(path: Path):
    append(path, b"a1\na2\n")
    first, second = Inbox(), Inbox()
    await intake(path, first, once=True).run(Stop())
    append(path, b"a3\n")
    await intake(path, second, first.positions, once=True).run(Stop())
    assert (first.ids, second.ids) == (["a1", "a2"], ["a3"])


async def test_a_relative_path_is_kept_under_its_absolute_name(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(path.parent)
    append(path, b"a1\n")
    inbox = Inbox()
    await intake(Path("queue"), inbox, once=True).run(Stop())
    assert set(inbox.positions) == {f"file:{path}"}
    assert inbox.batches[0].submissions[0].source == f"file:{path}:1"


# Back pressure


async def test_no_more_is_taken_than_there_is_room_for(path: Path):
    append(path, b"a1\na2\n!\na3\na4\n")
    inbox = Inbox(room=2)
    async with running(intake(path, inbox)):
        await asyncio.sleep(60)
        assert inbox.ids == ["a1", "a2"]
        inbox.make_room(1)
        await asyncio.sleep(60)
        assert inbox.ids == ["a1", "a2", "a3"]
        inbox.make_room(5)
        await asyncio.sleep(60)
        assert inbox.ids == ["a1", "a2", "a3", "a4"]
    assert inbox.rejections == [(3, b"!")]


async def test_what_there_was_no_room_for_is_read_after_a_restart(path: Path):
    append(path, b"a1\na2\na3\n")
    first, second = Inbox(room=1), Inbox()
    async with running(intake(path, first)):
        await asyncio.sleep(60)
    await intake(path, second, first.positions, once=True).run(Stop())
    assert (first.ids, second.ids) == (["a1"], ["a2", "a3"])


async def test_a_stop_while_there_is_no_room_ends_the_reading(path: Path):
    append(path, b"a1\n")
    inbox = Inbox(room=0)
    async with running(intake(path, inbox)) as stop:
        await asyncio.sleep(60)
        stop.set("test")
    assert inbox.batches == []


async def test_a_backlog_is_accepted_in_batches_without_waiting_between(path: Path):
    append(path, b"".join(b"a%d\n" % number for number in range(3 * BATCH_LINES)))
    inbox = Inbox()
    started = asyncio.get_running_loop().time()
    await intake(path, inbox, once=True).run(Stop())
    assert asyncio.get_running_loop().time() - started <= INTERVAL_SECONDS
    assert len(inbox.ids) == len(set(inbox.ids)) == 3 * BATCH_LINES
    assert max(len(batch.submissions) for batch in inbox.batches) <= BATCH_LINES


# Once


@pytest.mark.parametrize(
    ("make", "ids"),
    [
        pytest.param(lambda path: None, [], id="no file"),
        pytest.param(lambda path: path.touch(), [], id="an empty file"),
        pytest.param(lambda path: append(path, b"a1\na2\n"), ["a1", "a2"], id="lines"),
        pytest.param(lambda path: append(path, b"a1\na2"), ["a1", "a2"], id="a last line without newline"),
        pytest.param(lambda path: append(path, b"\n# nothing"), [], id="a comment without newline"),
    ],
)
async def test_once_ends_when_the_file_is_read_to_its_end(path: Path, make: Callable[[Path], None], ids: list[str]):
    make(path)
    inbox = Inbox()
    async with asyncio.timeout(UNTERMINATED_SECONDS + 2 * INTERVAL_SECONDS):
        await intake(path, inbox, once=True).run(Stop())
    assert inbox.ids == ids


async def test_once_waits_for_the_rest_of_a_line_that_is_being_written(path: Path):
    inbox = Inbox()
    append(path, b"a1\na")
    task = asyncio.create_task(intake(path, inbox, once=True).run(Stop()))
    for piece in (b"b", b"c", b"d"):
        await asyncio.sleep(UNTERMINATED_SECONDS * 0.7)
        append(path, piece)
    await asyncio.sleep(UNTERMINATED_SECONDS * 0.7)
    append(path, b"\n")
    await task
    assert inbox.ids == ["a1", "abcd"]


# The end


async def test_the_lane_and_the_files_are_let_go_at_the_end(path: Path):
    append(path, b"a1\n")
    lane = ClosingLane()
    following = FileIntake(path, Inbox(), lane, SystemClock(), {})
    async with running(following):
        await asyncio.sleep(1)
        assert following._follower._trail.files
    assert lane.closed
    assert following._follower._trail.files == []


async def test_they_are_let_go_when_the_run_is_cancelled_too(path: Path):
    append(path, b"a1\n")
    lane = ClosingLane()
    following = FileIntake(path, Inbox(), lane, SystemClock(), {})
    task = asyncio.create_task(following.run(Stop()))
    await asyncio.sleep(1)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert lane.closed
    assert following._follower._trail.files == []


async def test_a_batch_that_is_refused_ends_the_reading_and_is_read_again(path: Path):
    """Accepting is the queue's business; when it breaks, nothing has been taken."""
    append(path, b"a1\n")

    class Broken(Inbox):
        async def accept(self, batch: Any) -> None:
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        await intake(path, Broken(), once=True).run(Stop())
    inbox = Inbox()
    await intake(path, inbox, once=True).run(Stop())
    assert inbox.ids == ["a1"]


async def test_it_reads_in_a_thread_of_its_own(path: Path):
    append(path, b"a1\n")
    inbox = Inbox()
    await FileIntake(path, inbox, ThreadLane("queue-file"), SystemClock(), {}, once=True).run(Stop())
    assert inbox.ids == ["a1"]
