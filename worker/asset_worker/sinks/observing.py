"""The interfaces for those who watch deliveries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from yarl import URL

from asset_worker.domain.events import Stored
from asset_worker.runtime.calls import UNWATCHED, Call

WatchAttempt = Callable[[str, URL, Stored], AbstractContextManager[Call]]
"""Takes the sink's name, the URL without secrets, and the event of an HTTP request. Returns the context in which it is
made. It must return quickly and raise nothing."""
ReportSend = Callable[[str, Sequence[Stored], float, str | None], None]
"""Takes the sink's name, the events that an ordered sink was sent together, how many seconds that took, and why it
failed; None: the sink has them. It must return quickly and raise nothing."""


def unwatched(sink: str, url: URL, event: Stored) -> AbstractContextManager[Call]:
    """Watch nothing."""
    del sink, url, event
    return UNWATCHED


def unreported(sink: str, events: Sequence[Stored], seconds: float, why: str | None) -> None:
    """Do nothing."""
    del sink, events, seconds, why
