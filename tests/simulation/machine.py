"""The machine of a simulated worker: its clocks, which may be set, drift or start again."""

from __future__ import annotations

from collections.abc import Callable

from asset_worker.runtime.steady_time import Mark, Reading, steady_at

EPOCH = 1_900_000_000.0
"""What the wall clock shows when a history begins, in seconds since the epoch."""


class Machine:
    """The clocks of a machine, all of which follow the event loop's time."""

    def __init__(self, loop_time: Callable[[], float]) -> None:
        self.loop_time = loop_time
        self._boots = 1
        self._booted_at = -500.0
        self.set_by = 0.0
        """By how many seconds the wall clock was set forward so far."""
        self._drift = 0.0
        self._drifts_since = 0.0

    def true_time(self) -> float:
        """Return the time by a clock that is right, in seconds since the epoch."""
        return EPOCH + self.loop_time()

    def wall(self) -> float:
        """Return what the wall clock shows, in seconds since the epoch."""
        return self.true_time() + self.set_by + self._drift * (self.loop_time() - self._drifts_since)

    def drift(self, share: float) -> None:
        """Let the wall clock gain this share of each second from now on."""
        now = self.loop_time()
        self.set_by += self._drift * (now - self._drifts_since)
        self._drift, self._drifts_since = share, now

    def correct(self) -> None:
        """Set the wall clock right, and let it go right."""
        self.drift(0.0)
        self.set_by = 0.0

    def wall_ns(self) -> int:
        """Return what the wall clock shows, in nanoseconds since the epoch."""
        return int(self.wall() * 1e9)

    def read(self) -> Reading:
        """Return what the clocks show."""
        return Reading(f"boot-{self._boots}", self.loop_time() - self._booted_at, self.wall())

    def boot(self) -> None:
        """Start again: the clock of the boot begins at 0."""
        self._boots += 1
        self._booted_at = self.loop_time()


class ProcessClock:
    """The clocks as one process of the worker sees them: what stands in for `SystemClock`."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._ahead = 0.0
        self.resume(None)

    def now(self) -> float:
        """See `Clock`."""
        return self._machine.wall()

    def monotonic(self) -> float:
        """See `Clock`."""
        return self._machine.loop_time()

    def steady(self) -> float:
        """See `Clock`."""
        return self._machine.read().elapsed + self._ahead

    def mark(self) -> Mark:
        """See `Clock`."""
        reading = self._machine.read()
        return Mark(reading.elapsed + self._ahead, reading)

    def resume(self, mark: Mark | None) -> None:
        """See `Clock`."""
        present = self._machine.read()
        self._ahead = steady_at(present, mark) - present.elapsed
