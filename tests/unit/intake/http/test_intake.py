"""Batches from requests: durable or not, whole or not at all, and the end of a run."""

from __future__ import annotations

import asyncio
import gc

import pytest

from asset_worker.domain.assets import AssetId
from asset_worker.domain.submissions import Batch, Submission
from asset_worker.domain.unavailable import QueueUnavailableError
from asset_worker.domain.worker_report import InputReport
from asset_worker.intake.http.intake import DURABLE_SECONDS, MOST_WAITING, Denied, HttpIntake
from asset_worker.intake.ingest import Ingest
from asset_worker.queue.memory import open_memory_queue
from asset_worker.runtime.redaction import Secrets
from asset_worker.runtime.stop import Stop
from tests.doubles.clocks import LoopClock
from tests.doubles.local_queue import end_all_tasks, open_local
from tests.doubles.threads import SuspendingThread


def some(*ids: str) -> list[Submission]:
    return [Submission(each, "http", 0) for each in ids]


class Receiver:
    """Accepts batches once it may."""

    def __init__(self, room: int = 1_000_000) -> None:
        self.room = room
        self.may_accept = asyncio.Event()
        self.batches: list[Batch] = []
        self.durable: list[str] = []

    def has_room_for(self, asset_ids) -> bool:
        return len(asset_ids) <= self.room

    async def accept(self, batch: Batch):
        self.batches.append(batch)
        await self.may_accept.wait()
        self.durable += [each.asset_id for each in batch.submissions]
        return batch.submissions


def intake(receiver, *, endless: bool = True) -> tuple[HttpIntake, Stop]:
    stop = Stop()
    return HttpIntake(receiver, stop, endless=endless), stop


async def test_what_is_returned_is_durable():
    receiver = Receiver()
    http, _ = intake(receiver)
    accepting = asyncio.ensure_future(http.accept(some("a1", "a2")))
    await asyncio.sleep(0.01)
    assert not accepting.done()
    receiver.may_accept.set()
    assert await accepting == some("a1", "a2")
    assert receiver.batches == [Batch(some("a1", "a2"), [], "http", None)]


async def test_a_batch_for_which_there_is_no_room_is_not_accepted():
    receiver = Receiver(room=1)
    http, _ = intake(receiver)
    assert await http.accept(some("a1", "a2")) is Denied.FULL
    assert receiver.batches == []


@pytest.mark.virtual_time
async def test_a_client_does_not_wait_for_a_full_disk_and_the_batch_is_accepted_in_the_end():
    receiver = Receiver()
    http, _ = intake(receiver)
    began = asyncio.get_running_loop().time()
    assert await http.accept(some("a1")) is Denied.NOT_DURABLE
    assert asyncio.get_running_loop().time() - began == pytest.approx(DURABLE_SECONDS)
    receiver.may_accept.set()
    await asyncio.sleep(0.01)
    assert receiver.durable == ["a1"]


@pytest.mark.virtual_time
async def test_clients_that_try_again_while_the_disk_is_full_do_not_fill_the_memory():
    receiver = Receiver()
    http, _ = intake(receiver)
    for _ in range(3 * MOST_WAITING):
        assert await http.accept(some("a1")) is Denied.NOT_DURABLE
    assert len(receiver.batches) == MOST_WAITING
    receiver.may_accept.set()
    await asyncio.sleep(0.01)
    assert await http.accept(some("a1")) == some("a1")


async def test_a_client_that_has_gone_takes_nothing_back():
    """What the journal has begun to write, the queue must know: nothing else would look at it before the next start."""
    receiver = Receiver()
    http, _ = intake(receiver)
    accepting = asyncio.ensure_future(http.accept(some("a1")))
    await asyncio.sleep(0.01)
    accepting.cancel()
    await asyncio.wait([accepting])
    receiver.may_accept.set()
    await asyncio.sleep(0.01)
    assert receiver.durable == ["a1"]


async def test_after_the_stop_nothing_is_accepted_and_what_came_before_is():
    receiver = Receiver()
    http, stop = intake(receiver)
    running = asyncio.ensure_future(http.run(stop))
    accepting = asyncio.ensure_future(http.accept(some("a1")))
    await asyncio.sleep(0.01)
    stop.set("SIGTERM")
    assert await http.accept(some("a2")) is Denied.STOPPING
    await asyncio.sleep(0.01)
    assert not running.done()
    receiver.may_accept.set()
    await running
    assert await accepting == some("a1")
    assert receiver.durable == ["a1"]


