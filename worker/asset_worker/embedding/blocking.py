"""The function of the Python API for programs without asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent import futures
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from asset_worker.domain.events import Event
from asset_worker.embedding.background import SECRETS, Source, acquire, release
from asset_worker.embedding.completion import Completion, completion_of
from asset_worker.embedding.source import defaults_of, source_of
from asset_worker.embedding.terms import Seconds, What, checked_id, terms_of
from asset_worker.embedding.waits import Wait

T = TypeVar("T")

SIGNAL_SECONDS: Final = 0.5
"""How long a thread blocks at most before a signal is handled."""


def wait(
    asset_id: str,
    *,
    api_key: str | None = None,
    base_url: str | None = None,
    timeout: Seconds | None = None,
    wait_for: What | None = None,
    not_found_grace: Seconds | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Completion:
    """Wait until an asset is done, and return how that ended: `Client.wait` for programs without asyncio.

    Calls in several threads share requests and limits, and whatever `Client` has open for the same key. The arguments
    are those of `Client` and of `Client.wait`. Ctrl-C ends the wait.

    Raises:
        RuntimeError: an event loop runs in this thread, which the call would block: use `Client` there.
        KeyMissing: there is no key, or it can't be used.
        BadSettings: another argument, or a variable ASSET_WORKER_…, can't be used.
        KeyRefused: the API refuses the key.
        ValueError, TypeError: an argument can't be used.
    """
    _refuse_in_a_loop()
    source = source_of(api_key=api_key, base_url=base_url, state_dir=None)
    defaults = defaults_of(source, timeout=None, wait_for=None, not_found_grace=None)
    terms = terms_of(
        defaults,
        timeout=timeout,
        wait_for=wait_for,
        not_found_grace=not_found_grace,
        metadata=metadata,
        redact=SECRETS.redact,
    )
    ended: Future[Event | Exception] = Future()
    request = Wait(checked_id(asset_id, redact=SECRETS.redact), terms, lambda _, how: ended.set_result(how))
    how = _ended(source, request, ended)
    if isinstance(how, Exception):
        raise how
    return completion_of(how.body)


def _ended(source: Source, request: Wait, ended: Future[Event | Exception]) -> Event | Exception:
    """Return how the wait ended, with an engine that is open meanwhile."""
    background = acquire()
    opening = background.submit(background.open(source))
    try:
        engine = _result(opening)
        background.call(engine.begin, [request])
        try:
            return _result(ended)
        finally:  # Ctrl-C as well
            background.call(engine.cancel, request)
    finally:
        try:
            _result(background.submit(background.close_opened(opening)))
        finally:
            release(background)


def _result(future: Future[T]) -> T:
    """Return the result of a future, for which Ctrl-C is not missed.

    A signal that comes just before the interpreter blocks is handled when it goes on. So it never blocks for long.
    """
    while not futures.wait([future], timeout=SIGNAL_SECONDS).done:
        pass
    return future.result()


def _refuse_in_a_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(
        "an event loop runs in this thread, and `wait` would block it: use `async with asset_worker.Client() as "
        "client: await client.wait(…)`, which a notebook can do as well"
    )
