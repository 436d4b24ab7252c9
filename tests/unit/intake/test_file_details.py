"""What the queue file's intake makes of each step: what it logs, how long it waits, and when it ends."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from asset_worker.domain.submissions import Batch
from asset_worker.domain.worker_report import InputReport
from asset_worker.intake.file import intake
from asset_worker.intake.file.follower import FileEvent, Step
from asset_worker.intake.file.intake import INTERVAL_SECONDS, FileIntake
from asset_worker.runtime.clock import SystemClock
from asset_worker.runtime.stop import Stop
from asset_worker.runtime.threads import HANG_SECONDS
from tests.doubles.intake import BatchReceiver
from tests.doubles.threads import InlineThread

pytestmark = pytest.mark.virtual_time

PATH = Path("/q")


def step(*events: str, at_end: bool = True, has_more: bool = False, problem: str | None = None) -> Step:
    return Step(None, tuple(FileEvent(what) for what in events), at_end, has_more, problem)


class Steps:
    """Stands in for `Follower`: takes these steps, and then the last one again and again."""

    def __init__(self, *steps: Step) -> None:
        self._steps = [*steps]

    def __call__(self, _path: Path, _positions: Mapping[str, bytes], **_options: Any) -> "Steps":
        return self

    def step(self, _now: float, _max_lines: int) -> Step:
        return self._steps.pop(0) if len(self._steps) > 1 else self._steps[0]

    def progress(self) -> InputReport:
        return InputReport()

    def finish(self, _now: float, _wait: float) -> tuple[Batch | None, bool]:
        return None, True

    def close(self) -> None:
        pass


def taking(monkeypatch: pytest.MonkeyPatch, *steps: Step) -> None:
    monkeypatch.setattr(intake, "Follower", Steps(*steps))


@pytest.mark.parametrize(
    ("what", "event", "level"),
    [
        ("appeared", "intake.appeared", "info"),
        ("rotated", "intake.rotated", "info"),
        ("truncated", "intake.rotated", "info"),
        ("deleted", "intake.rotated", "info"),
        ("found", "intake.rotated", "info"),
        ("retired", "intake.retired", "info"),
        ("readable", "intake.readable", "info"),
        ("unreadable", "intake.unreadable", "warning"),
        ("position_unreadable", "intake.position_unreadable", "warning"),
        ("gap", "intake.gap", "warning"),
        ("reread", "intake.reread", "warning"),
    ],
)
async def test_each_event_of_the_file_is_logged(what: str, event: str, level: str, monkeypatch: pytest.MonkeyPatch):
    taking(monkeypatch, step(what))
    with capture_logs() as logs:
        await FileIntake(PATH, BatchReceiver(), InlineThread(), SystemClock(), {}, once=True).run(Stop())
    assert logs == [{"event": event, "log_level": level, "what": what, "path": "/q", "detail": None}]


async def test_there_is_no_pause_while_there_is_more_to_read(monkeypatch: pytest.MonkeyPatch):
    taking(monkeypatch, *[step(has_more=True, at_end=False)] * 3, step())
    await FileIntake(PATH, BatchReceiver(), InlineThread(), SystemClock(), {}, once=True).run(Stop())
    assert asyncio.get_running_loop().time() < INTERVAL_SECONDS


async def test_once_goes_on_while_the_end_is_not_reached(monkeypatch: pytest.MonkeyPatch):
    taking(monkeypatch, *[step(at_end=False)] * 3, step())
    began = asyncio.get_running_loop().time()
    await FileIntake(PATH, BatchReceiver(), InlineThread(), SystemClock(), {}, once=True).run(Stop())
    assert asyncio.get_running_loop().time() - began == pytest.approx(3 * INTERVAL_SECONDS)


async def test_a_disk_that_answers_again_with_an_error_is_not_readable(monkeypatch: pytest.MonkeyPatch):
    class SlowOnce(InlineThread):
        seconds = HANG_SECONDS + 1

        async def run(self, call: Any, /, *args: Any, **kwargs: Any) -> Any:
            waits, self.seconds = self.seconds, 0.0
            await asyncio.sleep(waits)
            return call(*args, **kwargs)

    taking(monkeypatch, step(problem="broken"))
    stop = Stop()
    following = FileIntake(PATH, BatchReceiver(), SlowOnce(), SystemClock(), {})
    task = asyncio.create_task(following.run(stop))
    with capture_logs() as logs:
        await asyncio.sleep(HANG_SECONDS + 2)
    assert [log["event"] for log in logs] == ["intake.unreadable"]
    assert following.unreadable == "broken"
    stop.set("test")
    await task


async def test_nothing_waits_for_room_after_a_stop():
    stop = Stop()
    task = asyncio.create_task(FileIntake(PATH, BatchReceiver(room=0), InlineThread(), SystemClock(), {}).run(stop))
    await asyncio.sleep(1)
    stop.set("test")
    await task
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_file_is_followed_beyond_its_end_unless_it_is_read_once(tmp_path: Path):
    path = tmp_path / "queue"
    path.write_bytes(b"a1\n")
    receiver, stop = BatchReceiver(), Stop()
    following = FileIntake(path, receiver, InlineThread(), SystemClock(), {})
    task = asyncio.create_task(following.run(stop))
    await asyncio.sleep(60)
    assert (task.done(), receiver.ids) == (False, ["a1"])
    stop.set("test")
    await task
    assert following.has_lost_input is False


async def test_once_takes_a_last_line_without_a_newline_at_once_if_it_is_not_to_wait(tmp_path: Path):
    path = tmp_path / "queue"
    path.write_bytes(b"vid_1")
    receiver = BatchReceiver()
    began = asyncio.get_running_loop().time()
    await FileIntake(path, receiver, InlineThread(), SystemClock(), {}, once=True).run(Stop())
    assert receiver.ids == ["vid_1"]
    assert asyncio.get_running_loop().time() - began < 2 * INTERVAL_SECONDS
