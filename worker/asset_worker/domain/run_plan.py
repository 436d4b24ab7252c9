"""The plan of one run of the worker: what it does, and when it ends; and the exit codes: pure."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from enum import IntEnum

import msgspec

from asset_worker.domain.assets import AssetId, Outcome


class Exit(IntEnum):
    """Exit codes: a contract with scripts.

    A one-off that a signal ended has none: it dies of that signal, which a shell shows as 128 + the signal's number.
    """

    DONE = 0
    """Done, and every asset is `ready`. For a service: it was stopped by SIGTERM or SIGINT."""
    NOT_READY = 1
    """Done, and at least one asset is not `ready`, or an event was not delivered. Or the state directory was moved,
    deleted or replaced while the worker ran, or there was an unexpected error, which is in the log. Of `dead-letters`:
    there is no such event or sink, or the worker does not answer. Of `doctor`: it found a problem."""
    USAGE = 2
    """Bad usage or settings; or the state directory, the admin address, the file of tokens, a sink or the proxy
    can't be used. Starting again does not help."""
    KEY_REFUSED = 3
    """The key is refused: `wait` ends at once, `run --once` after a minute. A service keeps trying.
    `doctor` tries it once."""
    TIME_RAN_OUT = 4
    """Done, at least one asset `timed_out`, and every other one is `ready`: waiting longer may help."""
    TEMPORARY = 75
    """It could not start for a reason that may pass, so start it again: the state directory or the admin port is in
    use, the disk is full or failing, the key file, the file of tokens or a file of a webhook is not there yet or is
    empty, or another process has locked the journal (`EX_TEMPFAIL` of sysexits.h)."""


class RunPlan(msgspec.Struct, frozen=True):
    """What a run does, and when it is done."""

    asset_ids: tuple[AssetId, ...] = ()
    """Assets to watch besides those that the intakes read."""
    once: bool = False
    """Read the queue file once, to its end."""
    keeps_state: bool = True
    """False: keep everything in memory, and let a deadline end a wait even if no request was answered."""
    ends_by_itself: bool = False
    """End when all inputs have ended and nothing is pending. False, for a service: go on until a signal comes."""
    key_refused_limit: float | None = None
    """End when the key has been refused for this many seconds; None: never."""
    may_be_traced: bool = True
    """False: send no traces, whatever the environment asks for."""

    @property
    def is_one_off(self) -> bool:
        """Whether it is a step of somebody's script, as `wait` and `--once` are, and not a service."""
        return self.once or not self.keeps_state


class RunEnd(msgspec.Struct, frozen=True):
    """How a run has ended."""

    is_refused: bool
    """The key was refused for `RunPlan.key_refused_limit`."""
    has_lost_input: bool
    """An input could not be read to its end."""
    has_left: bool
    """Assets are pending, events have not been delivered, or input is left to read because they were not."""
    outcomes: AbstractSet[str] | None
    """The outcomes of the plan's assets, those of interrupted runs included, and another word if a sink refused an
    event for good; None: they could not be read."""
    signalled: int | None
    """128 + the number of the signal that asked the run to stop; None: none did."""
    is_done: bool
    """The plan was done before the signal came."""
    was_reading: bool
    """An input had not ended."""


def exit_code(plan: RunPlan, end: RunEnd) -> int:
    """Return the exit code; 128 + the number of the signal that ended a one-off."""
    if end.is_refused:
        return Exit.KEY_REFUSED
    if end.has_lost_input:
        return Exit.NOT_READY
    if end.signalled is not None and plan.is_one_off and (end.has_left or not end.is_done):
        return end.signalled
    # Until its input has ended, a run that reads stdin is a service.
    if not plan.ends_by_itself or (end.signalled is not None and end.was_reading):
        return Exit.DONE
    if end.has_left or end.outcomes is None:
        return Exit.NOT_READY
    if end.outcomes <= {Outcome.READY}:
        return Exit.DONE
    return Exit.TIME_RAN_OUT if end.outcomes <= {Outcome.READY, Outcome.TIMED_OUT} else Exit.NOT_READY
