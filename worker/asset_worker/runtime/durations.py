"""Durations as people write them: seconds, or text with units, as in `90`, `10m`, `1h30m`. Pure functions."""

from __future__ import annotations

import re
from typing import Final

UNITS: Final = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
"""The seconds of each unit, from the longest to the shortest: text names them in this order, each at most once."""
_COUNT: Final = r"[0-9]{1,12}(?:\.[0-9]{1,9})?"
PATTERN: Final = rf"^(?=[0-9]){''.join(f'(?:({_COUNT}){unit})?' for unit in UNITS)}$"
"""The form of a text with units, as a regular expression that JSON Schema understands."""
_FORM: Final = re.compile(PATTERN, re.ASCII)
WORDS: Final = 'a number of seconds, or text with units, such as "90s", "10m" or "1h30m"'
"""What a duration must be, for messages."""


def seconds_of(text: str) -> float:
    """Return the seconds of a text with units.

    Raises:
        ValueError: it has no units, an unknown one, one twice, or a shorter one before a longer one.
    """
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"it must be {WORDS}")
    return sum(float(count) * seconds for count, seconds in zip(found.groups("0"), UNITS.values(), strict=True))


def seconds_or_duration(text: str) -> float:
    """Return the seconds of a plain number, or of a text with units.

    Raises:
        ValueError: it is neither.
    """
    try:
        return float(text)
    except ValueError:
        return seconds_of(text)
