"""What all unit tests share: the same random numbers in every run, and a log that is set up for one test at most."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from typing import Any

import pytest
import structlog


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    """A test that draws without a seed of its own, as a poller does for its audits, must not depend on those before."""
    random.seed(0)


@pytest.fixture(autouse=True)
def _log_of_one_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A logger that is first used after a command has set up the log would keep that, and no test could capture it."""
    configure = structlog.configure

    def configure_without_cache(**options: Any) -> None:
        configure(**options | {"cache_logger_on_first_use": False})

    monkeypatch.setattr(structlog, "configure", configure_without_cache)
    yield
    if structlog.is_configured():
        structlog.reset_defaults()
        logging.basicConfig(handlers=[logging.NullHandler()], force=True)