async def test_a_run_that_ends_by_itself_does_not_wait_for_requests():
    http, stop = intake(Receiver(), endless=False)
    await asyncio.wait_for(http.run(stop), 1)


async def test_an_error_of_the_queue_reaches_the_client():
    class Failing(Receiver):
        async def accept(self, batch):
            raise OSError("damaged")

    http, _ = intake(Failing())
    with pytest.raises(OSError, match="damaged"):
        await http.accept(some("a1"))


async def test_a_client_sends_again_what_the_queue_could_not_write_before_the_end_of_the_process():
    class Ending(Receiver):
        async def accept(self, batch):
            raise QueueUnavailableError("the process is about to end")

    http, _ = intake(Ending())
    assert await http.accept(some("a1")) is Denied.NOT_DURABLE


async def test_what_becomes_of_a_batch_whose_client_has_gone_needs_no_report():
    """Neither an error of the queue, nor that the process ended meanwhile."""
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))

    class Failing(Receiver):
        async def accept(self, batch):
            await self.may_accept.wait()
            raise OSError("damaged")

    for receiver, ends in ((Failing(), True), (Receiver(), False)):
        http, _ = intake(receiver)
        accepting = asyncio.ensure_future(http.accept(some("a1")))
        await asyncio.sleep(0.01)
        accepting.cancel()
        await asyncio.wait([accepting])
        if ends:
            receiver.may_accept.set()
            await asyncio.sleep(0.01)
        else:
            [task] = [each for each in asyncio.all_tasks() if each.get_name() == "http"]
            task.cancel()
            await asyncio.wait([task])
            del task
        gc.collect()
    await asyncio.sleep(0)
    assert reported == []


def test_there_is_nothing_to_read_and_nothing_to_lose():
    http, _ = intake(Receiver())
    assert (http.is_following, http.has_lost_input, http.unreadable, http.unreadable_since) == (True, False, None, None)
    assert http.progress == InputReport()


def ingest(queue) -> Ingest:
    return Ingest(queue, LoopClock(asyncio.get_running_loop()), source="s", secrets=Secrets())


async def test_requests_at_once_do_not_exceed_the_room_together(tmp_path):
    """Each alone would fit. Repeats take none."""
    queue = open_local(
        tmp_path / "journal", LoopClock(asyncio.get_running_loop()), thread=SuspendingThread(), max_pending=10
    )
    http, _ = intake(ingest(queue))
    batches = [some(*(f"a{first + number}" for number in range(4))) for first in (0, 4, 8, 12)]
    found = await asyncio.gather(*(http.accept(each) for each in [*batches, batches[0]]))
    assert found == [batches[0], batches[1], Denied.FULL, Denied.FULL, []]
    assert queue.pending_count() == 8
    assert await http.accept(some("a20", "a21")) == some("a20", "a21")
    assert await http.accept(some("a22")) is Denied.FULL
    assert await http.accept(batches[0]) == []
    await queue.close()
    await end_all_tasks()


async def test_a_repeat_is_answered_only_once_the_first_is_durable(tmp_path):
    """Otherwise a client could be told of a repeat whose first submission a crash then loses."""
    thread = SuspendingThread()
    queue = open_local(tmp_path / "journal", LoopClock(asyncio.get_running_loop()), thread=thread)
    http, _ = intake(ingest(queue))
    order: list[str] = []

    async def submit(name: str) -> None:
        await http.accept(some("a1"))
        order.append(name)

    await asyncio.gather(submit("first"), submit("repeat"))
    assert order == ["first", "repeat"]
    await queue.close()


async def test_the_memory_engine_has_the_same_room():
    clock = LoopClock(asyncio.get_running_loop())
    ids = [AssetId(f"a{number}") for number in range(4)]
    async with open_memory_queue(clock, sinks=("stdout",), dedupe_window=9.0, max_pending=2) as queue:
        assert queue.has_room_for([ids[1], ids[2], ids[1]])
        assert not queue.has_room_for(ids[1:])
        await queue.put(some("a1", "a2"), events=(), intake="http", position=None)
        assert queue.has_room_for(ids[1:3])
        assert queue.has_room_for([])
        assert not queue.has_room_for(ids[3:])
        await queue.put(some("a3", "a4"), events=(), intake="stdin", position=None)  # past the limit
        assert queue.has_room_for(ids[1:])
