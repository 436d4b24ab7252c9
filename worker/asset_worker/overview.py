"""Reads from a run what its status page is made from, and samples the last hour."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Sequence

from asset_worker import __version__
from asset_worker.poller.recent import Recent
from asset_worker.runtime.clock import Clock
from asset_worker.schedule.adaptive import AdaptiveSchedule
from asset_worker.schedule.report import Brief, briefs
from asset_worker.telemetry.history import SAMPLE_SECONDS, History, Sample
from asset_worker.telemetry.page.facts import Facts, InputFacts, Process
from asset_worker.telemetry.page.view import CLASSES_SHOWN, WAITING_SHOWN
from asset_worker.telemetry.self_report import unit_of_this_process
from asset_worker.telemetry.snapshot import Snapshot
from asset_worker.telemetry.sources import Sources
from asset_worker.telemetry.waiting import WaitingAsset
from asset_worker.wiring import Parts


class Overview:
    """One run, as its status page shows it. What is read are counters and few assets, however many are pending."""

    def __init__(
        self,
        parts: Parts,
        sources: Sources,
        recent: Recent,
        *,
        snapshot: Callable[[], Snapshot],
        waiting: Callable[[int], Sequence[WaitingAsset]],
        is_stopping: Callable[[], bool],
        state_dir: str | None,
        clock: Clock,
    ) -> None:
        """`recent` is called after each look. `waiting` returns the assets that have been pending longest."""
        self._parts = parts
        self._sources = sources
        self._recent = recent
        self._snapshot = snapshot
        self._waiting = waiting
        self._is_stopping = is_stopping
        self._clock = clock
        self._history = History()
        self._process = Process(
            __version__, os.getpid(), socket.gethostname(), unit_of_this_process(), clock.now(), state_dir
        )

    def read(self) -> Facts:
        """Return the worker as it is now."""
        state, waiting = self._snapshot(), self._waiting(WAITING_SHOWN)
        return Facts(
            now=self._clock.now(),
            process=self._process,
            is_stopping=self._is_stopping(),
            state=state,
            waiting=waiting,
            names={each.asset_id: self._recent.name_of(each.asset_id) for each in waiting},
            finished=self._recent.finished,
            inputs=[InputFacts(each.name, each.progress, each.unreadable) for each in self._sources.inputs],
            samples=self._history.until(self._sample(state)),
            lag_bounds=state.detection_lags[()].bounds if state.detection_lags else (),
            learned=self._learned(),
        )

    async def keep_history(self) -> None:
        """Take a sample now and twice a minute, until cancelled."""
        while True:
            self._history.add(self._sample(self._snapshot()))
            await asyncio.sleep(SAMPLE_SECONDS)

    def _sample(self, state: Snapshot) -> Sample:
        return Sample(
            self._clock.steady(),
            pending=state.pending,
            completions=sum(state.completions.values()),
            requests=state.requests,
            lags=state.detection_lags[()].counts if state.detection_lags else (),
        )

    def _learned(self) -> list[Brief] | None:
        schedule = self._parts.schedule
        return briefs(schedule, most=CLASSES_SHOWN) if isinstance(schedule, AdaptiveSchedule) else None
