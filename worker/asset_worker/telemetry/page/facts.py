"""What the status page is made from: the worker at one instant, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from asset_worker.domain.assets import AssetId
from asset_worker.domain.finished import FinishedAsset
from asset_worker.domain.worker_report import InputReport
from asset_worker.schedule.report import Brief
from asset_worker.telemetry.history import Sample
from asset_worker.telemetry.snapshot import Snapshot
from asset_worker.telemetry.waiting import WaitingAsset


class Process(msgspec.Struct, frozen=True):
    """What does not change while the process runs."""

    version: str
    pid: int | None
    host: str | None
    unit: str | None
    """The systemd unit; None: none."""
    started_at: float
    """In seconds since the epoch, UTC."""
    state_dir: str | None
    """The state directory; None: the run keeps no state."""


class InputFacts(msgspec.Struct, frozen=True):
    """One input."""

    name: str
    progress: InputReport = InputReport()
    unreadable: str | None = None
    """What can't be read, and why; None: all can."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """The worker at one instant."""

    now: float
    """In seconds since the epoch, UTC."""
    process: Process
    is_stopping: bool = False
    state: Snapshot
    waiting: Sequence[WaitingAsset] = ()
    """Those that have been pending longest."""
    names: Mapping[AssetId, str] = {}
    """Their file names, as far as they are known."""
    finished: Sequence[FinishedAsset] = ()
    """The latest first."""
    inputs: Sequence[InputFacts] = ()
    samples: Sequence[Sample] = ()
    """The last hour, the present as the last one."""
    lag_bounds: Sequence[float] = ()
    """The upper bounds of the buckets of `Sample.lags`, in seconds."""
    learned: Sequence[Brief] | None = None
    """What the schedule has learned; None: it does not learn."""
