"""Forecasts of waits from what an adaptive schedule has learned.

A wait is over when a look has found its end, so a forecast is of that look: of the completion event, not of the end
itself. While an asset is processing, its wait is the rest of that step, and then the slowest of its renditions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING, Final, NamedTuple

from asset_worker.domain.assets import WaitFor
from asset_worker.domain.renditions import RENDITIONS
from asset_worker.schedule.after_asset import Shown
from asset_worker.schedule.classes import AssetClass, classify
from asset_worker.schedule.forecast import NOTHING_FOLLOWS, Forecast, Outlook, Point, Step
from asset_worker.schedule.life_table import evidence_of, quantile, rates_of_last, survival_from

if TYPE_CHECKING:
    from asset_worker.domain.assets import Expectations
    from asset_worker.schedule.knowledge import Estimate, Knowledge
    from asset_worker.schedule.plan import Plan
    from asset_worker.schedule.ports import WaitState

ENDS_TO_FORECAST: Final = 20
"""From so many ends of a class on, its waits are forecast: two of them are expected beyond the 90th percentile, and the
share that really ends before it is within 7 percentage points of nine tenths, give or take one standard error."""
ENDS_AFTER: Final = 10
"""Of these, so many must have come at a greater age than that of the wait: one of them beyond the percentile."""
_STORED_SHARE: Final = 0.995
"""Of the evidence in a table, a little is lost when it is rounded to be stored (`learned`)."""
_NEGLIGIBLE: Final = 0.05
"""What follows fewer of the assets is left out: it would hardly move the 90th percentile."""
_POINTS: Final = 20
"""So many durations, each equally likely, stand for a distribution."""
REQUEST_SECONDS: Final = 0.3
"""About how long the request of a look takes, and the one that confirms it."""
_MOST_OUTLOOKS: Final = 512
_LEAST_EVIDENCE: Final = _STORED_SHARE * evidence_of(ENDS_TO_FORECAST)


class _Key(NamedTuple):
    """What an outlook depends on besides what was learned."""

    classes: tuple[AssetClass, ...]
    shown: tuple[str, ...] = ()
    """The renditions that the last look showed."""
    ignored: frozenset[str] = frozenset()
    required: tuple[str, ...] = ()
    """The renditions that are awaited although they are not shown."""
    longest: float = inf
    """The longest wait for renditions, in seconds."""


class _Made(NamedTuple):
    """An outlook, and what it was made from."""

    outlook: Outlook | None
    """None: too little was seen."""
    following: Sequence[Point]
    estimates: Mapping[AssetClass, Estimate]
    updates: float
    """`Knowledge.updates` at that time."""


class Forecasts:
    """Forecasts of waits. What a class shows is worked out once, and again when its estimates have changed."""

    def __init__(self, knowledge: Knowledge, plan: Callable[[tuple[AssetClass, ...]], Plan]) -> None:
        """`plan` returns the plan of looks for a wait on these classes."""
        self._knowledge = knowledge
        self._plan = plan
        self._made: dict[_Key, _Made] = {}

    def of(self, look: WaitState, *, shown: tuple[str, ...], expectations: Expectations) -> Forecast | None:
        """Return the time left from the last look at an asset; None: too little of its class was seen to know that.

        Args:
            look: the wait after that look.
            shown: the renditions that it showed.
            expectations: what is awaited, and for how long.
        """
        classes = self._knowledge.known(classify(look.waiting_on, look.file_type, look.method))
        if not classes:
            return None
        made = self._made_for(_Key(classes) if look.phase == "renditions" else _key(classes, shown, expectations))
        # How long an asset takes was learned from new ones. Looks are planned by the age since acceptance.
        older = max(look.head_start, -look.age) if look.phase == "asset" else 0.0
        if made.outlook is None or (found := made.outlook.after(look.age + older)) is None:
            return None
        delay, following = self._plan(classes).delay, _mean(made.following)
        half, most = (_detected(age - older, look.age, delay, following) - look.age for age in found)
        return Forecast(half, most)

    def _made_for(self, key: _Key) -> _Made:
        known = self._made.get(key)
        if known is None or self._is_stale(known):
            if len(self._made) >= _MOST_OUTLOOKS:
                self._made.clear()
            known = self._made[key] = self._make(key)
        return known

    def _is_stale(self, made: _Made) -> bool:
        if made.outlook is None:
            return self._knowledge.updates >= made.updates + 1
        return any(self._knowledge.estimate_of(name) is not old for name, old in made.estimates.items())

    def _make(self, key: _Key) -> _Made:
        knowledge, used = self._knowledge, {*key.classes}
        following = self._following(key, used) if self._is_known(key.classes) else None
        outlook = None
        if following is not None:
            tables = [knowledge.table_of(name) for name in key.classes]
            estimates = [knowledge.estimate_of(name) for name in key.classes]
            step = Step(
                survival_from(rates_of_last([each.rates for each in estimates])),
                list(map(max, zip(*(table.ends for table in tables), strict=True))),
                list(map(max, zip(*(table.exposure for table in tables), strict=True))),
            )
            outlook = Outlook(step, following, least_ends=_STORED_SHARE * evidence_of(ENDS_AFTER))
        return _Made(
            outlook,
            following or NOTHING_FOLLOWS,
            {name: knowledge.estimate_of(name) for name in used},
            knowledge.updates,
        )

    def _following(self, key: _Key, used: set[AssetClass]) -> Sequence[Point] | None:
        """Return the durations that stand for what follows the step; None: too little was seen to know them.

        The classes of the renditions are added to `used`.
        """
        [name, *others] = key.classes
        if name.step != "asset" or others:
            return NOTHING_FOLLOWS
        shown = Shown(name, key.shown)
        if self._knowledge.after_asset.evidence(shown) < _LEAST_EVIDENCE:
            return None
        shares: dict[tuple[str, ...], float] = {}
        for left, share in self._knowledge.after_asset.shares(shown).items():
            awaited = tuple(each for each in RENDITIONS if each in {*left, *key.required} - key.ignored)
            shares[awaited] = shares.get(awaited, 0.0) + share
        shares = {awaited: share for awaited, share in shares.items() if share >= _NEGLIGIBLE}
        total = sum(shares.values())
        points: list[Point] = []
        for awaited, share in shares.items():
            if not awaited:
                points.append(Point(0.0, share / total))
                continue
            classes = self._knowledge.known(tuple(name._replace(step=each) for each in awaited))
            if not classes or not self._is_known(classes):
                return None
            used.update(classes)
            points += [
                Point(min(seconds, key.longest), share / total / _POINTS) for seconds in self._durations(classes)
            ]
        return points

    def _durations(self, classes: tuple[AssetClass, ...]) -> Sequence[float]:
        """Return equally likely durations until the last of these renditions is seen done, in seconds."""
        survival = survival_from(rates_of_last([self._knowledge.estimate_of(each).rates for each in classes]))
        delay = self._plan(classes).delay
        ends = (quantile((number + 0.5) / _POINTS, survival) for number in range(_POINTS))
        return [_detected(age, 0.0, delay, 0.0) for age in ends]

    def _is_known(self, classes: tuple[AssetClass, ...]) -> bool:
        return all(self._knowledge.table_of(name).evidence >= _LEAST_EVIDENCE for name in classes)


def _key(classes: tuple[AssetClass, ...], shown: tuple[str, ...], expectations: Expectations) -> _Key:
    wait_for = expectations.wait_for
    return _Key(
        classes,
        shown,
        frozenset(name for name, when in wait_for.items() if when is WaitFor.IGNORE),
        tuple(name for name, when in wait_for.items() if when is WaitFor.REQUIRED and name not in shown),
        expectations.rendition_deadline,
    )


def _detected(end: float, age: float, delay: Callable[[float], float], following: float) -> float:
    """Return the age at which a look finds an end, if the look before was at `age`.

    Ends fall between looks at random, so half a delay is added, but not before the next look.

    Args:
        end: the age at which the wait ends, `following` seconds after the step in which it is.
        age: the age at the last look.
        delay: returns the seconds from a look at an age to the next one.
        following: how long what follows the step takes on average, in seconds.
    """
    next_look = age + delay(age)
    step_end = end - following
    if step_end <= next_look:
        return next_look + following + REQUEST_SECONDS
    return end + delay(step_end) / 2 + REQUEST_SECONDS


def _mean(points: Sequence[Point]) -> float:
    """Return the mean of a distribution, in seconds."""
    return sum(point.seconds * point.share for point in points)
