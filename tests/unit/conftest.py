"""What all unit tests share: the log is set up for one test at most."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog


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
