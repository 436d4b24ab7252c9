"""How deeply JSON from outside may nest.

The decoder takes any depth that its own stack allows. Such a document may be too deep to walk, or to encode again as a
part of an event where the stack is deeper. So each document is held to a limit far below that.
"""

from __future__ import annotations

from typing import Final

METADATA_LEVELS: Final = 32
"""Levels of a submission's metadata, the object itself being the first."""
ANSWER_LEVELS: Final = 100
"""Levels of an answer of the API, far more than any has."""


def nests_deeper(value: object, levels: int) -> bool:
    """Whether decoded JSON has more than `levels` objects and arrays within one another."""
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(nests_deeper(each, levels - 1) for each in inner)
