"""The inbox of a fleet: what producers have submitted and no worker has accepted yet."""

from __future__ import annotations

from typing import Final

import msgspec

INBOX: Final = "inbox"
"""The name of the intake that reads it. Of its batches, the position says which rows they are (`position_of`)."""


class Asked(msgspec.Struct, frozen=True):
    """A row of the inbox."""

    number: int
    asset_id: str
    options: str | None
    """JSON; None: there are none."""


class TakenError(Exception):
    """Another worker has taken a row that this one was about to accept. Nothing was accepted."""


def position_of(numbers: list[int]) -> bytes:
    """Return the position of a batch: its rows."""
    return msgspec.json.encode(numbers)


def numbers_in(position: bytes) -> list[int]:
    """Return the rows that a position names."""
    return msgspec.json.decode(position, type=list[int])
