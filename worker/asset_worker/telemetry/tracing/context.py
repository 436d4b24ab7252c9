"""IDs and parents of spans: pure. W3C Trace Context (www.w3.org/TR/trace-context) is the form outside the process."""

from __future__ import annotations

import hashlib
import re
from typing import Final

import msgspec

from asset_worker.telemetry.tracing.sampling import Sampler

_IDS: Final = r"((?!0{32})[0-9a-f]{32})-((?!0{16})[0-9a-f]{16})-([0-9a-f]{2})"
_VERSION_0: Final = re.compile(rf"00-{_IDS}")
_LATER_VERSION: Final = re.compile(rf"(?!00|ff)[0-9a-f]{{2}}-{_IDS}(?:-.*)?")
_SAMPLED: Final = 1
"""The flag of a `traceparent` by which its span is recorded. The other flags are not passed on."""


class SpanContext(msgspec.Struct, frozen=True):
    """What identifies a span, and whether it is sent."""

    trace_id: int
    """128 bits, not 0."""
    span_id: int
    """64 bits, not 0."""
    is_sampled: bool

    @property
    def traceparent(self) -> str:
        """The context as W3C Trace Context writes it, version 00."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{self.is_sampled:02x}"


def context_of(traceparent: str | None) -> SpanContext | None:
    """Return the context that a `traceparent` names; None: there is none, or it is invalid (section 3.2)."""
    text = traceparent or ""
    found = _VERSION_0.fullmatch(text) or _LATER_VERSION.fullmatch(text)
    if found is None:
        return None
    return SpanContext(int(found[1], 16), int(found[2], 16), bool(int(found[3], 16) & _SAMPLED))


class AssetTrace(msgspec.Struct, frozen=True):
    """Where the span of an asset is."""

    context: SpanContext
    parent: SpanContext | None
    """What its submission named; None: the asset's span begins a trace."""


class AssetTraces(msgspec.Struct, frozen=True):
    """Places the spans of assets. One asset has the same IDs in every process, for each completion of it."""

    source: str
    """The source of the events: the API's address."""
    sampler: Sampler
    salt: bytes = b""
    """What distinguishes a run that keeps no state from others: it completes the same asset again."""

    def place(
        self, asset_id: str, completion: int, traceparent: str | None, *, source: str | None = None
    ) -> AssetTrace:
        """Return where the span of an asset is. `source`: that of its event, if an earlier run has made it.

        `traceparent` is that of the submission, or of an event, which repeats it. An event without one from the
        submission has the asset's own context, which decides whether the span is sent.
        """
        digest = self._digest(self.source if source is None else source, asset_id, completion)
        own = SpanContext(int.from_bytes(digest[:16]) or 1, int.from_bytes(digest[16:]) or 1, is_sampled=False)
        parent = context_of(traceparent)
        if parent is not None and (parent.trace_id, parent.span_id) == (own.trace_id, own.span_id):
            return AssetTrace(parent, None)
        trace_id = own.trace_id if parent is None else parent.trace_id
        is_sampled = self.sampler.decides(trace_id, parent_is_sampled=None if parent is None else parent.is_sampled)
        return AssetTrace(SpanContext(trace_id, own.span_id, is_sampled), parent)

    def child_of(self, parent: SpanContext, span_id: int) -> SpanContext:
        """Return the context of a span within another one of this process."""
        is_sampled = self.sampler.decides(parent.trace_id, parent_is_sampled=parent.is_sampled)
        return SpanContext(parent.trace_id, span_id, is_sampled)

    def root(self, trace_id: int, span_id: int) -> SpanContext:
        """Return the context of a span that begins a trace."""
        return SpanContext(trace_id, span_id, self.sampler.decides(trace_id, parent_is_sampled=None))

    def _digest(self, source: str, asset_id: str, completion: int) -> bytes:
        # No part holds a zero byte, so that two assets never give the same text.
        text = f"{source}\0{asset_id}\0{completion}".encode(errors="surrogateescape")
        return hashlib.blake2b(text, digest_size=24, key=self.salt, person=b"asset span").digest()
