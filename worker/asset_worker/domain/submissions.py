"""A submission: a request to watch one asset. And what a line is when it holds none."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from asset_worker.domain.assets import AssetId, Expectations, WaitFor

RAW_BYTES_LIMIT: Final = 1024
"""So much of a line is shown."""
RAW_BYTES_KEPT: Final = 1536
"""So much is kept until secrets are masked in it: one that begins before the limit is there in full."""
"""How much of a rejected line is shown."""


class Options(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a submission may say besides the ID."""

    metadata: dict[str, Any] | None = None
    hls: WaitFor | None = None
    thumbnail: WaitFor | None = None
    deadline: float | None = None
    """Seconds from acceptance."""
    traceparent: str | None = None
    """W3C Trace Context, handed on in the event (CloudEvents' distributed tracing extension)."""


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
        """Where it came from, to the line."""
        return f"{self.origin}:{self.line}"


class Rejection(msgspec.Struct, frozen=True):
    """A line that holds no usable submission."""

    origin: str
    line: int
    reason: str
    raw: bytes
    """The line itself, cut at `RAW_BYTES_KEPT`."""
    key: str
    """Tells this line from all others, and is the same whenever it is read again."""


class Batch(msgspec.Struct, frozen=True):
    """Lines read together, and the position to go on from once they are safe."""

    submissions: list[Submission]
    rejections: list[Rejection]
    intake: str
    """Whose position it is: one name for each intake, the same after a restart."""
    position: bytes | None
    """Opaque to all but the intake; None: this intake can't be read again."""


def expectations_for(options: Options | None, defaults: Expectations) -> Expectations:
    """What is awaited of an asset submitted with these options."""
    if options is None:
        return defaults
    return msgspec.structs.replace(
        defaults,
        hls=options.hls or defaults.hls,
        thumbnail=options.thumbnail or defaults.thumbnail,
        deadline=defaults.deadline if options.deadline is None else options.deadline,
    )
