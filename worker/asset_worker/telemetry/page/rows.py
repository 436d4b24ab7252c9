"""What the status page says in the rows of its tables: pure functions of the facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from asset_worker.domain.finished import FinishedAsset
from asset_worker.domain.worker_report import QuotaReport
from asset_worker.schedule.report import Brief
from asset_worker.telemetry import words
from asset_worker.telemetry.page.facts import InputFacts
from asset_worker.telemetry.page.links import safe_link
from asset_worker.telemetry.page.texts import MARKS, Instant, State, instant, number, shown
from asset_worker.telemetry.waiting import WaitingAsset


class WaitingRow(msgspec.Struct, frozen=True):
    """A pending asset."""

    asset_id: str
    filename: str
    stage: str
    age: str
    left: str
    """Empty: it is not known."""
    next_look: str


class Link(msgspec.Struct, frozen=True):
    """A link to another site."""

    name: str
    address: str


class FinishedRow(msgspec.Struct, frozen=True):
    """An asset whose wait has ended."""

    asset_id: str
    filename: str
    outcome: str
    mark: str
    """A sign beside the outcome: colour is never the only one."""
    style: State
    reason: str
    at: Instant
    took: str
    links: Sequence[Link]


class InputRow(msgspec.Struct, frozen=True):
    """One input."""

    name: str
    state: str
    position: str
    behind: str
    is_wrong: bool


class QuotaRow(msgspec.Struct, frozen=True):
    """One quota of the API."""

    name: str
    text: str
    width: float
    """What is left, in percent."""
    resets: str


class ClassRow(msgspec.Struct, frozen=True):
    """What was learned of one class of assets."""

    name: str
    seen: str
    half: str
    most: str
    nearly_all: str
    looks: str
    lag: str


_STYLES: Final[Mapping[str, State]] = {"ready": "well", "degraded": "attention"}
"""How outcomes look; all others are problems."""
_UNITS: Final = ("kB", "MB", "GB", "TB")


def waiting_row(asset: WaitingAsset, filename: str) -> WaitingRow:
    """Return the row of a pending asset. `filename`: empty, if it is not known."""
    if asset.due_in is None:
        next_look = "looking now"
    else:
        next_look = f"in {words.duration(asset.due_in)}" if asset.due_in >= 1 else "due"
    return WaitingRow(
        asset_id=shown(asset.asset_id),
        filename=shown(filename, 255),
        stage=shown(words.stage(asset.progress.waiting_on), 255),
        age=words.duration(asset.age),
        left="" if asset.left is None else words.time_left(asset.left),
        next_look=next_look,
    )


def finished_row(asset: FinishedAsset, now: float) -> FinishedRow:
    """Return the row of an asset whose wait has ended. `now` is in seconds since the epoch, UTC."""
    style = _STYLES.get(asset.outcome, "problem")
    links = ((name, safe_link(address)) for name, address in asset.addresses.items())
    return FinishedRow(
        asset_id=shown(asset.asset_id),
        filename=shown(asset.filename, 255),
        outcome=shown(asset.outcome, 64),
        mark=MARKS[style],
        style=style,
        reason=shown(asset.reason or ""),
        at=instant(asset.at, now),
        took=words.precise_duration(asset.took),
        links=[Link(shown(name, 64), address) for name, address in links if address is not None],
    )


def input_row(one: InputFacts) -> InputRow:
    """Return the row of an input."""
    position, behind = one.progress.position, one.progress.behind
    if one.unreadable is not None:
        state = f"can't be read: {shown(one.unreadable)}"
    else:
        state = "is followed" if behind is None else "is being read" if behind else "has been read to its end"
    return InputRow(
        name=shown(one.name),
        state=state,
        position="" if position is None else _bytes(position),
        behind="" if behind is None else _bytes(behind),
        is_wrong=one.unreadable is not None,
    )


def _bytes(count: int) -> str:
    """Return a number of bytes for people: `812 bytes`, `3.4 MB`."""
    if count < 1_000:
        return words.counted(count, "byte")
    power = min(len(str(count)) - 1, 3 * len(_UNITS)) // 3
    return f"{count / 1_000**power:,.1f} {_UNITS[power - 1]}"


def quota_row(quota: QuotaReport) -> QuotaRow:
    """Return the row of a quota."""
    width = min(max(100 * quota.remaining / quota.limit, 0.0), 100.0) if quota.limit > 0 else 0.0
    return QuotaRow(
        name=shown(quota.name, 64),
        text=f"{number(quota.remaining)} of {number(quota.limit)} requests left",
        width=round(width, 1),
        resets=f"renewed in {words.duration(quota.resets_in)}",
    )


def class_row(one: Brief) -> ClassRow:
    """Return the row of a class of assets."""
    return ClassRow(
        name=shown(one.name, 120),
        seen=number(one.evidence),
        half=words.about(one.p50),
        most=words.about(one.p90),
        nearly_all=words.about(one.p99),
        looks="–" if one.looks is None else f"{one.looks:.1f}",
        lag="–" if one.lag is None else words.precise_duration(one.lag),
    )
