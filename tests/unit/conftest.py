"""What all unit tests share: the same random numbers in every run, and a PostgreSQL server for those that need one."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.doubles import postgres

SYSTEM = "the system's"


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a server: of the newest version, or of that which the system has (the parameter `SYSTEM`)."""
    programs = postgres.programs_of_the_system() if getattr(request, "param", None) == SYSTEM else postgres.PROGRAMS
    with postgres.running_server(programs) as url:
        yield url


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    """A test that draws without a seed of its own, as a poller does for its audits, must not depend on those before."""
    random.seed(0)
