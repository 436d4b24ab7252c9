"""How long waits last, learned from looks that say only "not yet" or "done by now".

A life table, as actuaries keep it, counts for each bin of age the waits that were in progress (exposure) and those that
ended (ends). Their ratio is the hazard: the chance that a wait that has lasted this long ends in this bin. Exposure
counts every wait, even one that never ended or is still in progress. Censored waits therefore need no special
treatment, and a burst of slow assets changes the estimate before the first of them is done.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate, pairwise
from math import exp, log, sqrt
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHORTEST: Final = 0.25
_BINS_PER_DECADE: Final = 20
_DECADES: Final = 5

EDGES: Final = (0.0, *(_SHORTEST * 10 ** (i / _BINS_PER_DECADE) for i in range(_BINS_PER_DECADE * _DECADES + 1)))
"""The edges of the bins of age, in seconds: from 0 through 0.25 s to 7 h, each bin 12 % wider than the one before."""
WIDTHS: Final = tuple(end - start for start, end in pairwise(EDGES))
"""The width of each bin, in seconds."""
BINS: Final = len(WIDTHS)

HALF_LIFE: Final = 400
"""After this many ends, older ones count half: enough to be precise, few enough to follow changes at the vendor."""
PRIOR_WEIGHT: Final = 2.0
"""How many waits a more general estimate counts for when a more specific table refines it."""
FEW: Final = 1 / 200
"""The share of waits that are too few to learn from: of those that half-lives leave in a table, about three."""
_STANDARD_ERRORS: Final = 1.96
"""On each side, so that an interval holds the true value with a probability of 95 %."""
_RESCALE_AT: Final = 1e6
"""The weight of a new wait at which all counts are rescaled, so that they stay small."""

Rates = tuple[float, ...]
"""The hazard by bin: the expected number of ends while one wait lasts through the bin."""


def evidence_of(ends: int) -> float:
    """Return what is left, after the decay, of so many ends in a row: the `evidence` of a table that began empty."""
    kept = 2 ** (-1 / HALF_LIFE)
    return kept * (1 - kept**ends) / (1 - kept)


MOST_EVIDENCE: Final = 1 / (2 ** (1 / HALF_LIFE) - 1)
"""What the decay leaves of any number of ends (`evidence_of`)."""


class LifeTable:
    """The waits of one class of asset: exposure and ends by bin of age, with exponential decay.

    Instead of shrinking all counts at each end, the weight of a new wait (`_unit`) grows.
    """

    __slots__ = ("_ends", "_exposure", "_unit", "updates")

    def __init__(self, ends: Sequence[float] = (), exposure: Sequence[float] = ()) -> None:
        self._ends = list(ends) or [0.0] * BINS
        self._exposure = list(exposure) or [0.0] * BINS
        self._unit = 1.0
        self.updates = 0.0
        """Grows by 1 with each end, and by up to 0.05 with each survival, the less the shorter the time since the look
        before; shows when an estimate is out of date."""

    @property
    def ends(self) -> list[float]:
        """Ends by bin, in waits, with decay."""
        return [each / self._unit for each in self._ends]

    @property
    def exposure(self) -> list[float]:
        """Waits that lasted through each bin, with decay; one that lasted through half of it counts half."""
        return [each / self._unit for each in self._exposure]

    @property
    def evidence(self) -> float:
        """All ends, with decay: at most `MOST_EVIDENCE`."""
        return sum(self._ends) / self._unit

    def add(self, other: LifeTable) -> None:
        """Add the counts of another table, as if both had counted the same waits one after another.

        At most `MOST_EVIDENCE` is kept.
        """
        ends = [a + b for a, b in zip(self.ends, other.ends, strict=True)]
        exposure = [a + b for a, b in zip(self.exposure, other.exposure, strict=True)]
        kept = min(1.0, MOST_EVIDENCE / max(sum(ends), 1.0))
        self._ends, self._exposure, self._unit = [each * kept for each in ends], [each * kept for each in exposure], 1.0
        self.updates += other.evidence

    def survived(self, since: float, until: float) -> None:
        """Count a wait that was in progress at age `since` and still is at age `until`, in seconds."""
        bins = 0.0
        bin_ = bisect_right(EDGES, since) - 1
        while bin_ < BINS and EDGES[bin_] < until:
            overlap = min(until, EDGES[bin_ + 1]) - max(since, EDGES[bin_])
            self._exposure[bin_] += self._unit * overlap / WIDTHS[bin_]
            bins += overlap / WIDTHS[bin_]
            bin_ += 1
        self.updates += 0.05 * min(bins, 1.0)

    def ended(self, since: float, until: float, rates: Rates) -> None:
        """Count a wait that was in progress at age `since` and over at age `until`, in seconds.

        The end is only known to lie between these two ages, so it is spread over the bins between them in the
        proportions of the present estimate, `rates`. Repeated for each end, this is the self-consistent estimate for
        interval-censored data (Turnbull 1976, "The empirical distribution function with arbitrarily grouped, censored
        and truncated data").
        """
        self.updates += 1
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


def pool(tables: Sequence[LifeTable]) -> LifeTable:
    """Return a table with the counts of all `tables`."""
    return LifeTable(
        [sum(each) for each in zip(*(table.ends for table in tables), strict=True)],
        [sum(each) for each in zip(*(table.exposure for table in tables), strict=True)],
    )


def estimate(chain: Sequence[LifeTable], prior: Rates) -> Rates:
    """Return the hazard by bin, refined from table to table. `chain` goes from the most general to the most specific.

    Each table refines the estimate before it, bin by bin, as if it also held `PRIOR_WEIGHT` waits that follow that
    estimate: the mean of a beta-Stacy posterior (Walker and Muliere 1997, "Beta-Stacy processes and a generalization of
    the Pólya-urn scheme"). A class that was only seen at young ages therefore changes the estimate only there.
    """
    rates = prior
    for table in chain:
        ends, exposure = _smoothed(table.ends), _smoothed(table.exposure)
        prior_waits = [PRIOR_WEIGHT * (start + end) / 2 for start, end in pairwise(survival_from(rates))]
        rates = tuple(
            (end + general * rate) / (lived + general) if general > 0 or lived > 0 else rate
            for end, lived, rate, general in zip(ends, exposure, rates, prior_waits, strict=True)
        )
    return rates


def seen_until(chain: Sequence[LifeTable]) -> float:
    """Return the age, in seconds, beyond which fewer than `FEW` of the waits seen were still on; 0: none was seen.

    `chain` goes from the most general table to the most specific, as in `estimate`, and more general waits count as
    `PRIOR_WEIGHT` of the more specific ones.
    """
    shares = [0.0] * BINS
    for table in chain:
        seen = [count + PRIOR_WEIGHT * share for count, share in zip(table.exposure, shares, strict=True)]
        most = max(seen)
        shares = [each / most for each in seen] if most > 0 else shares
    return max((end for share, end in zip(shares, EDGES[1:], strict=True) if share >= FEW), default=0.0)


def quantile(share: float, survival: Sequence[float]) -> float:
    """Return the duration, in seconds, within which this share (over 0) of waits ends; `survival` is by `EDGES`."""
    for index, (start, end) in enumerate(pairwise(survival)):
        if end <= 1 - share:
            part = (start - (1 - share)) / (start - end)
            return EDGES[index] + part * (EDGES[index + 1] - EDGES[index])
    return EDGES[-1]


def survival_bounds(rates: Rates, waits: Sequence[float]) -> tuple[list[float], list[float]]:
    """Return the lower and the upper bound, each with 97.5 % confidence, of the share that lasts to each of `EDGES`.

    The variance of the logarithm of that share is the sum of hazard / waits over the bins before (Greenwood 1926, "The
    natural duration of cancer"; Aalen 1978 for the cumulative hazard).

    Args:
        rates: the estimated hazard by bin.
        waits: the waits that the estimate rests on in each bin.
    """
    steps = ((rate / lived if lived > 0 else 0.0) for rate, lived in zip(rates, waits, strict=True))
    spans = [_STANDARD_ERRORS * sqrt(variance) for variance in accumulate(steps, initial=0.0)]
    hazards = list(accumulate(rates, initial=0.0))
    lower = [exp(-hazard - span) for hazard, span in zip(hazards, spans, strict=True)]
    upper = [exp(min(span - hazard, 0.0)) for hazard, span in zip(hazards, spans, strict=True)]
    return lower, list(accumulate(upper, min))


def survival_from(rates: Rates) -> list[float]:
    """Return the share of waits that last to each of `EDGES`."""
    return list(accumulate((exp(-rate) for rate in rates), lambda left, kept: left * kept, initial=1.0))


def survival_at(age: float, survival: Sequence[float]) -> float:
    """Return the share of waits that last to `age` seconds, given the share that lasts to each of `EDGES`."""
    bin_ = min(bisect_right(EDGES, age), BINS) - 1
    part = (age - EDGES[bin_]) / WIDTHS[bin_]
    start, end = survival[bin_], survival[bin_ + 1]
    return start * (end / start) ** part if start > 0 else 0.0


def rates_of_last(each: Sequence[Rates]) -> Rates:
    """Return the hazard of the last of several waits to end. They began together and are assumed to be independent."""
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
    """Return each bin averaged with its neighbours, with weights 1, 2 and 1: few ends make a rough histogram.

    This is the smoothing step of EMS (Silverman, Jones, Wilson and Nychka 1990, "A smoothed EM approach to indirect
    estimation problems").
    """
    padded = [values[0], *values, values[-1]]
    return [(a + 2 * b + c) / 4 for a, b, c in zip(padded, padded[1:], padded[2:], strict=False)]
