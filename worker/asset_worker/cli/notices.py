"""What `wait` says on stderr about single assets: that the API does not know an ID yet, and why one is not ready."""

from __future__ import annotations

from collections.abc import Callable

from asset_worker.domain.assets import AssetId, Expectations, Missing, Observation, Outcome
from asset_worker.domain.submissions import expectations_for
from asset_worker.poller.decide import Defer, Settle
from asset_worker.queue.ports import Lease
from asset_worker.runtime.text import CUT, clip
from asset_worker.telemetry.words import duration

MOST = 10
"""So many assets are named with each kind of notice; of the others, a last line says how many there are."""
REASON_SHOWN = 300
"""Characters of a reason that are shown."""
SHOWN_IN_SECONDS = 120
"""Shorter times are shown in seconds, as people write them: `60 s`."""

WORDS = {outcome: outcome.value.replace("_", " ") for outcome in Outcome}
"""The outcomes, in words."""


def not_known_yet(lease: Lease, expectations: Expectations) -> str:
    """Return the notice that the API does not know an asset, which is still waited for."""
    expected = expectations_for(lease.submission.options, expectations)
    longest = min(expected.not_found_grace, expected.deadline)
    shown = f"{longest:g} s" if longest < SHOWN_IN_SECONDS else duration(longest)
    return f"{lease.submission.asset_id}: the API doesn't know this ID yet; waiting up to {shown}"


def not_ready(asset_id: AssetId, outcome: Outcome, reason: str | None) -> str:
    """Return the notice that the wait for an asset has ended, and it is not ready."""
    why = "" if reason is None else f": {clip(reason, REASON_SHOWN)}"
    return f"{asset_id}: {WORDS[outcome]}{why}"


class Notices:
    """Writes notices about the first assets of each kind; at the end, how many others there are."""

    def __init__(
        self,
        expectations: Expectations,
        write: Callable[[str], None],
        *,
        only_outcomes: bool,
        is_shown: Callable[[Settle], bool] = lambda _: False,
    ) -> None:
        """`write` takes one line. `only_outcomes`: nothing is said of an ID that is not known yet.

        `is_shown` returns whether the line on standard output already shows people how a wait ended, and why.
        """
        self._expectations = expectations
        self._write = write
        self._only_outcomes = only_outcomes
        self._is_shown = is_shown
        self._unknown = 0
        self._shown = 0
        self.settled = 0
        """Assets whose wait has ended."""
        self.not_ready = 0
        """How many of them are not ready."""

    def looked(self, lease: Lease, observation: Observation, step: Settle | Defer) -> None:
        """Note one look (`poller.observing.Observe`)."""
        if isinstance(step, Settle):
            self._note_end(lease, step)
        elif observation == Missing() and lease.progress.last_seen is None and not self._only_outcomes:
            self._unknown += 1
            if self._unknown <= MOST:
                self._write(not_known_yet(lease, self._expectations))
            elif self._unknown == MOST + 1:
                self._write(f"the API doesn't know other IDs yet either{CUT}")

    def _note_end(self, lease: Lease, step: Settle) -> None:
        self.settled += 1
        if step.verdict.outcome is Outcome.READY:
            return
        self.not_ready += 1
        if self._is_shown(step):
            self._shown += 1
        elif self.not_ready - self._shown <= MOST:
            self._write(not_ready(lease.submission.asset_id, step.verdict.outcome, step.verdict.reason))

    def finish(self) -> None:
        """Write how many assets are not ready and were not named."""
        if (others := self.not_ready - self._shown - MOST) > 0:
            self._write(f"{others} more {'is' if others == 1 else 'are'} not ready: see the events")
