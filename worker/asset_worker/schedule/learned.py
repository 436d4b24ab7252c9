"""What the adaptive schedule has learned, as a value and as bytes to store."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from asset_worker.schedule.after_asset import AfterAsset, Shown
from asset_worker.schedule.classes import AssetClass, is_step
from asset_worker.schedule.life_table import BINS, HALF_LIFE, LifeTable, pool

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

VERSION: Final = 2
"""The version of the layout, of the bins and of what teaches. `from_bytes` reads only this version: version 1 learned
from assets that had ended before they were first looked at, and nothing shows which classes are wrong for that."""

_ENDS_UNIT: Final = 1 / 64
_EXPOSURE_UNIT: Final = 1 / 16
"""In assets. Counts are stored as multiples of these units, so that a hundred classes fit in 64 KiB."""
_MAX_ENDS: Final = 2 * HALF_LIFE / _ENDS_UNIT
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class LearnedClass(msgspec.Struct, frozen=True, array_like=True):
    """The life table of one class, rounded. The order of the fields is the stored format."""

    name: AssetClass
    ends: list[_Count]
    """Ends in each bin of age, in units of 1/64 asset."""
    exposure: list[_Count]
    """Waits that lasted through each bin of age, in units of 1/16 asset."""


class LearnedAfterAsset(msgspec.Struct, frozen=True, array_like=True):
    """Which renditions were left when assets ended (`after_asset`). The order of the fields is the stored format."""

    name: AssetClass
    shown: tuple[str, ...]
    """The renditions that these assets had shown before."""
    left: list[tuple[tuple[str, ...], float]]
    """How many there were of each case, with decay."""


class LearnedState(msgspec.Struct, frozen=True, array_like=True):
    """Everything that an adaptive schedule has learned. The order of the fields is the stored format."""

    version: int = VERSION
    price: float | None = None
    """The price of a request, in seconds of lag; None: not calibrated yet."""
    classes: list[LearnedClass] = []
    starts: list[tuple[list[AssetClass], float]] = []
    """How often each combination of classes began to be waited on, with decay: the price is calibrated for this mix."""
    requests_per_look: float = 1.0
    """What a look cost lately, in (0, 1]. For reports only: a worker starts at 1, since fewer assets may be pending."""
    after_asset: list[LearnedAfterAsset] = []
    """What was left when assets had ended."""

    @classmethod
    def of(
        cls,
        tables: Mapping[AssetClass, LifeTable],
        starts: Mapping[tuple[AssetClass, ...], float],
        price: float,
        requests_per_look: float,
        *,
        after_asset: Mapping[Shown, Mapping[tuple[str, ...], float]],
    ) -> LearnedState:
        """Return the state made of these life tables, counts of starts, price, cost of a look, and counts of cases."""
        return cls(
            price=price,
            classes=[
                LearnedClass(
                    name,
                    [round(each / _ENDS_UNIT) for each in table.ends],
                    [round(each / _EXPOSURE_UNIT) for each in table.exposure],
                )
                for name, table in tables.items()
            ],
            starts=[(list(key), count) for key, count in starts.items()],
            requests_per_look=requests_per_look,
            after_asset=[
                LearnedAfterAsset(shown.name, shown.renditions, [(left, round(n, 3)) for left, n in counts.items()])
                for shown, counts in after_asset.items()
            ],
        )

    def tables(self) -> dict[AssetClass, LifeTable]:
        """Return the life tables by class."""
        return {
            each.name: LifeTable(
                [count * _ENDS_UNIT for count in each.ends], [count * _EXPOSURE_UNIT for count in each.exposure]
            )
            for each in self.classes
        }

    def as_of_one(self) -> LearnedState:
        """Return this without what the decay would not have left, had one worker learned all of it."""
        tables = self.tables()
        for table in tables.values():
            table.add(LifeTable())
        after = AfterAsset({})
        after.add(self.after_asset_counts())
        starts = {tuple(classes): count for classes, count in self.starts}
        made = LearnedState.of(tables, starts, 1.0, self.requests_per_look, after_asset=after.counts)
        return msgspec.structs.replace(made, price=self.price)

    def after_asset_counts(self) -> dict[Shown, dict[tuple[str, ...], float]]:
        """Return the counts of what was left when assets had ended."""
        return {Shown(each.name, each.shown): dict(each.left) for each in self.after_asset}


def sum_of(learned: Sequence[LearnedState]) -> LearnedState:
    """Return what several workers have learned together: all their counts. The price is the first that there is."""
    tables: dict[AssetClass, LifeTable] = {}
    starts: dict[tuple[AssetClass, ...], float] = {}
    left: dict[Shown, dict[tuple[str, ...], float]] = {}
    for each in learned:
        for name, table in each.tables().items():
            tables[name] = pool([tables[name], table]) if name in tables else table
        for classes, count in each.starts:
            starts[tuple(classes)] = starts.get(tuple(classes), 0.0) + count
        for shown, counts in each.after_asset_counts().items():
            known = left.setdefault(shown, {})
            for case, count in counts.items():
                known[case] = known.get(case, 0.0) + count
    price = next((each.price for each in learned if each.price is not None), None)
    requests_per_look = learned[0].requests_per_look if learned else 1.0
    made = LearnedState.of(tables, starts, 1.0, requests_per_look, after_asset=left)
    return msgspec.structs.replace(made, price=price)


class UnreadableState(msgspec.Struct, frozen=True):
    """The stored bytes can't be used, so learning starts from nothing; `why` is for people."""

    why: str


def to_bytes(learned: LearnedState) -> bytes:
    """Return `learned` as MessagePack, less than 64 KiB."""
    return msgspec.msgpack.encode(learned)


def from_bytes(data: bytes) -> LearnedState | UnreadableState:
    """Return the state that `to_bytes` wrote, or why it can't be read. Never raises, whatever the bytes."""
    try:
        learned = msgspec.msgpack.decode(data, type=LearnedState)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return UnreadableState(f"damaged: {error}")
    if learned.version != VERSION:
        return UnreadableState(f"it is of version {learned.version}; this asset-worker reads version {VERSION}")
    if learned.price is not None and not (isfinite(learned.price) and learned.price > 0):
        return UnreadableState(f"damaged: a price of {learned.price}")
    for each in learned.classes:
        if not is_step(each.name.step) or len(each.ends) != BINS or len(each.exposure) != BINS:
            return UnreadableState(f"damaged: the class {each.name}")
        if sum(each.ends) > _MAX_ENDS:
            return UnreadableState(f"damaged: the class {each.name} holds more than decay leaves")
    if not 0 < learned.requests_per_look <= 1:
        return UnreadableState(f"damaged: {learned.requests_per_look} requests a look")
    if not all(key and isfinite(count) and count >= 0 for key, count in learned.starts):
        return UnreadableState("damaged: a count of starts")
    if not all(isfinite(count) and count >= 0 for each in learned.after_asset for _, count in each.left):
        return UnreadableState("damaged: a count of what was left")
    return learned
