"""Promises about the worker's clocks, held against the record of a history; each is a function as those of `model`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Final

from tests.simulation.machine import EPOCH

if TYPE_CHECKING:
    from tests.simulation.model import Record

MOMENT: Final = 0.1
"""Seconds between two instants that are the same: what the worker does between them takes no virtual time."""


def keeps_instants(record: Record) -> Iterator[str]:
    """A restart does not begin a wait again: each event gives the time of the acceptance."""
    if not record.is_clock_right:
        return
    accepted: dict[str, list[float]] = {}
    for line in record.world.log_lines:
        if line.event == "intake.accepted":
            for asset_id in line.fields.get("asset_ids") or [line.fields["asset_id"]]:
                accepted.setdefault(asset_id, []).append(line.at)
    completed: dict[str, float] = {}
    for event in filter(record.is_new, record.completions):
        asset_id, data = event["subject"], event["data"]
        before = completed.get(asset_id, -math.inf)
        logged = [at for at in accepted.get(asset_id, ()) if at > before + MOMENT]
        submitted = _loop_time(data["submitted_at"])
        if logged and submitted > logged[0] + MOMENT:
            yield f"submitted_at of {event['id']} is {submitted:.3f}, and it was accepted at {logged[0]:.3f}"
        completed[asset_id] = _loop_time(data["completed_at"])


def ends_no_wait_early(record: Record) -> Iterator[str]:
    """No wait ends by a deadline or a grace before that has passed, however the wall clock is set."""
    world, setup = record.world, record.setup
    if record.has_set_clock and world.power_cuts:
        return  # after a boot, only the wall clock shows for how long the machine was off
    least = {"timed_out": setup.deadline, "not_found": setup.not_found_grace}
    begun: dict[str, float] = {asset_id: truth.born for asset_id, truth in world.api.account.assets.items()}
    begun |= dict.fromkeys(world.completions_before, -math.inf)  # an earlier version began these waits
    for line in world.log_lines:
        if line.event != "asset.completed" or line.fields["outcome"] not in least:
            continue
        asset_id, outcome = line.fields["asset_id"], line.fields["outcome"]
        waited = line.at - begun.get(asset_id, -math.inf)
        if waited < least[outcome] - MOMENT:
            yield f"{asset_id} is said to be {outcome} {waited:.1f} s after its upload"


def _loop_time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp() - EPOCH
