"""Randomness, as a parameter."""

from __future__ import annotations

from collections.abc import Callable

Uniform = Callable[[], float]
"""A random number in [0, 1), as `random.random` returns."""
