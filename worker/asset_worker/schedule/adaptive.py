"""The adaptive schedule: looks where the ends are, as often as they may cost.

It learns how long each class of asset takes (`hazard`), from more general to more special as evidence grows, and looks
at the times that are best for that (`optimum`). Before it has seen anything it assumes durations for which the
exponential schedule is about the best, so it starts as that one. One price of a look rules all classes: with the same
number of looks, any other split over the classes would detect later on average.
"""

from __future__ import annotations

from bisect import bisect_right
from math import exp, log
from typing import TYPE_CHECKING, Final, NamedTuple

from asset_worker.schedule import backlog
from asset_worker.schedule.classes import AssetClass, classify
from asset_worker.schedule.life_table import BINS, EDGES, WIDTHS, LifeTable, Rates, estimate, last_of, pooled
from asset_worker.schedule.memory import Learned
from asset_worker.schedule.plan import Plan, expected_looks, keller_interval, plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asset_worker.runtime.randomness import Uniform
    from asset_worker.schedule.ports import WaitState

JITTER: Final = 0.1
"""How much of a delay is left to chance. Assets accepted together fall out of step, and looks land at ever other ages,
which makes what is learned sharper than the intervals between looks."""
FLOOR: Final = 0.5
"""The shortest delay, in seconds."""
USUAL: Final = 0.01
"""The weight of one delay in the mean of those given lately."""
MAX_CLASSES: Final = 80
"""Classes with a life table of their own; later ones share one for their kind."""

_NEWS: Final = 0.1
"""An estimate is made anew when its evidence has grown by this share."""
_LEAST_EVIDENCE: Final = 10.0
_PRICE_TOLERANCE: Final = 0.05
_PRICE_RANGE: Final = 1000.0
_RAMP: Final = 100
_MOST_GROWTH: Final = 700.0
"""A power of e that a float still holds."""
_MIX_MEMORY: Final = 1000
"""The starts of the most frequent kind of wait at which all counts of starts are halved."""


class _Estimate(NamedTuple):
    rates: Rates
    stale_at: float
    step_stale_at: float


class Planned(NamedTuple):
    """A plan for one kind of wait, and what it rests on."""

    each: tuple[Rates, ...]
    rates: Rates
    """Of the last of them."""
    plan: Plan
    exponential_looks: float
    """Looks that `exponential` would take, the one at age 0 not counted."""
    fewest_looks: float
    """Looks that the ceiling alone makes."""


