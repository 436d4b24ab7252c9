"""A run to be shown on a terminal, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from asset_worker.cli.screen.event_lines import event_line
from asset_worker.cli.screen.seen import Seen
from asset_worker.cli.screen.spans import without_styles
from asset_worker.domain.assets import AssetId, Observation, Unanswered
from asset_worker.domain.progress import Progress
from asset_worker.domain.submissions import Submission
from asset_worker.poller.decide import Settle
from asset_worker.queue.ports import Lease
from asset_worker.schedule.forecast import Forecast
from asset_worker.telemetry.problems import Problem
from asset_worker.telemetry.snapshot import Snapshot
from asset_worker.telemetry.waiting import WaitingAsset
from tests.doubles.looks import NOW, decided
from tests.doubles.terminal import Terminal


class Life(msgspec.Struct, frozen=True):
    """One asset of a scripted run: what looks show of it, and when, in seconds since the start."""

    asset_id: str
    looks: Sequence[tuple[float, Observation]]
    ends_at: float | None = None
    """When its wait is expected to end; None: that is not known."""
    accepted_at: float = 0.0


class ScriptedRun:
    """A service whose looks are scripted. It shows its events as lines for people on a terminal, if there is one."""

    def __init__(
        self,
        lives: Sequence[Life],
        *,
        seconds: float,
        terminal: Terminal | None = None,
        problems: Sequence[tuple[float, float, Problem]] = (),
    ) -> None:
        """`problems`: from when to when, in seconds since the start, there is one."""
        self.seen = Seen()
        self.is_built = False
        self.is_stopping = False
        self._lives = {life.asset_id: life for life in lives}
        self._seconds = seconds
        self._terminal = terminal
        self._problems = problems
        self._progress: dict[str, Progress] = {}
        self._outcomes: dict[str, int] = {}
        self._requests = 0

    async def run(self) -> int:
        self._clock = asyncio.get_running_loop().time
        self._started = self._clock()
        self.is_built = True
        looks: list[tuple[float, str, Any]] = [
            (at, life.asset_id, observation) for life in self._lives.values() for at, observation in life.looks
        ]
        looks += [(life.accepted_at, life.asset_id, None) for life in self._lives.values()]
        for at, asset_id, observation in sorted(looks, key=lambda each: each[0]):
            await asyncio.sleep(max(0.0, at - self._now))
            if observation is None:
                self._progress[asset_id] = Progress()
            else:
                self._look(asset_id, observation)
        await asyncio.sleep(max(0.0, self._seconds - self._now))
        self.is_stopping = True
        return 0

    @property
    def _now(self) -> float:
        return self._clock() - self._started

    def _look(self, asset_id: str, observation: Observation) -> None:
        self._requests += 1
        age = self._now - self._lives[asset_id].accepted_at
        progress = self._progress[asset_id]
        ready_age = None if progress.ready_at is None else NOW - progress.ready_at
        found = Lease(Submission(AssetId(asset_id), "command", 1), NOW - age, age, ready_age, None, 1, progress)
        step = decided(found, observation)
        self.seen.observe(found, observation, step)
        if isinstance(step, Settle):
            del self._progress[asset_id]
            outcome = step.verdict.outcome.value
            self._outcomes[outcome] = self._outcomes.get(outcome, 0) + 1
            if self._terminal is not None:
                line = event_line(step.event.body, columns=self._terminal.columns)
                self._terminal.write(f"{without_styles(line)}\n")
        else:
            self._progress[asset_id] = step.progress

    def snapshot(self) -> Snapshot:
        problems = tuple(problem for begins, ends, problem in self._problems if begins <= self._now < ends)
        return Snapshot(
            pending=len(self._progress),
            waiting_on=self._waiting_on(),
            completions=dict(self._outcomes),
            requests=self._requests,
            problems=problems,
        )

    def _waiting_on(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for progress in self._progress.values():
            for what in progress.waiting_on or ("first look",):
                counts[what] = counts.get(what, 0) + 1
        return counts

    def waiting(self, limit: int) -> list[WaitingAsset]:
        return [
            WaitingAsset(
                AssetId(asset_id), self._now - self._lives[asset_id].accepted_at, 1.0, progress, self._left(asset_id)
            )
            for asset_id, progress in list(self._progress.items())[:limit]
        ]

    def _left(self, asset_id: str) -> Forecast | None:
        ends_at = self._lives[asset_id].ends_at
        left = None if ends_at is None else max(1.0, ends_at - self._now)
        return None if left is None else Forecast(left, 2.5 * left)


UNANSWERED = Unanswered("GET /assets/…: 503 Service Unavailable")
