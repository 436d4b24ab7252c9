"""What was seen of a history from outside: what the model compares with what the worker promises."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec


class Submission(msgspec.Struct):
    """An asset ID that somebody handed to the worker."""

    asset_id: str
    at: float
    """When its line was complete, or its request sent; for an upload to the account, its creation."""
    through: str
    """`file`, `http` or `account`."""
    certain_at: float = math.inf
    """From when on the worker must keep it: the line is in the file, or the request was answered with 202."""
    repeats: int = 0
    """How often the request was sent again, because it was not answered, or with an answer that says so."""


class Rejected(msgspec.Struct, frozen=True):
    """A line that holds no usable submission."""

    line: str
    at: float


class Exit(msgspec.Struct, frozen=True):
    """The end of a process."""

    at: float
    code: int
    started_at: float
    asked_at: float | None
    """When the operator asked it to stop; None: nobody did."""
    signals: int
    """How many times that was."""
    was_killed: bool
    error: str | None


class Line(msgspec.Struct, frozen=True):
    """A line of the worker's log."""

    at: float
    event: str
    level: str
    fields: Mapping[str, Any]


class Trouble(msgspec.Struct):
    """A time in which a fault lasted."""

    fault: object
    begins: float
    ends: float = math.inf
