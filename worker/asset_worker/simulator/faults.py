"""Faults of the simulator: what can go wrong with an answer, how faults are written, and which one a request meets.

A fault is written `KIND[=ARGUMENT][:PROBABILITY][@FROM-TO]`, with times in seconds since it was set: `status=503:0.1`
fails one answer in ten; with `hang@5-10`, all requests hang from the fifth to the tenth second.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Collection, Sequence
from enum import StrEnum
from random import Random
from typing import Final

import msgspec


class FaultKind(StrEnum):
    """What can go wrong with an answer."""

    STATUS = "status"
    """An error of this status with a body as the API sends it; default 503."""
    HTML = "html"
    """An error of this status with a body as a gateway sends it; default 502."""
    SLOW = "slow"
    """The answer comes this many seconds late; default 1."""
    HANG = "hang"
    """There is no answer."""
    RESET = "reset"
    """The connection is reset."""
    CUT = "cut"
    """The body ends in the middle."""
    DRIP = "drip"
    """The body comes byte by byte, with this many seconds between two bytes; default 0.1."""
    TEXT = "text"
    """200, but the body is not JSON."""
    TYPES = "types"
    """200, but with values of wrong types."""
    STRANGER = "stranger"
    """200, but about another asset."""
    HUGE = "huge"
    """200, with a body of this many bytes; default 1 GiB."""
    REDIRECT = "redirect"
    """A redirect to this URL."""
    OMIT = "omit"
    """A list leaves out half of its assets."""
    LAG = "lag"
    """A list shows the state of this many (simulated) seconds ago; default 60."""
    MIX = "mix"
    """A list shows each asset with the fields of the next one."""
    BARE = "bare"
    """A list shows no renditions."""
    LIE = "lie"
    """A list shows each asset as it will be when all is done."""
    STALE = "stale"
    """The answer shows the state of this many (simulated) seconds ago; default 60."""
    GONE = "gone"
    """410: the receiver wants no more webhooks."""
    RETRY_AFTER = "retry-after"
    """503 with `Retry-After`, in seconds; default 5."""


_DEFAULTS: Final = {
    FaultKind.STATUS: "503",
    FaultKind.HTML: "502",
    FaultKind.SLOW: "1",
    FaultKind.DRIP: "0.1",
    FaultKind.HUGE: str(1 << 30),
    FaultKind.REDIRECT: "https://elsewhere.example/",
    FaultKind.LAG: "60",
    FaultKind.STALE: "60",
    FaultKind.RETRY_AFTER: "5",
}
OF_LISTS: Final = frozenset({FaultKind.OMIT, FaultKind.LAG, FaultKind.MIX, FaultKind.BARE, FaultKind.LIE})
"""Kinds that only lists meet."""
OF_RECEIVER: Final = (
    FaultKind.STATUS,
    FaultKind.HTML,
    FaultKind.SLOW,
    FaultKind.HANG,
    FaultKind.RESET,
    FaultKind.CUT,
    FaultKind.DRIP,
    FaultKind.HUGE,
    FaultKind.REDIRECT,
    FaultKind.GONE,
    FaultKind.RETRY_AFTER,
)
"""Kinds that the receiver of webhooks has: those that do without an asset."""
OF_API: Final = tuple(kind for kind in FaultKind if kind not in {FaultKind.GONE, FaultKind.RETRY_AFTER})
"""Kinds that the API has."""
MOST: Final = float(1 << 40)
"""The largest number of a fault: bytes, or seconds."""
_GRAMMAR = re.compile(
    r"(?P<kind>[a-z-]+)(?:=(?P<argument>.+?))?(?::(?P<probability>\d*\.?\d+))?(?:@(?P<start>\d*\.?\d+)-(?P<end>\d*\.?\d+)?)?"
)


class Fault(msgspec.Struct, frozen=True):
    """A fault: its kind, how often it occurs, and when. Times are seconds since it was set."""

    kind: FaultKind
    argument: str = ""
    probability: float = 1.0
    """From 0 to 1."""
    start: float = 0.0
    end: float = math.inf

    @property
    def number(self) -> float:
        """The argument as a number, for kinds that take one."""
        return float(self.argument)

    @classmethod
    def parse(cls, text: str, kinds: Collection[FaultKind] = OF_API) -> Fault:
        """Return the fault that a text describes.

        Raises:
            ValueError: the text is not a fault of one of these kinds.
        """
        match = _GRAMMAR.fullmatch(text)
        if match is None:
            raise ValueError(
                f"{text!r} is not a fault: write KIND[=ARGUMENT][:PROBABILITY][@FROM-TO], as in status=503:0.1"
            )
        if match["kind"] not in kinds:
            raise ValueError(f"{match['kind']!r} is not a kind of fault: use one of {', '.join(kinds)}")
        kind = FaultKind(match["kind"])
        probability = float(match["probability"] or 1)
        if probability > 1:
            raise ValueError(f"{text!r}: a probability is at most 1")
        argument = match["argument"] or _DEFAULTS.get(kind, "")
        if not argument.isprintable():
            raise ValueError(f"{argument!r} holds a control character")
        if kind is not FaultKind.REDIRECT and argument:
            _check_number(kind, argument)
        return cls(kind, argument, probability, float(match["start"] or 0), float(match["end"] or math.inf))


def _check_number(kind: FaultKind, argument: str) -> None:
    try:
        number = float(argument)
    except ValueError:
        raise ValueError(f"{argument!r} is not a number, and {kind} takes one") from None
    if not 0 <= number <= MOST:
        raise ValueError(f"{argument!r} is not between 0 and {MOST:.0f}")
    if kind in {FaultKind.STATUS, FaultKind.HTML} and not (number.is_integer() and 400 <= number <= 599):
        raise ValueError(f"{argument!r} is not the status of an error (400 to 599)")


def pick_fault(faults: Sequence[Fault], random: Random, *, since: float, is_list: bool) -> Fault | None:
    """Return the first fault that a request meets `since` seconds after the faults were set; None: it meets none."""
    for fault in faults:
        if fault.kind in OF_LISTS and not is_list:
            continue
        if fault.start <= since < fault.end and random.random() < fault.probability:
            return fault
    return None


class Faults:
    """The faults that are set, and since when."""

    def __init__(self, random: Random, kinds: Collection[FaultKind]) -> None:
        """`kinds`: those that texts may name."""
        self._random = random
        self._kinds = kinds
        self.current: tuple[Fault, ...] = ()
        self._set_at = 0.0

    def replace(self, *faults: Fault | str) -> None:
        """Replace the faults; their times count from now.

        Raises:
            ValueError: a text is not a fault.
        """
        self.current = tuple(each if isinstance(each, Fault) else Fault.parse(each, self._kinds) for each in faults)
        self._set_at = time.monotonic()

    def pick(self, *, is_list: bool = False) -> Fault | None:
        """Return the fault that a request meets now; None: it meets none."""
        return pick_fault(self.current, self._random, since=time.monotonic() - self._set_at, is_list=is_list)
