"""What all unit tests share: the same random numbers in every run."""

from __future__ import annotations

import random

import pytest


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    """A test that draws without a seed of its own, as a poller does for its audits, must not depend on those before."""
    random.seed(0)
