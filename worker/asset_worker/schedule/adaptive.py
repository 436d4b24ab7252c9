"""The adaptive schedule: it looks when ends are likely, as often as its budget of looks allows.

It learns how long each class of asset takes (`life_table`), from general to specific as evidence grows, and plans the
best ages for looks (`plan`). Before it has learned anything it assumes durations for which the exponential schedule is
about optimal, so it starts like that one. All classes share one price of a look: for the same number of looks, any
other split between the classes would detect ends later on average.
"""

from __future__ import annotations

from math import exp, log
from typing import TYPE_CHECKING, Final, NamedTuple

from asset_worker.schedule import backlog
from asset_worker.schedule.after_asset import AfterAsset
from asset_worker.schedule.forecasts import Forecasts
from asset_worker.schedule.knowledge import Knowledge
from asset_worker.schedule.learned import LearnedState, sum_of
from asset_worker.schedule.life_table import EDGES, WIDTHS, Rates, rates_of_last, survival_at, survival_from
from asset_worker.schedule.plan import Plan, plan
from asset_worker.schedule.ramps import Ramp, follow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asset_worker.domain.assets import Expectations
    from asset_worker.runtime.randomness import Uniform
    from asset_worker.schedule.classes import AssetClass
    from asset_worker.schedule.forecast import Forecast
    from asset_worker.schedule.knowledge import Estimate
    from asset_worker.schedule.ports import Renditions, WaitState

JITTER: Final = 0.1
"""The random share of a delay. Assets accepted together drift apart, and looks fall at varying ages, so that what is
learned is finer than the intervals between looks."""
FLOOR: Final = 0.5
"""The shortest delay, in seconds."""
USUAL_DELAY_WEIGHT: Final = 0.01
"""The weight of one delay in the running mean of delays."""
REQUESTS_REMEMBERED: Final = 100
"""The requests over which the cost of a look is averaged, with exponential decay."""
LEAST_GROWTH: Final = 0.05
"""By how much delays beyond what was learned grow with each second, at least: they must leave a peak's short ones."""
_LEAST_STARTS: Final = 10.0
"""The price is calibrated from at least this many starts."""
_PRICE_TOLERANCE: Final = 0.05
"""A plan is out of date when the price has changed by more than this share."""
_FACTOR_TOLERANCE: Final = 0.1
"""The same for the factors of the price that change all the time: the cost of a look and the backlog."""
_PRICE_RANGE: Final = 1000.0
"""The lowest price is the first one divided by this."""
_MAX_EXPONENT: Final = 700.0
"""A float can still hold e to this power."""
_MAX_STARTS: Final = 1000
"""When one combination of classes has started this often, all counts of starts are halved."""


class WaitPlan(NamedTuple):
    """The plan for waits on one combination of classes, and what it was made from."""

    each: tuple[Rates, ...]
    """The hazard of each class."""
    rates: Rates
    """The hazard of the whole wait, which ends with the last of them."""
    seen_until: float
    """The age, in seconds, beyond which too few such waits were seen to learn from."""
    plan: Plan
    alone: Plan
    """The plan if each look were a request of its own, and none were late."""
    exponential_looks: float
    """The expected number of looks of the exponential schedule, without the one at age 0."""
    fewest_looks: float
    """The expected number of looks if every delay is the longest."""


