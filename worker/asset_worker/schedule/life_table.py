"""How long things take, learned from looks that only ever say "not yet" or "by now".

A life table, as actuaries keep it: for each age, how much waiting was seen (exposure) and how many waits ended (ends).
Their ratio is the hazard, the chance that a wait which has lasted this long ends now. Exposure counts every wait that
was seen, also those that never ended and those still going on, so censored waits need no special treatment, and a
burst of slow assets is believed before the first of them is done.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate, pairwise
from math import exp, log
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHORTEST: Final = 0.25
_BINS_PER_DECADE: Final = 20
_DECADES: Final = 5

EDGES: Final = (0.0, *(_SHORTEST * 10 ** (i / _BINS_PER_DECADE) for i in range(_BINS_PER_DECADE * _DECADES + 1)))
"""Where the bins of age begin and end, in seconds: from 0.25 s to 7 h, each 12 % wider than the one before."""
WIDTHS: Final = tuple(end - start for start, end in pairwise(EDGES))
BINS: Final = len(WIDTHS)

HALF_LIFE: Final = 400
"""Ends after which what was seen counts half: old enough to be precise, young enough to follow a vendor's changes."""
BELIEF: Final = 2.0
"""How many waits of its own a more general estimate is worth against a more special one."""
_RESCALE_AT: Final = 1e6

Rates = tuple[float, ...]
"""Hazard by bin: the ends to expect while one wait lasts through the bin."""


class LifeTable:
    """The waits of one class of asset: exposure and ends by bin of age, older ones counting less.

    Instead of shrinking everything at each end, what is new weighs more: `unit` is what one wait weighs now.
    """

    __slots__ = ("_ends", "_exposure", "_unit", "news")

    def __init__(self, ends: Sequence[float] = (), exposure: Sequence[float] = ()) -> None:
        self._ends = list(ends) or [0.0] * BINS
        self._exposure = list(exposure) or [0.0] * BINS
        self._unit = 1.0
        self.news = 0.0
        """Grows with everything learned; never shrinks. Tells when an estimate made from this table is out of date."""

    @property
    def ends(self) -> list[float]:
        """Ends seen by bin, in assets, with decay."""
        return [each / self._unit for each in self._ends]

    @property
    def exposure(self) -> list[float]:
        """Waits that lasted through each bin, in assets (half a bin is half an asset), with decay."""
        return [each / self._unit for each in self._exposure]

    @property
    def evidence(self) -> float:
        """Ends seen, with decay: `HALF_LIFE` / ln 2 at most."""
        return sum(self._ends) / self._unit

    def survived(self, since: float, until: float) -> None:
        """A wait that was on at age `since` was still on at age `until` (seconds)."""
        self.news += 0.1
        bin_ = bisect_right(EDGES, since) - 1
        while bin_ < BINS and EDGES[bin_] < until:
            overlap = min(until, EDGES[bin_ + 1]) - max(since, EDGES[bin_])
            self._exposure[bin_] += self._unit * overlap / WIDTHS[bin_]
            bin_ += 1

    def ended(self, since: float, until: float, rates: Rates) -> None:
        """A wait that was on at age `since` was over at age `until` (seconds).

        When in between is not known: the end is spread over the bins in between as the present estimate, `rates`,
        would have it. Done for each end, this is the self-consistent estimate for interval-censored data (Turnbull
        1976, "The empirical distribution function with arbitrarily grouped, censored and truncated data").
        """
        self.news += 1
        spans: list[tuple[int, float]] = []
        bin_ = min(bisect_right(EDGES, since) - 1, BINS - 1)
        while bin_ < BINS and (EDGES[bin_] < until or not spans):
            overlap = min(until, EDGES[bin_ + 1]) - max(since, EDGES[bin_])
            spans.append((bin_, max(overlap, 0.0) / WIDTHS[bin_]))
            bin_ += 1
        survival = list(accumulate((exp(-rates[bin_] * part) for bin_, part in spans), lambda s, p: s * p, initial=1.0))
        ending = 1 - survival[-1]
        waiting = 1.0
        for (bin_, part), (before, after) in zip(spans, pairwise(survival), strict=True):
            share = (before - after) / ending if ending > 0 else 1 / len(spans)
            waiting = max(waiting - share, 0.0)
            self._ends[bin_] += self._unit * share
            self._exposure[bin_] += self._unit * part * (waiting + share / 2)
        self._unit *= 2 ** (1 / HALF_LIFE)
        if self._unit > _RESCALE_AT:
            self._ends, self._exposure, self._unit = self.ends, self.exposure, 1.0


def pooled(tables: Sequence[LifeTable]) -> LifeTable:
    """Several classes taken as one."""
    if len(tables) == 1:
        return tables[0]
    return LifeTable(
        [sum(each) for each in zip(*(table.ends for table in tables), strict=True)],
        [sum(each) for each in zip(*(table.exposure for table in tables), strict=True)],
    )


def estimate(chain: Sequence[LifeTable], prior: Rates) -> Rates:
    """The hazard by bin, from the most general table in `chain` to the most special one.

    Each refines the one before, bin by bin, as if `BELIEF` waits that follow the more general estimate had been seen
    too (the mean of a beta-Stacy posterior: Walker and Muliere 1997). A class that was often seen young and never old
    is believed about youth only.
    """
    rates = prior
    for table in chain:
        ends, exposure = _smoothed(table.ends), _smoothed(table.exposure)
        believed = [BELIEF * (start + end) / 2 for start, end in pairwise(survival_from(rates))]
        rates = tuple(
            (end + general * rate) / (lived + general) if general > 0 or lived > 0 else rate
            for end, lived, rate, general in zip(ends, exposure, rates, believed, strict=True)
        )
    return rates


def survival_from(rates: Rates) -> list[float]:
    """The share of waits that last to each of `EDGES`."""
    return list(accumulate((exp(-rate) for rate in rates), lambda left, kept: left * kept, initial=1.0))


def survival_at(age: float, survival: Sequence[float]) -> float:
    """The share of waits that last to `age` seconds, given the share that lasts to each of `EDGES`."""
    bin_ = min(bisect_right(EDGES, age), BINS) - 1
    part = (age - EDGES[bin_]) / WIDTHS[bin_]
    start, end = survival[bin_], survival[bin_ + 1]
    return start * (end / start) ** part if start > 0 else 0.0


def last_of(each: Sequence[Rates]) -> Rates:
    """The hazard of the last of several waits that began together, taken as independent."""
    if len(each) == 1:
        return each[0]
    over = [1.0] * (BINS + 1)
    for rates in each:
        over = [both * (1 - left) for both, left in zip(over, survival_from(rates), strict=True)]
    left = [1 - both for both in over]
    return tuple(
        log(start / end) if end > 0 else slowest
        for (start, end), slowest in zip(pairwise(left), map(min, *each), strict=True)
    )


def _smoothed(values: list[float]) -> list[float]:
    """Each bin with a quarter of each neighbour's: few ends make a rough histogram (Silverman et al. 1990, EMS)."""
    padded = [values[0], *values, values[-1]]
    return [(a + 2 * b + c) / 4 for a, b, c in zip(padded, padded[1:], padded[2:], strict=False)]
