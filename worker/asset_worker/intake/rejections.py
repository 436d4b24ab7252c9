"""Rejected lines, many at a time: what the log shows of a batch, and which inputs hold nothing else. Pure.

Whoever may write to an input decides how many lines are rejected. So the log has one line for a batch, however many
they are, and an input that holds nothing else is one problem, which names it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from asset_worker.domain.submissions import Batch, Rejection, Zeros

REPORTED_IN_A_ROW: Final = 1000
"""Lines rejected in a row after which an input is reported: its writer doesn't write submissions at all."""


class RejectedRow(msgspec.Struct, frozen=True):
    """The lines of one input that were rejected in a row, up to the last that was read."""

    origin: str
    """See `Submission.origin`."""
    count: int
    since: float
    """When the first of them was rejected, in seconds of one clock."""
    reason: str
    """Why the last of them was."""


def row_after(before: RejectedRow | None, batch: Batch, *, now: float) -> RejectedRow | None:
    """Return the row once a batch of the same input has been accepted; None: no line was rejected since a good one.

    A repeat is a good line, too. `now` is by the clock of `RejectedRow.since`.
    """
    rejections = batch.rejections
    if batch.submissions:
        last_good = max(submission.line for submission in batch.submissions)
        before, rejections = None, [each for each in rejections if each.line > last_good]
    if not rejections:
        return before
    last = max(rejections, key=_line)
    since = now if before is None else before.since
    return RejectedRow(last.origin, len(rejections) + (before.count if before else 0), since, last.reason)


def shown_rejections(rejections: Sequence[Rejection]) -> dict[str, Any]:
    """Return the fields of the log's line about rejected lines, of which there is at least one."""
    first, last = min(rejections, key=_line), max(rejections, key=_line)
    return {**_where(first, last, len(rejections)), "reason": first.reason}


def shown_zeros(runs: Sequence[Zeros]) -> dict[str, Any]:
    """Return the fields of the log's line about runs of zeros, of which there is at least one."""
    return {**_where(runs[0], runs[-1], len(runs)), "bytes": sum(run.count for run in runs), "end": runs[-1].end}


def _where(first: Rejection | Zeros, last: Rejection | Zeros, count: int) -> dict[str, Any]:
    sources = [f"{each.origin}:{each.line}" for each in (first, last)]
    return {"source": sources[0]} if count == 1 else {"count": count, "first": sources[0], "last": sources[1]}


def _line(rejection: Rejection) -> int:
    return rejection.line
