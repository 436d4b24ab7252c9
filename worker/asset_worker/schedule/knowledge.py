"""What is known about how long assets take: a life table for each class, and estimates from general to specific.

A class with few ends of its own is estimated from those like it: the same kind of file, or the same step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from asset_worker.schedule.after_asset import AfterAsset
from asset_worker.schedule.classes import AssetClass, classify
from asset_worker.schedule.life_table import (
    PRIOR_WEIGHT,
    LifeTable,
    Rates,
    estimate,
    evidence_of,
    pool,
    quantile,
    seen_until,
    survival_from,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from asset_worker.schedule.ports import Renditions, WaitState

MAX_CLASSES: Final = 80
"""Classes with a life table of their own. Further classes of one step and kind share a table."""
CLOCK_TOLERANCE: Final = 5.0
"""Seconds that an asset's creation and its acceptance may be apart although it is new: clocks differ, and lines are not
read at once."""

ENDS_TO_KNOW_SLOW: Final = 100
"""From so many ends of a class on, it is known which of its waits are slow."""
_STORED_SHARE: Final = 0.995
"""Of the evidence in a table, a little is lost when it is rounded to be stored (`learned`)."""

_STALE_GROWTH: Final = 0.2
"""An estimate is out of date when its evidence has grown by this share."""
_LEAST_EVIDENCE: Final = 10.0
"""That growth is measured against at least this many ends."""


class Estimate(NamedTuple):
    """How long the waits of one class last."""

    rates: Rates
    """The hazard by bin of age."""
    survival: list[float]
    """The share of waits that last to each of `EDGES`."""
    seen_until: float
    """The age, in seconds, beyond which too few waits were seen to learn from."""
    p90: float
    """The duration within which nine tenths of all waits end, in seconds."""
    p99: float
    """The same for 99 of 100."""
    stale_at: float
    """The estimate is out of date when the table's `updates` reach this number."""
    step_stale_at: float
    """The same for the sum of updates over all tables of the step."""


