"""Random numbers as a parameter, so that tests can replace them."""

from __future__ import annotations

from collections.abc import Callable

Uniform = Callable[[], float]
"""Returns a random number in [0, 1), as `random.random` does."""
