"""A submission (a request to watch one asset), and the rejection of a line that holds none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from asset_worker.domain.assets import AssetId, Expectations, WaitFor

RAW_BYTES_LIMIT: Final = 1024
"""Bytes of a rejected line that its event shows."""
RAW_BYTES_KEPT: Final = 1536
"""Bytes of a rejected line kept until secrets are redacted, so that a secret crossing the cut is redacted whole."""


class Options(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a submission may say besides the ID."""

    metadata: dict[str, Any] | None = None
    """The submitter's own data, which the event repeats."""
    wait_for: Mapping[str, WaitFor] = {}
    """By rendition; the settings hold for those that are not in it."""
    deadline: float | None = None
    """Seconds from acceptance; None: as the settings say."""
    traceparent: str | None = None
    """W3C Trace Context, repeated in the event (CloudEvents' distributed tracing extension)."""


class Submission(msgspec.Struct, frozen=True, gc=False):
    """A request to watch one asset.

    A million of these wait at once: most have no options, and all of one file share `origin`.
    """

    asset_id: AssetId
    origin: str
    """Where it came from: `file:/var/spool/assets`, `stdin`, `command`."""
    line: int
    """The line's number in its origin, from 1."""
    options: Options | None = None

    @property
    def source(self) -> str:
        """Origin and line: `file:/var/spool/assets:12`."""
        return f"{self.origin}:{self.line}"


class Rejection(msgspec.Struct, frozen=True):
    """A line that holds no usable submission."""

    origin: str
    line: int
    reason: str
    raw: bytes
    """The line itself, cut at `RAW_BYTES_KEPT`."""
    key: str
    """Identifies this line: no other has it, and it is the same whenever the line is read again."""


class Batch(msgspec.Struct, frozen=True):
    """Lines read together, and the position to go on from once they are durable."""

    submissions: list[Submission]
    rejections: list[Rejection]
    intake: str
    """The intake that the position belongs to: each has its own name, the same after a restart."""
    position: bytes | None
    """Only the intake knows what it means; None: this intake can't be read again."""


def expectations_for(options: Options | None, defaults: Expectations) -> Expectations:
    """Return what is awaited of an asset submitted with these options."""
    if options is None:
        return defaults
    return msgspec.structs.replace(
        defaults,
        wait_for={**defaults.wait_for, **options.wait_for},
        deadline=defaults.deadline if options.deadline is None else options.deadline,
    )
