"""The poller's policy: one frozen value, made from the settings."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from asset_worker.domain.assets import Expectations
from asset_worker.domain.events import Redact
from asset_worker.domain.submissions import Submission

Traced = Callable[[Submission, int], Submission]
"""Takes a submission, and the number of the completion that its wait leads to. Returns it as its events show it. It
must be quick, and return an equal value for equal arguments."""


def untraced(submission: Submission, completion: int) -> Submission:
    """Return the submission as it is: its events have the trace context that it was submitted with, if any."""
    del completion
    return submission


class Batching(msgspec.Struct, frozen=True):
    """How looks share list requests."""

    limit: int = 50
    """Assets in one list request, at most."""
    ahead: float = 1.0
    """Seconds. Assets due within this time are listed early when a list request goes out anyway."""
    gather: float = 0.0
    """Seconds to wait after a list request that was not full, so that new assets can share the next one. At most
    `ahead`: everything else that becomes due during the wait was listed early, so only first looks are delayed."""
    confirm_all: bool = False
    """Whether a retrieve confirms every asset that a list shows done, however well lists have agreed so far."""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What is expected of assets, and how they are looked at."""

    expectations: Expectations
    """What is awaited of an asset whose submission doesn't say otherwise."""
    source: str
    """The events' CloudEvents `source`."""
    redact: Redact
    """Removes the key from the content of an event."""
    looks_at_once: int
    """Looks in progress at the same time, at most: retrieves and lists together."""
    transitions: bool = False
    """Whether each step of an asset is reported with an event."""
    batching: Batching | None = None
    """None: every look is a retrieve."""
    last_look: float = 0.0
    """Seconds that a look may take at an asset that was past its age limit before (`Expectations.unanswered_deadline`).
    Such an asset may come from a run that ended long ago, and gets the chance of one more answer."""
    traced: Traced = untraced
    """Gives a submission the trace context that its events have."""
    refusal_is_final: bool = False
    """Whether an asset that alone is refused is `not_found` after its grace; if not, the wait goes on to its deadline.
    Somebody waits for the end of `wait` and of `--once`; a service is there when the access is granted."""
