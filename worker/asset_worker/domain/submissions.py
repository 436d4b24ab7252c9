"""A submission (a request to watch one asset), and the rejection of a line that holds none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from asset_worker.domain.assets import AssetId, Expectations, WaitFor

ACCOUNT_ORIGIN: Final = "account"
"""The origin of assets that nobody submitted: they were found in the account."""


class Options(msgspec.Struct, frozen=True, omit_defaults=True):
    """The optional parts of a submission."""

    metadata: dict[str, Any] | None = None
    """The submitter's own data, copied into the event."""
    wait_for: Mapping[str, WaitFor] = {}
    """By rendition; the settings apply to those that are not in it."""
    deadline: float | None = None
    """Seconds from acceptance; None: as the settings say, and `not_found_grace` more."""
    traceparent: str | None = None
    """W3C Trace Context, copied into the event (CloudEvents' distributed tracing extension)."""
    not_found_grace: float | None = None
    """Seconds from acceptance in which a 404 doesn't end the wait; None: as the settings say."""


class Submission(msgspec.Struct, frozen=True, gc=False):
    """A request to watch one asset.

    A million may be in memory at once. Most have no options, and all that come from one file share one `origin` object.
    """

    asset_id: AssetId
    origin: str
    """Where it came from: `file:/var/spool/assets`, `stdin`, `command`, `account`, `http`."""
    line: int
    """The line's number in its origin, from 1; 0: the origin has no lines."""
    options: Options | None = None

    @property
    def is_found(self) -> bool:
        """Whether nobody has asked for it: the asset was found in the account."""
        return self.origin == ACCOUNT_ORIGIN

    @property
    def source(self) -> str:
        """Origin and line, `file:/var/spool/assets:12`; the origin alone if it has no lines."""
        return source_of(self.origin, self.line)


def source_of(origin: str, line: int) -> str:
    """Return where a line is, `file:/var/spool/assets:12`; the origin alone if `line` is 0."""
    return f"{origin}:{line}" if line else origin


class Rejection(msgspec.Struct, frozen=True):
    """A line that holds no usable submission."""

    origin: str
    line: int
    reason: str
    raw: bytes
    """The line itself."""
    key: str
    """Identifies this line: no other has it, and it is the same whenever the line is read again."""
    tail: bytes | None = None
    """The end of a line that was not kept whole: `raw` is then its beginning, and what was between them is unknown."""


class Zeros(msgspec.Struct, frozen=True):
    """A run of NUL bytes in an input: data that was lost in a power failure, or a gap that a writer left."""

    origin: str
    line: int
    """The line in which it is, from 1."""
    count: int
    """In bytes."""
    end: int
    """Where it ends in the input, in bytes."""


class Batch(msgspec.Struct, frozen=True):
    """The content of lines that were read together, and the position to continue from once it is durable."""

    submissions: list[Submission]
    rejections: list[Rejection]
    intake: str
    """The name of the intake that the position belongs to: unique, and the same after a restart."""
    position: bytes | None
    """Only the intake knows what it means; None: this intake can't be read again."""
    zeros: Sequence[Zeros] = ()
    """The runs of zeros between the lines, to be reported."""
    accepts_settled: bool = True
    """Whether an asset that was settled longer ago than the dedupe window is accepted again. Not from a list of the
    account, which goes on to show it: nobody has submitted it again."""


def expectations_for(options: Options | None, defaults: Expectations) -> Expectations:
    """Return what is awaited of an asset submitted with these options; `defaults` applies to what they don't set.

    A grace of its own means that the upload may end as late as that. So the deadline of the settings, which is for the
    processing, is that much later.
    """
    if options is None:
        return defaults
    grace, deadline = options.not_found_grace, options.deadline
    return msgspec.structs.replace(
        defaults,
        wait_for={**defaults.wait_for, **options.wait_for},
        deadline=defaults.deadline + (grace or 0.0) if deadline is None else deadline,
        not_found_grace=defaults.not_found_grace if grace is None else grace,
    )
