"""What a planted fault is, and all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Final

import msgspec


class Planted(msgspec.Struct, frozen=True):
    """A fault of the worker."""

    what: str
    """What is wrong, on one line."""
    plant: Callable[[], AbstractContextManager[None]]
    """Returns a context in which the worker has the fault. It is entered before a world is put around the program."""
    words: tuple[str, ...]
    """Each violation that the fault causes has one of them."""

    def is_in(self, violations: Sequence[str]) -> bool:
        """Return whether one of the violations is about this fault."""
        return any(word in each for each in violations for word in self.words)


FAULTS: Final[dict[str, Planted]] = {}
"""By their names."""


def planted(name: str, *words: str) -> Callable[[Callable[[], Iterator[None]]], Callable[[], Iterator[None]]]:
    """Register a fault: the body of a context manager, whose docstring says what is wrong; see `Planted`."""

    def register(body: Callable[[], Iterator[None]]) -> Callable[[], Iterator[None]]:
        FAULTS[name] = Planted(body.__doc__ or "", contextmanager(body), words)
        return body

    return register
