"""The plan of one run of the worker: what it does, and when it ends; and the exit codes."""

from __future__ import annotations

from enum import IntEnum

import msgspec

from asset_worker.domain.assets import AssetId


class Exit(IntEnum):
    """Exit codes: a contract with scripts.

    A one-off that a signal ended has none: it dies of that signal, which a shell shows as 128 + the signal's number.
    """

    DONE = 0
    """Done, and every asset is `ready`. For a service: it was stopped by SIGTERM or SIGINT."""
    NOT_READY = 1
    """Done, and at least one asset is not `ready`. Or the state directory was moved, deleted or replaced while the
    worker ran, or there was an unexpected error, which is in the log."""
    USAGE = 2
    """Bad usage or settings; or the state directory, the admin address, a sink or the proxy can't be used. Starting
    again does not help."""
    KEY_REFUSED = 3
    """The key is refused: `wait` ends at once, `run --once` after a minute. A service keeps trying."""
    TEMPORARY = 75
    """It could not start for a reason that may pass, so start it again: the state directory or the admin port is in
    use, the disk is full or failing, the key file is not there yet or is empty, or another process has locked the
    journal (`EX_TEMPFAIL` of sysexits.h)."""


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

    @property
    def is_one_off(self) -> bool:
        """Whether it is a step of somebody's script, as `wait` and `--once` are, and not a service."""
        return self.once or not self.keeps_state
