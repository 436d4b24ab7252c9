"""The fleet, as this worker sees it: without one, these metrics have no values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from asset_worker.telemetry.queue_source import FleetState
from asset_worker.telemetry.sources import Sources
from asset_worker.telemetry.values.declaring import counter, gauge

T = TypeVar("T")


def _of_fleet(read: Callable[[FleetState], T]) -> Callable[[Sources], Mapping[tuple[()], T]]:
    def of_sources(sources: Sources) -> Mapping[tuple[()], T]:
        fleet = sources.queue.fleet
        return {} if fleet is None else {(): read(fleet)}

    return of_sources


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """Workers, ownership and the lease."""

    fleet_workers: Mapping[tuple[()], int] = gauge(
        "fleet_workers",
        "Workers of the fleet whose lease is valid, this one included, as it saw them last.",
        _of_fleet(lambda fleet: fleet.workers),
        unit="workers",
        empty=dict,
    )
    fleet_portion: Mapping[tuple[()], float] = gauge(
        "fleet_portion",
        "The portion of the API's quota that this worker uses; those of a fleet add up to 1 at most.",
        _of_fleet(lambda fleet: fleet.portion),
        unit="0 to 1",
        empty=dict,
    )
    fleet_unowned: Mapping[tuple[()], int] = gauge(
        "fleet_unowned_assets",
        "Pending assets that no worker owned when this one looked last, counted up to 50,000.",
        _of_fleet(lambda fleet: fleet.unowned),
        unit="assets",
        empty=dict,
    )
    fleet_unowned_age: Mapping[tuple[()], float] = gauge(
        "fleet_unowned_age_seconds",
        "For how long there have been assets that no worker owned, as this one saw it; 0: there are none.",
        _of_fleet(lambda fleet: fleet.unowned_age),
        unit="seconds",
        empty=dict,
    )
    fleet_leases_lost: Mapping[tuple[()], int] = counter(
        "fleet_leases_lost",
        "How often this worker could not extend its lease in time, or was retired by the others.",
        _of_fleet(lambda fleet: fleet.leases_lost),
        unit="leases",
        empty=dict,
    )