class Knowledge:
    """The life tables of all classes, and the estimates made from them."""

    def __init__(self, prior: Rates, tables: dict[AssetClass, LifeTable], after_asset: AfterAsset) -> None:
        """`prior` is the hazard that is assumed before anything is learned. The others change by what is learned."""
        self._prior = prior
        self.tables = tables
        """What was learned here."""
        self._others: dict[AssetClass, LifeTable] = {}
        """What other workers have learned."""
        self.after_asset = after_asset
        self._updates_by_step: dict[str, float] = {}
        self._estimates: dict[AssetClass, Estimate] = {}

    def observe(self, look: WaitState, *, since: float, ended: Sequence[str], renditions: Renditions | None) -> None:
        """Learn from one look; see `AdaptiveSchedule.observe`."""
        if look.age <= since or not self._is_new(look):
            return
        for name in self._with_tables(classify(look.waiting_on, look.file_type, look.method)):
            table = self.tables[name]
            before = table.updates
            table.survived(since, look.age)
            self._count_update(name.step, table.updates - before)
        for name in self._with_tables(classify(tuple(ended), look.file_type, look.method)):
            self.tables[name].ended(since, look.age, self.estimate_of(name).rates)
            self._count_update(name.step, 1.0)
            if renditions is not None:
                self.after_asset.count(name, renditions)

    def use_others(self, tables: Mapping[AssetClass, LifeTable]) -> None:
        """Rest the estimates on what others have learned, too, from now on, and no longer on that of the last call."""
        before, self._others = self._others, {}
        for each, table in tables.items():
            [name] = self._with_tables((each,))
            self._others[name] = pool([self._others[name], table]) if name in self._others else table
        for name in before.keys() | self._others.keys():
            evidence = [each[name].evidence if name in each else 0.0 for each in (before, self._others)]
            changed = abs(evidence[1] - evidence[0])
            self.tables[name].updates += changed
            self._count_update(name.step, changed)

    def add(self, tables: Mapping[AssetClass, LifeTable]) -> None:
        """Add what somebody has learned who learns no more."""
        for each, table in tables.items():
            [name] = self._with_tables((each,))
            self.tables[name].add(table)
            self._count_update(name.step, table.evidence)

    def table_of(self, name: AssetClass) -> LifeTable:
        """Return what was learned of a class, here and elsewhere."""
        own = self.tables[name]
        return pool([own, self._others[name]]) if name in self._others else own

    @property
    def updates(self) -> float:
        """Grows by 1 with each end that was learned of, and by less with each wait that goes on."""
        return sum(self._updates_by_step.values())

    def known(self, classes: tuple[AssetClass, ...]) -> tuple[AssetClass, ...]:
        """Return the classes under which these were learned; empty: nothing was learned of one of them."""
        found = tuple(name if name in self.tables else name.shared for name in classes)
        return found if all(name in self.tables for name in found) else ()

    def classes_of(self, look: WaitState) -> tuple[AssetClass, ...]:
        """Return the classes whose steps are waited on, each with a life table."""
        return self._with_tables(classify(look.waiting_on, look.file_type, look.method))

    def estimate_of(self, name: AssetClass) -> Estimate:
        """Return the estimate for a class; recomputed when enough has been learned since."""
        updates, known = self.tables[name].updates, self._estimates.get(name)
        step_updates = self._updates_by_step.get(name.step, 0.0)
        if known is not None and updates < known.stale_at and step_updates < known.step_stale_at:
            return known
        tables = {other: self.table_of(other) for other in self.tables if other.step == name.step}
        own, step = tables[name], list(tables.values())
        kind = [table for other, table in tables.items() if other.kind == name.kind]
        # A level with the same tables as the more specific one would add nothing.
        levels = [level for level, inner in ((step, kind), (kind, [own])) if len(level) > len(inner)]
        chain = [*(pool(level) for level in levels), own]
        rates = estimate(chain, self._prior)
        survival = survival_from(rates)
        found = self._estimates[name] = Estimate(
            rates,
            survival,
            seen_until(chain),
            quantile(0.9, survival),
            quantile(0.99, survival),
            updates + _STALE_GROWTH * max(own.evidence, _LEAST_EVIDENCE),
            step_updates + _STALE_GROWTH * max(sum(table.evidence for table in step), _LEAST_EVIDENCE),
        )
        return found

    def slow_after(self, look: WaitState) -> float | None:
        """Return the age, in seconds, past which a step that is waited on is slower than 99 % of its class.

        None: too few of each class have ended. What was learned of other classes does not count.
        """
        enough = _STORED_SHARE * evidence_of(ENDS_TO_KNOW_SLOW)
        known = [name for name in self.classes_of(look) if self.table_of(name).evidence >= enough]
        return min((self.estimate_of(name).p99 for name in known), default=None)

    def waits_of(self, name: AssetClass) -> list[float]:
        """Return the waits that the estimate for a class rests on in each bin of age; other classes count for a few."""
        pairs = zip(self.table_of(name).exposure, self.estimate_of(name).survival, strict=False)
        return [lived + PRIOR_WEIGHT * left for lived, left in pairs]

    def _with_tables(self, classes: tuple[AssetClass, ...]) -> tuple[AssetClass, ...]:
        """Return the classes, each with a life table. Beyond `MAX_CLASSES`, new ones are replaced by `shared` ones."""
        if all(name in self.tables for name in classes):
            return classes
        found = []
        for name in classes:
            is_full = name not in self.tables and len(self.tables) >= MAX_CLASSES
            found.append(name.shared if is_full else name)
            self.tables.setdefault(found[-1], LifeTable())
        return tuple(found)

    def _is_new(self, look: WaitState) -> bool:
        """Return whether the asset was created at about the time it was accepted: within the p90 of its class."""
        apart = abs(look.head_start)
        if apart <= CLOCK_TOLERANCE:
            return True
        [name] = self._with_tables(classify(("asset",), look.file_type, look.method))
        return apart <= self.estimate_of(name).p90

    def _count_update(self, step: str, amount: float) -> None:
        self._updates_by_step[step] = self._updates_by_step.get(step, 0.0) + amount
