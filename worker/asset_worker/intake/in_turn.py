"""An intake that one worker of a fleet runs at a time: another one goes on where that one was, once it has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, runtime_checkable

from asset_worker.domain.inbox import TakenError
from asset_worker.domain.worker_report import InputReport
from asset_worker.intake.ports import Intake
from asset_worker.runtime.stop import Stop


@runtime_checkable
class Turns(Protocol):
    """The fleet, which gives each task to one worker at a time."""

    async def take_turn(self, task: str) -> Mapping[str, bytes]:
        """Wait until this worker has the task. Return the positions that are stored with it."""
        ...

    async def turn_is_over(self) -> None:
        """Wait until this worker has no task any more: the others have retired it."""
        ...


class IntakeInTurn:
    """Runs an intake while this worker has its task. It is opened anew each time, with the positions of then."""

    def __init__(self, name: str, turns: Turns, open_: Callable[[Mapping[str, bytes]], Intake]) -> None:
        """`name` is that of the intake, and of its task."""
        self.name = name
        self._turns = turns
        self._open = open_
        self._intake: Intake | None = None

    @property
    def unreadable(self) -> str | None:
        """What can't be read now; None: everything can, or another worker reads."""
        return None if self._intake is None else self._intake.unreadable

    @property
    def unreadable_since(self) -> float | None:
        """Since when; None: everything can be read, or another worker reads."""
        return None if self._intake is None else self._intake.unreadable_since

    @property
    def is_following(self) -> bool:
        """Whether nothing is missed: while another worker reads, it is that one's to say."""
        return self._intake is None or self._intake.is_following

    @property
    def progress(self) -> InputReport:
        """How far it was read."""
        return InputReport() if self._intake is None else self._intake.progress

    @property
    def has_lost_input(self) -> bool:
        """Whether a part of the input could not be read, and no later run can read it."""
        return self._intake is not None and self._intake.has_lost_input

    async def run(self, stop: Stop) -> None:
        """Read while it is this worker's turn, until the stop."""
        while not stop.is_set():
            positions = await stop.race(self._turns.take_turn(self.name))
            if positions is None:
                return
            self._intake = self._open(positions)
            try:
                await self._run_until_over(self._intake, stop)
            except* TakenError:
                pass  # another worker has the task: what this one has read since is read by that one
            self._intake = None

    async def _run_until_over(self, intake: Intake, stop: Stop) -> None:
        ended = Stop()
        async with asyncio.TaskGroup() as tasks:
            watching = [
                tasks.create_task(_set_after(ended, stop.wait(), "stop")),
                tasks.create_task(_set_after(ended, self._turns.turn_is_over(), "over")),
            ]
            await intake.run(ended)
            for task in watching:
                task.cancel()

    def abandon(self) -> None:
        """Log what can't be read again."""
        if self._intake is not None:
            self._intake.abandon()


async def _set_after(ended: Stop, event: Awaitable[object], reason: str) -> None:
    await event
    ended.set(reason)
