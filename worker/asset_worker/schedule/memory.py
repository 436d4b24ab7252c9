"""What was learned, as bytes to keep."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from asset_worker.schedule.classes import AssetClass, is_step
from asset_worker.schedule.life_table import BINS, HALF_LIFE, LifeTable

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION: Final = 1
"""Of the layout and of the bins: what another version wrote is not read."""

_ENDS_UNIT: Final = 1 / 64
_EXPOSURE_UNIT: Final = 1 / 16
"""What is kept is rounded, so that a hundred classes fit in 64 KiB."""
_MOST: Final = 2 * HALF_LIFE / _ENDS_UNIT
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class LearnedClass(msgspec.Struct, frozen=True, array_like=True):
    """The life table of one class, rounded."""

    name: AssetClass
    ends: list[_Count]
    exposure: list[_Count]


class Learned(msgspec.Struct, frozen=True, array_like=True):
    """All that was learned."""

    version: int = VERSION
    price: float | None = None
    """Of a look, in seconds of lag; None: not calibrated yet."""
    classes: list[LearnedClass] = []
    starts: list[tuple[list[AssetClass], float]] = []
    """How often each kind of wait began, with decay: the mix that the price is calibrated for."""

    @classmethod
    def of(
        cls, tables: Mapping[AssetClass, LifeTable], starts: Mapping[tuple[AssetClass, ...], float], price: float
    ) -> Learned:
        """What these tables hold."""
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
        )

    def tables(self) -> dict[AssetClass, LifeTable]:
        """The life tables by class."""
        return {
            each.name: LifeTable(
                [count * _ENDS_UNIT for count in each.ends], [count * _EXPOSURE_UNIT for count in each.exposure]
            )
            for each in self.classes
        }


class Unreadable(msgspec.Struct, frozen=True):
    """What was kept can't be used, and learning starts anew; `why` is for people."""

    why: str


def to_bytes(learned: Learned) -> bytes:
    """`learned` as bytes, less than 64 KiB."""
    return msgspec.msgpack.encode(learned)


def from_bytes(kept: bytes) -> Learned | Unreadable:
    """What `to_bytes` wrote, or why it can't be read; never an exception."""
    try:
        learned = msgspec.msgpack.decode(kept, type=Learned)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return Unreadable(f"damaged: {error}")
    if learned.version != VERSION:
        return Unreadable(f"written as version {learned.version}; this program reads version {VERSION}")
    if learned.price is not None and not (isfinite(learned.price) and learned.price > 0):
        return Unreadable(f"damaged: a price of {learned.price}")
    for each in learned.classes:
        if not is_step(each.name.step) or len(each.ends) != BINS or len(each.exposure) != BINS:
            return Unreadable(f"damaged: the class {each.name}")
        if sum(each.ends) > _MOST:
            return Unreadable(f"damaged: the class {each.name} holds more than decay leaves")
    if not all(key and isfinite(count) and count >= 0 for key, count in learned.starts):
        return Unreadable("damaged: a count of starts")
    return learned
