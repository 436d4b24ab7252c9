"""Limits on how deeply JSON from outside may be nested.

The decoder accepts any depth that the stack allows. Such a document may be too deep to walk, or to encode as part of an
event, when more of the stack is in use. So the limits are far lower than what the decoder accepts.
"""

from __future__ import annotations

from typing import Final

METADATA_LEVELS: Final = 32
"""Levels that a submission's metadata may have; the object itself is the first."""
ANSWER_LEVELS: Final = 100
"""Levels that an answer of the API may have: far more than any real one."""


def nests_deeper(value: object, levels: int) -> bool:
    """Return whether decoded JSON nests objects and arrays more than `levels` deep."""
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(nests_deeper(each, levels - 1) for each in inner)
