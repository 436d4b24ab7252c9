"""Exports the snapshot as Prometheus metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from asset_worker.runtime.measures import Distribution
from asset_worker.runtime.text import clip
from asset_worker.telemetry.snapshot import DECLARATIONS, Snapshot
from asset_worker.telemetry.values.declaring import METRIC_PREFIX, Declaration

LONGEST_LABEL: Final = 1_000
"""Characters of a label's value that are shown. A server may give a quota a name of any length."""


class SnapshotCollector(Collector):
    """Takes a snapshot for each scrape, and turns every declared metric into samples."""

    def __init__(self, read: Callable[[], Snapshot], *, redact: Callable[[str], str] = str) -> None:
        """`redact` removes secrets from the values of labels: names of sinks and of quotas."""
        self._read = read
        self._redact = redact

    def collect(self) -> Iterator[Metric]:
        """Yield the declared metrics with their present values. One with labels, and none yet, has no samples."""
        now = self._read()
        for field, declared in DECLARATIONS.items():
            if declared.metric is not None:
                yield self._family(declared, f"{METRIC_PREFIX}{declared.metric}", getattr(now, field))

    def _family(self, declared: Declaration, name: str, value: Any) -> Metric:
        samples = self._labelled(declared.labels, value) if isinstance(value, Mapping) else [((), value)]
        match declared.kind:
            case "histogram":
                distributions = HistogramMetricFamily(name, declared.text, labels=declared.labels)
                for labels, found in samples:
                    distributions.add_metric(labels, _buckets(found), found.sum)
                return distributions
            case "gauge":
                family: GaugeMetricFamily | CounterMetricFamily = GaugeMetricFamily(
                    name, declared.text, labels=declared.labels
                )
            case "counter":
                family = CounterMetricFamily(name, declared.text, labels=declared.labels)
        for labels, number in samples:
            family.add_metric(labels, number)
        return family

    def _labelled(self, names: Sequence[str], values: Mapping[Any, Any]) -> list[tuple[tuple[str, ...], Any]]:
        """Return the values by their labels as they may be shown, each of which must be there once."""
        shown = {
            tuple(self._shown(each) for each in ([key] if isinstance(key, str) else key)): value
            for key, value in values.items()
        }
        assert all(len(labels) == len(names) for labels in shown)
        return list(shown.items())

    def _shown(self, label: str) -> str:
        """Return a label's value without secrets; bytes of a path that are not UTF-8 are shown as escapes."""
        return clip(self._redact(label).encode(errors="backslashreplace").decode(), LONGEST_LABEL)


def _buckets(found: Distribution) -> list[tuple[str, float]]:
    """Return how many values lie at or below each bound, the last of which is infinite."""
    bounds = [*map(floatToGoString, found.bounds), "+Inf"]
    return list(zip(bounds, accumulate(found.counts), strict=True))