class LearnedSchedule:
    """A schedule that learns from every look.

    Args:
        learned: what was learned before.
        initial: seconds; with `multiplier` and `maximum`, the exponential schedule that it starts as.
        multiplier: growth of the delay in that schedule.
        maximum: seconds; no delay is longer, unless requests are scarce (`backlog_factor`).
        looks: the average number of looks that an asset may cost; None: as many as the exponential schedule would.
            Looks that `maximum` forces can't be saved; a quarter more than those is always spent.
        uniform: random numbers in [0, 1).
    """

    def __init__(
        self,
        learned: Learned | None = None,
        *,
        initial: float,
        multiplier: float,
        maximum: float,
        looks: float | None = None,
        uniform: Uniform,
    ) -> None:
        learned = learned or Learned()
        self._initial, self._multiplier, self._maximum = initial, multiplier, maximum
        self._looks = looks
        self._uniform = uniform
        # Planned so that jitter on either side stays within the bounds.
        self._floor = min(FLOOR, initial) / (1 - JITTER / 2)
        self._ceiling = max(maximum / (1 + JITTER / 2), self._floor)
        self._prior, self._first_price = _exponential_prior(initial, multiplier, maximum)
        self.price = learned.price or self._first_price
        """Of a look, in seconds of lag."""
        self.backlog_factor = 1.0
        """Above 1 when looks are scarce (`looked_late`): the price rises with its square, which by Keller's rule
        stretches delays by it, and the looks go where ends are likely; the ceiling rises too, to an hour at most."""
        self._usual_delay = initial
        """The mean of the delays given lately, in seconds, the stretch included."""
        self._tables = learned.tables()
        self._starts = {tuple(key): count for key, count in learned.starts}
        self._news_by_step: dict[str, float] = {}
        self._estimates: dict[AssetClass, _Estimate] = {}
        self._plans: dict[tuple[AssetClass, ...], Planned] = {}

    def __call__(self, look: WaitState) -> float:
        """Seconds from `look` to the next one."""
        key = self._key(look)
        if not key:
            delay = min(self._exponential_delay(look.attempt_number), self._ceiling) * self.backlog_factor
            delay = min(delay, self._stretched_ceiling)
        else:
            if look.attempt_number == 1:
                self._start(key)
            delay = self.planned(key).plan.delay(look.age)
        delay *= 1 + JITTER * (self._uniform() - 0.5)
        self._usual_delay += (delay - self._usual_delay) * USUAL
        return delay

    def observe(self, look: WaitState, *, since: float, ended: Sequence[str] = ()) -> None:
        """Learns from a look: `look.waiting_on` still waited at `look.age`, and `ended` ended since the one before.

        Args:
            look: as the schedule would get it; nothing waited on when the wait is over.
            since: age at the look before, which found all of them waiting; in seconds, 0 when there was none.
            ended: of `asset`, `hls`, `thumbnail`: those that the look found done, whatever the outcome.
        """
        if look.age <= since:
            return
        for name in self._admitted(classify(look.waiting_on, look.file_type, look.method)):
            self._tables[name].survived(since, look.age)
            self._news_by_step[name.step] = self._news_by_step.get(name.step, 0.0) + 0.1
        for name in self._admitted(classify(tuple(ended), look.file_type, look.method)):
            self._tables[name].ended(since, look.age, self._rates(name))
            self._news_by_step[name.step] = self._news_by_step.get(name.step, 0.0) + 1

    def looked_late(self, lateness: float, *, since: float) -> None:
        """Stretch or ease all delays a little, by how late a look was made.

        Looks that are due longer than a part of the usual delay show that more are wanted than can be made. Stretched
        delays allocate those that there are: where an end is likely more often than where it is not.

        Args:
            lateness: seconds from when the look was due to when it was made.
            since: seconds since this was told before.
        """
        usual = self._usual_delay
        self.backlog_factor = backlog.noted(self.backlog_factor, lateness=lateness, since=since, usual_delay=usual)

    def idled(self, seconds: float) -> None:
        """Ease all delays: for so long nothing was due, though a request could have been made."""
        self.backlog_factor = backlog.eased(self.backlog_factor, idle=seconds)

    def urgency(self, look: WaitState) -> float:
        """The best rate of looks, per second, at a wait of this class and age: √(hazard / (2 · price))."""
        key = self._key(look)
        if not key:
            return 1 / (self._exponential_delay(look.attempt_number) * self.backlog_factor)
        bin_ = min(bisect_right(EDGES, look.age) - 1, BINS - 1)
        hazard = self.planned(key).rates[bin_] / WIDTHS[bin_]
        interval = keller_interval(hazard, self.price * self.backlog_factor**2)
        return 1 / min(max(interval, self._floor), self._stretched_ceiling)

    def learned(self) -> Learned:
        """All that was learned so far, to be kept."""
        return Learned.of(self._tables, self._starts, self.price)

    def evidence(self) -> dict[tuple[AssetClass, ...], float]:
        """The ends seen of each class, with decay."""
        return {(name,): table.evidence for name, table in self._tables.items()}

    def planned(self, key: tuple[AssetClass, ...]) -> Planned:
        """The plan for a wait on all of these classes, up to date."""
        rates = [self._rates(name) for name in key]
        price = self.price * self.backlog_factor**2
        planned = self._plans.get(key)
        news = planned is None or any(old is not new for old, new in zip(planned.each, rates, strict=True))
        if planned is not None and not news and abs(planned.plan.price / price - 1) <= _PRICE_TOLERANCE:
            return planned
        last = last_of(rates)
        planned = Planned(
            tuple(rates),
            last,
            plan(last, price=price, floor=self._floor, ceiling=self._stretched_ceiling),
            expected_looks(self.exponential_ages(), self._maximum, last),
            expected_looks([0.0], self._ceiling, last),
        )
        self._plans[key] = planned
        if news and self.backlog_factor == 1:
            self._calibrate()
        return planned

    def exponential_ages(self) -> list[float]:
        """The ages at which `exponential` looks until its delay reaches the ceiling; the first is 0."""
        ages = [0.0]
        while len(ages) < _RAMP and (delay := self._exponential_delay(len(ages))) < self._maximum:
            ages.append(ages[-1] + delay)
        return ages

    @property
    def _stretched_ceiling(self) -> float:
        return backlog.stretched(self._ceiling, self.backlog_factor)

    def _exponential_delay(self, attempt_number: int) -> float:
        growth = min((attempt_number - 1) * log(self._multiplier), _MOST_GROWTH)
        return min(self._initial * exp(growth), self._maximum)

    def _key(self, look: WaitState) -> tuple[AssetClass, ...]:
        return self._admitted(classify(look.waiting_on, look.file_type, look.method))

    def _admitted(self, key: tuple[AssetClass, ...]) -> tuple[AssetClass, ...]:
        for name in key:
            if name not in self._tables:
                break
        else:
            return key
        admitted = []
        for name in key:
            full = name not in self._tables and len(self._tables) >= MAX_CLASSES
            admitted.append(name.shared if full else name)
            self._tables.setdefault(admitted[-1], LifeTable())
        return tuple(admitted)

    def _rates(self, name: AssetClass) -> Rates:
        own, known = self._tables[name], self._estimates.get(name)
        step_news = self._news_by_step.get(name.step, 0.0)
        if known is not None and own.news < known.stale_at and step_news < known.step_stale_at:
            return known.rates
        step = [table for other, table in self._tables.items() if other.step == name.step]
        kind = [table for other, table in self._tables.items() if other.step == name.step and other.kind == name.kind]
        # A level that holds no more than the next one has nothing to add.
        levels = [level for level, inner in ((step, kind), (kind, [own])) if len(level) > len(inner)]
        rates = estimate([*(pooled(level) for level in levels), own], self._prior)
        self._estimates[name] = _Estimate(
            rates,
            own.news + _NEWS * max(own.evidence, _LEAST_EVIDENCE),
            step_news + _NEWS * max(sum(table.evidence for table in step), _LEAST_EVIDENCE),
        )
        return rates

    def _start(self, key: tuple[AssetClass, ...]) -> None:
        self._starts[key] = self._starts.get(key, 0.0) + 1
        if self._starts[key] > _MIX_MEMORY:
            self._starts = {each: count / 2 for each, count in self._starts.items() if count > 1}

    def _calibrate(self) -> None:
        """Moves the price to where the looks to expect of all plans, by how often each begins, meet what they may cost.

        Looks grow with price ** -½ (Keller). Each estimate made anew takes half the step, so that noise does not rule.
        """
        begun = [(planned, self._starts[key]) for key, planned in self._plans.items() if key in self._starts]
        started = sum(count for _, count in begun)
        if started < _LEAST_EVIDENCE or started < 0.8 * sum(self._starts.values()):
            return
        wanted = sum(count * planned.plan.looks * (planned.plan.price / self.price) ** 0.5 for planned, count in begun)
        if self._looks is None:
            affordable = sum(count * max(planned.exponential_looks, planned.fewest_looks) for planned, count in begun)
        else:
            assets = sum(count for key, count in self._starts.items() if key[0].step == "asset")
            fewest = sum(count * planned.fewest_looks for planned, count in begun)
            affordable = max((self._looks - 1) * assets, 1.25 * fewest)
        price = self.price * min(max(wanted / affordable, 0.5), 2.0)
        # No look can save more lag than half the longest delay.
        most = max(self._first_price, self._maximum / 2)
        self.price = min(max(price, self._first_price / _PRICE_RANGE), most)


def _exponential_prior(initial: float, multiplier: float, maximum: float) -> tuple[Rates, float]:
    """Hazards, by bin, for which exponential delays are the best ones, and the price of a look at which they are.

    By Keller's rule, turned around: the hazard falls with the square of the delay, which grows linearly with age. The
    price is chosen so that six of seven assets end before the delay reaches its ceiling, or, where it does not grow, in
    ten delays on average.
    """
    growth = multiplier - 1
    price = initial * max(growth, 0.05)
    delays = (min(initial + growth * (start + width / 2), maximum) for start, width in zip(EDGES, WIDTHS, strict=False))
    return tuple(2 * price * width / delay**2 for width, delay in zip(WIDTHS, delays, strict=True)), price
