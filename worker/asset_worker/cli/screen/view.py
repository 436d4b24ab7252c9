"""Makes scenes of a running service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from asset_worker.cli.screen.scene import ROWS, AssetRow, Scene, end_of_all, shares_rows
from asset_worker.cli.screen.seen import Seen
from asset_worker.runtime.text import visible
from asset_worker.schedule.forecast import Forecast
from asset_worker.telemetry.snapshot import Snapshot
from asset_worker.telemetry.waiting import WaitingAsset
from asset_worker.telemetry.words import stage

FORECAST_LIMIT: Final = 500
"""The end of all that is pending is forecast for up to this many pending assets."""
FORECAST_SECONDS: Final = 2.0
"""How long such a forecast is shown, as making it looks at each of them."""


class Shown(Protocol):
    """The service, as a display reads it."""

    @property
    def is_built(self) -> bool:
        """Whether the methods may be called."""
        ...

    @property
    def is_stopping(self) -> bool:
        """Whether the run is about to end."""
        ...

    def snapshot(self) -> Snapshot:
        """Return the state of the worker now."""
        ...

    def waiting(self, limit: int) -> Sequence[WaitingAsset]:
        """Return the assets that have been pending longest, at most `limit`."""
        ...


class View:
    """What is shown of one run."""

    def __init__(
        self, service: Shown, seen: Seen, *, title: str, listening_to: Sequence[str], shows_ended: bool
    ) -> None:
        """`listening_to`: the inputs of a service; nothing: the run ends by itself. `shows_ended`: rows stay."""
        self._service = service
        self._seen = seen
        self._title = title
        self._listening_to = listening_to
        self._shows_ended = shows_ended and not listening_to
        self._left: Forecast | None = None
        self._unforeseen = 0
        self._left_at = float("-inf")

    def scene(self, *, elapsed: float, now: float, utc_offset: float) -> Scene | None:
        """Return what is to be shown now; None: the service is not built yet.

        `elapsed` is in seconds since the start, `now` in seconds since the epoch, UTC.
        """
        if not self._service.is_built:
            return None
        state = self._service.snapshot()
        total = state.pending + sum(state.completions.values())
        left, unforeseen = self._time_left(state.pending, elapsed)
        has_rows = shares_rows(pending=state.pending, total=total, ends_by_itself=not self._listening_to)
        return Scene(
            title=self._title,
            elapsed=elapsed,
            pending=state.pending,
            requests=state.requests,
            outcomes=state.completions,
            waiting=state.waiting_on,
            assets=self._rows() if has_rows else None,
            left=left,
            unforeseen=unforeseen,
            problems=state.problems,
            listening_to=self._listening_to,
            is_stopping=self._service.is_stopping,
            now=now,
            utc_offset=utc_offset,
        )

    def _rows(self) -> list[AssetRow]:
        pending = [
            AssetRow(
                each.asset_id,
                each.age,
                stage(each.progress.waiting_on),
                self._seen.name_of(each.asset_id),
                visible((each.progress.last_seen and each.progress.last_seen.file_type) or ""),
                each.left,
            )
            for each in self._service.waiting(ROWS)
        ]
        return [*(self._seen.ended if self._shows_ended else ()), *pending]

    def _time_left(self, pending: int, elapsed: float) -> tuple[Forecast | None, int]:
        if elapsed - self._left_at >= FORECAST_SECONDS:
            self._left_at = elapsed
            lefts = [each.left for each in self._service.waiting(FORECAST_LIMIT)] if pending <= FORECAST_LIMIT else []
            self._left, self._unforeseen = end_of_all(lefts), lefts.count(None)
        return (self._left, self._unforeseen) if pending else (None, 0)
