"""What attempts are about, and what became of the latest ones about each: a memory of limited size.

The API as a whole is judged by its answers, but some assets may fail alone: another account's, or one that the server
can't show. Only what is known about each of them shows the difference.

Nothing here reads a clock; instants are monotonic seconds.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, TypeVar

import msgspec

T = TypeVar("T")

MOST_SUBJECTS: Final = 1_000
"""So many of each kind are remembered, the latest ones."""
ANSWERED_LATELY_SECONDS: Final = 3_600.0
"""An asset that was answered within this time is likely to be answered when the API works."""
WORKS_SECONDS: Final = 45.0
"""An answer shows for this time that the API works, unless the same asset fails later. It is longer than the longest
default delay between two looks at an asset."""


class Endpoint(Enum):
    """The two kinds of requests."""

    RETRIEVE = "retrieve"
    LIST = "list"

    @property
    def other(self) -> Endpoint:
        """The other kind."""
        return Endpoint.LIST if self is Endpoint.RETRIEVE else Endpoint.RETRIEVE


class Subject(msgspec.Struct, frozen=True):
    """What an attempt is about."""

    endpoint: Endpoint
    asset_id: str
    """The asset; of a list, its first asset, or empty if the list is of all assets."""

    @property
    def key(self) -> str:
        """What is remembered together: each asset that is retrieved, and all lists."""
        return self.asset_id if self.endpoint is Endpoint.RETRIEVE else ""


class Memory(msgspec.Struct, frozen=True):
    """What is known about one subject."""

    is_answered_lately: bool
    has_failed: bool
    """Whether the latest attempt about it that said anything failed or was refused."""


class Subjects:
    """What became of the latest attempts about each subject, by its key."""

    def __init__(self) -> None:
        self._answered: dict[str, float] = {}
        self._working: dict[str, float] = {}
        """Those of `_answered` that have not failed since, in the order of their latest answers."""
        self._failures: dict[str, int] = {}
        """Failures in a row."""
        self._refused: dict[str, float] = {}
        """When each was first refused since its latest answer."""
        self._answered_at = float("-inf")

    def of(self, key: str, now: float) -> Memory:
        """Return what is known about a subject."""
        answered_at = self._answered.get(key)
        is_lately = answered_at is not None and now - answered_at <= ANSWERED_LATELY_SECONDS
        return Memory(is_lately, self.has_failed(key))

    def has_failed(self, key: str) -> bool:
        """Return whether the latest attempt about a subject that said anything failed or was refused."""
        return key in self._failures or key in self._refused

    def answered(self, key: str, now: float) -> None:
        """Record an answer."""
        self._answered_at = now
        self._failures.pop(key, None)
        self._refused.pop(key, None)
        _put(self._answered, key, now)
        _put(self._working, key, now)

    def failed(self, key: str) -> int:
        """Record that an attempt failed. Return how many have failed in a row."""
        self._working.pop(key, None)
        count = self._failures.get(key, 0) + 1
        _put(self._failures, key, count)
        return count

    def refused(self, key: str, now: float) -> bool:
        """Record a refusal. Return whether it concerns this subject alone: it was refused, then others answered."""
        self._working.pop(key, None)
        first = self._refused.get(key, now)
        _put(self._refused, key, first)
        return first < self._answered_at

    def forget_refusals(self) -> None:
        """Forget which subjects were refused: the key has changed."""
        self._refused.clear()

    def works_for_others(self, now: float) -> bool:
        """Return whether some subject was answered lately and has not failed since."""
        latest = next(reversed(self._working.values()), float("-inf"))
        return now - latest <= WORKS_SECONDS

    def failures(self, key: str) -> int:
        """Return how many attempts about a subject have failed in a row."""
        return self._failures.get(key, 0)


def _put(memory: dict[str, T], key: str, value: T) -> None:
    """Remember a value as the latest; forget the oldest if there are too many."""
    memory.pop(key, None)
    memory[key] = value
    if len(memory) > MOST_SUBJECTS:
        del memory[next(iter(memory))]
