"""What is wrong with a query of PromQL, measured by the metrics that the program exports."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any, Final

import promql_parser
from prometheus_client import REGISTRY

from asset_worker.domain.assets import Outcome
from asset_worker.sinks.attempts import Result
from asset_worker.telemetry.problems import Reason
from asset_worker.telemetry.snapshot import DECLARATIONS
from asset_worker.telemetry.values.work import NO_LINES

OF_TARGETS: Final = frozenset({"job", "instance"})
"""The labels that Prometheus gives to all that it scrapes."""
OF_ALERTS: Final = frozenset({"alertname", "alertstate", "severity"})


def _of_the_program() -> Iterator[tuple[str, frozenset[str]]]:
    for each in DECLARATIONS.values():
        if each.metric_name is None:
            continue
        labels = frozenset(each.labels)
        if each.kind == "histogram":
            yield f"{each.metric_name}_bucket", labels | {"le"}
            yield f"{each.metric_name}_sum", labels
            yield f"{each.metric_name}_count", labels
        else:
            yield each.metric_name, labels


def _of_processes() -> Iterator[tuple[str, frozenset[str]]]:
    """The metrics of the client library about the process, which `/metrics` has as well."""
    for family in REGISTRY.collect():
        if family.name.startswith("process_"):
            for sample in family.samples:
                yield sample.name, frozenset()


LABELS: Final[Mapping[str, frozenset[str]]] = {
    **dict(_of_the_program()),
    **dict(_of_processes()),
    "up": frozenset(),
    "ALERTS": OF_ALERTS | frozenset(label for each in DECLARATIONS.values() for label in each.labels),
}
"""The labels of each metric besides those of its target."""


def _values(members: type[Enum]) -> set[str]:
    return {each.value for each in members}


VALUES: Final[Mapping[str, set[str]]] = {
    "reason": _values(Reason),
    "outcome": _values(Outcome),
    "result": _values(Result) | {result for _, result in NO_LINES},
    "source": {source for source, _ in NO_LINES},
    "alertstate": {"pending", "firing"},
    "severity": {"page", "ticket"},
}
"""The values of labels that have a fixed set of them."""


def selectors_of(query: str) -> list[Any]:
    """Return the selectors of series in a query; ValueError: it can't be parsed."""
    return list(_nodes(promql_parser.parse(query), promql_parser.VectorSelector))


def problems_of_query(query: str) -> list[str]:
    """Return what a query names that no worker exports: metrics, labels and values of labels."""
    found = [problem for each in selectors_of(query) for problem in _problems_of_selector(each)]
    for node in _nodes(promql_parser.parse(query), promql_parser.AggregateExpr, promql_parser.BinaryExpr):
        found += _problems_of_grouping(node)
    return found


def _problems_of_selector(selector: Any) -> Iterator[str]:
    if selector.name not in LABELS:
        yield f"{selector.name} is no metric"
        return
    for matcher in selector.matchers.matchers:
        if matcher.name not in LABELS[selector.name] | OF_TARGETS:
            yield f"{selector.name} has no label {matcher.name}"
        elif (known := VALUES.get(matcher.name)) is not None:
            for value in matcher.value.split("|"):
                if not any(re.fullmatch(value, each) for each in known):
                    yield f"{matcher.name} is never {value}"


def _problems_of_grouping(node: Any) -> Iterator[str]:
    """Labels that an aggregation keeps, or that two sides are matched by, and that a series within does not have."""
    match node:
        case promql_parser.AggregateExpr():
            grouping, within = node.modifier, [node.expr]
        case _:
            grouping, within = node.modifier and node.modifier.matching, [node.lhs, node.rhs]
    for label in grouping.labels if grouping else ():
        for selector in (each for side in within for each in _nodes(side, promql_parser.VectorSelector)):
            if selector.name in LABELS and label not in LABELS[selector.name] | OF_TARGETS:
                yield f"{selector.name} has no label {label} to group by"


def _nodes(tree: Any, *kinds: type) -> Iterator[Any]:
    found: list[Any] = []
    visit: Callable[[Any], None] = lambda node: found.append(node) if isinstance(node, kinds) else None  # noqa: E731
    promql_parser.walk(tree, visit)
    yield from found
