"""What all tests share: virtual time on request, hypothesis profiles, log and signals as they were before each test."""

import asyncio
import gc
import inspect
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import aiohttp
import aioresponses.core
import pytest
import structlog
from hypothesis import HealthCheck, Phase, settings

from asset_worker.runtime.ending import SERVICE, STOPPING
from tests.doubles.virtual_time import VirtualTimeLoop

# The same cases in every run: new cases are for a thorough run, and must not fail somebody else's change.
settings.register_profile(
    "ci", deadline=None, derandomize=True, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("thorough", parent=settings.get_profile("ci"), derandomize=False, max_examples=5_000)
settings.register_profile(
    "mutation", parent=settings.get_profile("ci"), phases=[Phase.explicit, Phase.generate], report_multiple_bugs=False
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

# With them, each process that a test starts would send traces.
for _name in [each for each in os.environ if each.startswith("OTEL_")]:
    del os.environ[_name]

# Containers often set it. Then each of the hundreds of processes that tests start would compile the package anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "virtual_time: the event loop skips idle time")
    config.addinivalue_line("markers", "new_interpreter: commands are loaded anew, and not forked")


def pytest_collection_finish() -> None:
    """Keep garbage collections from walking over the thousands of tests, which live to the end."""
    gc.collect()
    gc.freeze()


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.get_closest_marker("virtual_time"):
        return {"virtual": VirtualTimeLoop}
    return {"asyncio": asyncio.new_event_loop}


@pytest.fixture(autouse=True)
def _signals_of_one_test() -> Iterator[None]:
    """A command that a test runs in this process leaves them ignored, also for each process that starts later."""
    handlers = {number: signal.getsignal(number) for number in (*STOPPING, *SERVICE)}
    yield
    for number, handler in handlers.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)


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


def _patch_aioresponses_for_stream_writers() -> None:
    """aiohttp 3.14 needs more of a response than aioresponses 0.7 provides (pnuckowski/aioresponses, issue 289)."""
    if "stream_writer" not in inspect.signature(aiohttp.ClientResponse.__init__).parameters:
        return
    make_reader = aioresponses.core.stream_reader_factory

    class Response(aiohttp.ClientResponse):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.setdefault("stream_writer", SimpleNamespace(output_size=0))
            super().__init__(*args, **kwargs)

    def reader_with_parser(*args: Any) -> aiohttp.StreamReader:
        # A body over the high-water mark pauses its parser, which is fed again once the body is read.
        reader = make_reader(*args)
        reader._protocol._parser = Mock(**{"feed_data.return_value": (False, b"")})
        return reader

    aioresponses.core.ClientResponse = Response  # type: ignore[misc]
    aioresponses.core.stream_reader_factory = reader_with_parser  # type: ignore[assignment]


_patch_aioresponses_for_stream_writers()
