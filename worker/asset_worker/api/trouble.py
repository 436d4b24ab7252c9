"""What is wrong with the API now, for people: the present cause, as the latest attempts show it. Pure functions.

The breaker keeps the reason for which it opened: that decides what goes out. But a refused key may turn into an outage
and that into a rate limit, while no request succeeds, and people need the cause of now.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum
from typing import Final

import msgspec

from asset_worker.api.breaker import Change, Closed, Opened, Reason
from asset_worker.api.errors import EdgeRefusedError
from asset_worker.api.limits.limiter import Shortage
from asset_worker.api.responses import Verdict

RELIEF_SECONDS: Final = 60.0
"""A scarcity is over when there was no shortage for so long. Many limits are for a minute: others use up each one anew,
after a few of our requests."""
EDGE_SECONDS: Final = 60.0
"""After so many seconds of nothing but 401 and 403 without the API's code, people are asked to look: the API may have
changed the form of its refusals, so it may be the key after all."""


class Cause(Enum):
    """Why attempts fail."""

    KEY_REFUSED = "key_refused"
    UNAVAILABLE = "unavailable"
    PROXY_OR_KEY = "proxy_or_key"
    """Only 401 or 403 without the API's code are answered."""
    RATE_LIMITED = "rate_limited"


REASONS: Final[Mapping[Cause, Reason]] = {
    Cause.KEY_REFUSED: Reason.KEY_REFUSED,
    Cause.UNAVAILABLE: Reason.UNAVAILABLE,
    Cause.PROXY_OR_KEY: Reason.UNAVAILABLE,
}
"""As what a cause is logged. A rate limit is logged when its pause begins."""


class ApiProblem(msgspec.Struct, frozen=True):
    """What keeps requests from working now. Instants are seconds since the epoch, UTC."""

    cause: Cause
    since: float
    last_error: str
    next_try: float | None
    """When the next request may go out; None: that depends on one that is in flight."""
    stops_work: bool = True
    """False: the work goes on, more slowly."""


class Trouble(msgspec.Struct, frozen=True):
    """The cause of the attempts that failed in a row with the same one."""

    cause: Cause
    since: float
    """When the first of them failed, in monotonic seconds."""
    latest_at: float
    error: str
    """The text of the latest."""

    def is_lasting_edge(self, now: float) -> bool:
        """Return whether nothing but 401 and 403 without the API's code was answered for `EDGE_SECONDS`.

        The latest may be older, as attempts are rare by then, but not so old that the first few are all that is known.
        """
        is_over = now - self.since >= EDGE_SECONDS and self.latest_at - self.since >= EDGE_SECONDS / 3
        return self.cause is Cause.PROXY_OR_KEY and is_over

    def problem(self, *, now: float, wall: float, is_open: bool, delay: float) -> ApiProblem | None:
        """Return what people are to know of it; None: nothing yet.

        Args:
            now: monotonic seconds.
            wall: seconds since the epoch, UTC.
            is_open: whether the breaker is open, for a reason that is more than suspected.
            delay: seconds until the next request may go out; infinite: that is not known.
        """
        is_lasting_edge = self.is_lasting_edge(now)
        if not is_open and not is_lasting_edge:
            return None
        cause = Cause.UNAVAILABLE if self.cause is Cause.PROXY_OR_KEY and not is_lasting_edge else self.cause
        return ApiProblem(cause, wall - (now - self.since), self.error, wall + delay if delay < math.inf else None)


class Scarcity(msgspec.Struct, frozen=True):
    """Shortages that follow one another. Instants are monotonic seconds."""

    since: float
    """When the first of them began."""
    latest_at: float
    """When there was one last."""
    why: str
    """Why there was that one."""


def scarcity_after(before: Scarcity | None, shortage: Shortage | None, *, now: float) -> Scarcity | None:
    """Return the scarcity at `now`, when there is this shortage, or none; None: it is over, or there was none."""
    if shortage is not None:
        return Scarcity(shortage.since if before is None else before.since, now, shortage.why)
    return before if before is not None and now - before.latest_at < RELIEF_SECONDS else None


def problem_now(
    trouble: Trouble | None, scarcity: Scarcity | None, *, now: float, wall: float, is_open: bool, delay: float
) -> ApiProblem | None:
    """Return what people are to know now of failed attempts, or else of a limit that others use up.

    With the latter the work goes on, as far as the limit allows. The arguments are those of `Trouble.problem`.
    """
    found = None if trouble is None else trouble.problem(now=now, wall=wall, is_open=is_open, delay=delay)
    if found is not None or scarcity is None:
        return found
    since, next_try = wall - (now - scarcity.since), wall + delay if delay < math.inf else None
    return ApiProblem(Cause.RATE_LIMITED, since, scarcity.why, next_try, stops_work=False)


def trouble_after(
    before: Trouble | None, verdict: Verdict, error: BaseException | None, *, now: float
) -> Trouble | None:
    """Return the trouble after an attempt that ended with `error`; None: it succeeded, or there was none before."""
    match verdict:
        case Verdict.SUCCEEDED:
            return None
        case Verdict.LOST:
            return before
        case Verdict.KEY_REFUSED:
            cause = Cause.KEY_REFUSED
        case Verdict.RATE_LIMITED:
            cause = Cause.RATE_LIMITED
        case Verdict.FAILED:
            cause = Cause.PROXY_OR_KEY if isinstance(error, EdgeRefusedError) else Cause.UNAVAILABLE
    since = before.since if before is not None and before.cause is cause else now
    return Trouble(cause, since, now, str(error))


def change_of_cause(
    before: Trouble | None, after: Trouble | None, *, now: float, is_open: bool, was_edge: bool
) -> Change | None:
    """Return the change to log if the breaker's state is the same, but not what people should know of it.

    Args:
        before: the trouble before the latest attempt.
        after: the trouble after it.
        now: monotonic seconds.
        is_open: whether the breaker is open, for a reason that is more than suspected.
        was_edge: whether a lasting edge was reported, which opens no breaker.
    """
    if after is None:
        return Closed(now - before.since) if before is not None and was_edge else None
    reason, was = REASONS.get(after.cause), None if before is None else REASONS.get(before.cause)
    return Opened(reason) if reason is not None and is_open and reason is not was else None
