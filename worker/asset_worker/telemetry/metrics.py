"""Exports the snapshot as Prometheus metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from asset_worker.telemetry.snapshot import DECLARATIONS, METRIC_PREFIX, Snapshot


class SnapshotCollector(Collector):
    """Takes a snapshot for each scrape, and turns every declared metric into samples."""

    def __init__(self, read: Callable[[], Snapshot]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """Yield the declared metrics with their present values."""
        now = self._read()
        for field, declared in DECLARATIONS.items():
            if declared.metric is None:
                continue
            family = GaugeMetricFamily if declared.kind == "gauge" else CounterMetricFamily
            labels = [] if declared.label is None else [declared.label]
            metric = family(f"{METRIC_PREFIX}{declared.metric}", declared.text, labels=labels)
            value = getattr(now, field)
            for label_values, number in [([], value)] if declared.label is None else _labelled(value):
                metric.add_metric(label_values, number)
            yield metric


def _labelled(values: Mapping[str, float]) -> list[tuple[list[str], float]]:
    return [([label], number) for label, number in values.items()]
