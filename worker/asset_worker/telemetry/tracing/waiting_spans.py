"""The spans of requests and deliveries that wait to be sent: in memory, and at most `MOST_SPANS`."""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import islice
from typing import Final

from asset_worker.telemetry.tracing.spans import Span

MOST_SPANS: Final = 2_048
"""Spans that are kept at most, some 2 KB each: the default of OpenTelemetry's batch processor."""


class WaitingSpans:
    """Spans in the order in which they ended. When there are too many, new ones are dropped."""

    def __init__(self) -> None:
        self._spans: deque[Span] = deque()
        self._added = asyncio.Event()
        self._dropped = 0

    def __len__(self) -> int:
        return len(self._spans)

    def add(self, span: Span) -> None:
        """Keep a span, unless too many wait already."""
        if len(self._spans) >= MOST_SPANS:
            self._dropped += 1
            return
        self._spans.append(span)
        self._added.set()

    async def wait(self, count: int = 1) -> None:
        """Wait until so many spans are there."""
        while len(self._spans) < count:
            self._added.clear()
            await self._added.wait()

    def first(self, limit: int) -> list[Span]:
        """Return the spans that have waited longest, at most `limit`."""
        return list(islice(self._spans, limit))

    def remove(self, count: int) -> None:
        """Forget so many of the spans that have waited longest."""
        for _ in range(count):
            self._spans.popleft()

    def take_dropped(self) -> int:
        """Return how many spans were dropped since the last call."""
        dropped, self._dropped = self._dropped, 0
        return dropped