class AdaptiveSchedule:
    """A schedule that learns from every look.

    Args:
        learned: what was learned before; None: nothing.
        initial: the delay after the first look, in seconds, of the exponential schedule that it starts like.
        multiplier: the growth of the delay in that schedule.
        maximum: the longest delay, in seconds, except while there is a backlog (`backlog_factor`).
        looks: the average number of looks that an asset may cost; None: as many as the exponential schedule takes.
            The looks that `maximum` makes necessary are always made, and at least a quarter more.
        requests_per_look: what a look costs as long as no request was reported (`requested`), in (0, 1].
        uniform: returns random numbers in [0, 1).
    """

    def __init__(
        self,
        learned: LearnedState | None = None,
        *,
        initial: float,
        multiplier: float,
        maximum: float,
        looks: float | None = None,
        requests_per_look: float = 1.0,
        uniform: Uniform,
    ) -> None:
        learned = learned or LearnedState()
        self._initial, self._multiplier, self._maximum = initial, multiplier, maximum
        self._looks = looks
        self._uniform = uniform
        # Plans leave room on both sides, so that a delay with jitter stays within the bounds.
        self._floor = min(FLOOR, initial) / (1 - JITTER / 2)
        self._ceiling = max(maximum / (1 + JITTER / 2), self._floor)
        prior, self._first_price = _exponential_prior(initial, multiplier, maximum)
        self._usual = Ramp(initial, multiplier - 1, longest=maximum)
        self._tail_growth = max(multiplier - 1, LEAST_GROWTH)
        self.price = learned.price or self._first_price
        """The price of a request, in seconds of lag: that at which an asset polled alone gets its budget of looks."""
        self.backlog_factor = 1.0
        """Above 1 while looks are late (`looked_late`). The price grows with its square, which by Keller's rule
        multiplies delays by the factor and saves looks where ends are unlikely. The longest delay grows too, up to an
        hour."""
        # A ratio of sums: what a look costs is all requests over all looks, not the mean over requests of 1/looks.
        self._requested_looks = REQUESTS_REMEMBERED / requests_per_look
        self._price_factor = 1.0
        """How many times the price of a request a look costs at present; follows its causes with some tolerance."""
        self._usual_delay = initial
        """The running mean of the delays returned, in seconds, backlog factor included."""
        self._knowledge = Knowledge(prior, learned.tables(), AfterAsset(learned.after_asset_counts()))
        self._starts = {tuple(key): count for key, count in learned.starts}
        self._plans: dict[tuple[AssetClass, ...], WaitPlan] = {}
        self._forecasts = Forecasts(self._knowledge, lambda classes: self.plan_for(classes).plan)

    def __call__(self, look: WaitState) -> float:
        """Return the seconds from `look` to the next one."""
        classes = self._knowledge.classes_of(look)
        if not classes:
            delay = min(self._exponential_delay(look.attempt_number), self._ceiling) * self.backlog_factor
            delay = min(delay, self._stretched_ceiling)
        else:
            if look.attempt_number == 1:
                self._count_start(classes)
            delay = self.plan_for(classes).plan.delay(look.age)
        delay *= 1 + JITTER * (self._uniform() - 0.5)
        self._usual_delay += (delay - self._usual_delay) * USUAL_DELAY_WEIGHT
        return delay

    def observe(
        self, look: WaitState, *, since: float, ended: Sequence[str] = (), renditions: Renditions | None = None
    ) -> None:
        """Learn from one look, at age `look.age`: which steps have ended since age `since`, and which have not.

        Nothing is learned from an asset that was created long before it was accepted, or long after: its age says
        little about how long it takes.

        Args:
            look: the wait after this look; `waiting_on` are the steps that have not ended, none if the wait is over.
            since: the age in seconds at the look before, which found none of the steps ended.
            ended: the steps (`asset`, or renditions) that this look found ended, whatever the outcome.
            renditions: which renditions were shown before, and go on; None: that is not known.
        """
        self._knowledge.observe(look, since=since, ended=ended, renditions=renditions)

    def requested(self, looks: int) -> None:
        """Learn that one request looked at this many assets. Requests that only confirm or check are not reported."""
        self._requested_looks += looks - self._requested_looks / REQUESTS_REMEMBERED

    @property
    def requests_per_look(self) -> float:
        """The requests that one look costs, in (0, 1]: below 1 while looks share list requests."""
        return REQUESTS_REMEMBERED / self._requested_looks

    def chance_of_end(self, look: WaitState, *, within: float) -> float:
        """Return the chance that a wait that went on `within` seconds ago has ended by now, at age `look.age`.

        0: nothing is known about how long such a wait takes.
        """
        classes = self._knowledge.classes_of(look)
        if not classes:
            return 0.0
        estimates = [self._knowledge.estimate_of(name) for name in classes]
        [first, *others] = estimates
        survival = survival_from(rates_of_last([each.rates for each in estimates])) if others else first.survival
        before = survival_at(max(look.age - within, 0.0), survival)
        return 1 - survival_at(max(look.age, 0.0), survival) / before if before > 0 else 1.0

    def slow_after(self, look: WaitState) -> float | None:
        """Return the age, in seconds, past which a wait is slower than 99 % of its class; None: that is not known."""
        return self._knowledge.slow_after(look)

    def forecast(self, look: WaitState, *, shown: tuple[str, ...], expectations: Expectations) -> Forecast | None:
        """Return the time left from the last look at an asset; None: too little of its class was seen to know that.

        See `Forecasts.of`.
        """
        return self._forecasts.of(look, shown=shown, expectations=expectations)

    def looked_late(self, lateness: float, *, since: float) -> None:
        """Lengthen or shorten all delays a little, depending on how late a look was made.

        Looks that are late by more than a share of the usual delay mean that more looks are due than can be made.
        With longer delays, the looks that can be made go to the waits that are likely to have ended.

        Args:
            lateness: seconds from when the look was due to when it was made.
            since: seconds since the last call of this method.
        """
        usual = self._usual_delay
        self.backlog_factor = backlog.after_look(self.backlog_factor, lateness=lateness, since=since, usual_delay=usual)

    def idled(self, seconds: float) -> None:
        """Shorten stretched delays: no look was due for this long, although a request could have been made."""
        self.backlog_factor = backlog.after_idle(self.backlog_factor, idle=seconds)

    def learned(self) -> LearnedState:
        """Return everything that was learned here so far, to be stored."""
        return LearnedState.of(
            self._knowledge.tables,
            self._starts,
            self.price,
            self.requests_per_look,
            after_asset=self._knowledge.after_asset.counts,
        )

    def use_others(self, learned: Sequence[LearnedState]) -> None:
        """Plan with what others have learned, too, from now on, and no longer with that of the last call."""
        together = sum_of(learned)
        self._knowledge.use_others(together.tables())
        self._knowledge.after_asset.use_others(together.after_asset_counts())

    def add(self, learned: Sequence[LearnedState]) -> None:
        """Learn what workers had learned that learn no more."""
        together = sum_of(learned)
        self._knowledge.add(together.tables())
        self._knowledge.after_asset.add(together.after_asset_counts())
        for classes, count in together.starts:
            self._starts[tuple(classes)] = self._starts.get(tuple(classes), 0.0) + count
        if together.price is not None and self.price == self._first_price:
            self.price = together.price

    def evidence(self) -> dict[tuple[AssetClass, ...], float]:
        """Return the number of ends seen in each class, with decay; the keys can be passed to `plan_for`."""
        return {(name,): self._knowledge.table_of(name).evidence for name in self._knowledge.tables}

    def waits_of(self, name: AssetClass) -> list[float]:
        """Return the waits that the estimate for a class rests on in each bin of age."""
        return self._knowledge.waits_of(name)

    def estimate_of(self, name: AssetClass) -> Estimate:
        """Return the estimate of how long the waits of a class last, of which something was seen."""
        return self._knowledge.estimate_of(name)

    def present_plan(self, classes: tuple[AssetClass, ...]) -> Plan | None:
        """Return the plan that looks at such waits follow; None: there was none yet. Nothing is planned for this."""
        known = self._plans.get(classes)
        return None if known is None else known.plan

    def plan_for(self, classes: tuple[AssetClass, ...]) -> WaitPlan:
        """Return the plan for a wait on all of these classes; recomputed when estimates or the price have changed."""
        each = [self._knowledge.estimate_of(name) for name in classes]
        known = self._plans.get(classes)
        is_new = known is None or any(old is not new.rates for old, new in zip(known.each, each, strict=True))
        if known is None or is_new:
            found = self._plans[classes] = self._new_plan(each)
            self._calibrate()
            return found
        price = self._price_of_look
        if abs(known.plan.price / price - 1) > _PRICE_TOLERANCE:
            planned = self._plan(known.rates, known.seen_until, price, self._stretched_ceiling)
            known = self._plans[classes] = known._replace(plan=planned)
        return known

    def _new_plan(self, each: Sequence[Estimate]) -> WaitPlan:
        rates = rates_of_last([estimate.rates for estimate in each])
        until = max(estimate.seen_until for estimate in each)
        survival, price = survival_from(rates), self._price_of_look
        alone = self._plan(rates, until, self.price, self._ceiling)
        return WaitPlan(
            each=tuple(estimate.rates for estimate in each),
            rates=rates,
            seen_until=until,
            plan=alone if price == self.price else self._plan(rates, until, price, self._stretched_ceiling),
            alone=alone,
            exponential_looks=follow(self._usual.delay, longest=self._maximum, age=0.0, survival=survival)[0],
            fewest_looks=follow(lambda _: self._ceiling, longest=self._ceiling, age=0.0, survival=survival)[0],
        )

    def _plan(self, rates: Rates, until: float, price: float, ceiling: float) -> Plan:
        return plan(
            rates,
            price=price,
            floor=self._floor,
            ceiling=ceiling,
            until=until,
            # By Keller's rule, a look that costs a quarter is made twice as often, whatever the hazard.
            usual=self._usual.scaled((price / self.price) ** 0.5, shortest=self._floor, longest=ceiling),
            growth=self._tail_growth,
        )

    @property
    def _price_of_look(self) -> float:
        """The price of a look, in seconds of lag: that of a request, times its share of one, times the backlog."""
        share = self.requests_per_look if self._looks is None else 1.0
        factor = share * self.backlog_factor**2
        if abs(factor / self._price_factor - 1) > _FACTOR_TOLERANCE or factor == 1:
            self._price_factor = factor
        return self.price * self._price_factor

    @property
    def _stretched_ceiling(self) -> float:
        return backlog.stretch_ceiling(self._ceiling, self.backlog_factor)

    def _exponential_delay(self, attempt_number: int) -> float:
        exponent = min((attempt_number - 1) * log(self._multiplier), _MAX_EXPONENT)
        return min(self._initial * exp(exponent), self._maximum)

    def _count_start(self, classes: tuple[AssetClass, ...]) -> None:
        self._starts[classes] = self._starts.get(classes, 0.0) + 1
        if self._starts[classes] > _MAX_STARTS:
            self._starts = {each: count / 2 for each, count in self._starts.items() if count > 1}

    def _calibrate(self) -> None:
        """Move the price to where the expected looks of all plans, weighted by their starts, meet the budget of looks.

        The number of looks is proportional to price ** -½ (Keller). Each new estimate makes only half of that step, so
        that noise does not dominate.
        """
        begun = [(found, self._starts[classes]) for classes, found in self._plans.items() if classes in self._starts]
        if sum(count for _, count in begun) < 0.8 * sum(self._starts.values()):
            return
        # The price plays no part in the delays of classes of which nothing was learned.
        begun = [(found, count) for found, count in begun if found.alone.tail_age > 0]
        started = sum(count for _, count in begun)
        if started < _LEAST_STARTS:
            return
        wanted = sum(count * found.alone.looks * (found.alone.price / self.price) ** 0.5 for found, count in begun)
        if self._looks is None:
            affordable = sum(count * max(found.exponential_looks, 1.01 * found.fewest_looks) for found, count in begun)
        else:
            assets = sum(count for classes, count in self._starts.items() if classes[0].step == "asset")
            fewest = sum(count * found.fewest_looks for found, count in begun)
            affordable = max((self._looks - 1) * assets, 1.25 * fewest)
        price = self.price * min(max(wanted / affordable, 0.5), 2.0)
        # No look can save more lag than half the longest delay.
        highest = max(self._first_price, self._maximum / 2)
        self.price = min(max(price, self._first_price / _PRICE_RANGE), highest)


def _exponential_prior(initial: float, multiplier: float, maximum: float) -> tuple[Rates, float]:
    """Return the hazard by bin for which exponential delays are optimal, and the price of a look at which they are.

    This is Keller's rule solved for the hazard, which falls with the square of the delay; the delay grows linearly with
    age. The price is chosen so that six in seven assets end before the delay reaches its maximum or, if the delay does
    not grow, within ten delays on average.
    """
    growth = multiplier - 1
    price = initial * max(growth, LEAST_GROWTH)
    delays = (min(initial + growth * (start + width / 2), maximum) for start, width in zip(EDGES, WIDTHS, strict=False))
    return tuple(2 * price * width / delay**2 for width, delay in zip(WIDTHS, delays, strict=True)), price
