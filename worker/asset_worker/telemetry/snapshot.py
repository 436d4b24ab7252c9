"""The snapshot: the worker's state at one instant, for the heartbeat, `/metrics`, `/readyz` and the live display.

Each value is declared once, as a field of `Snapshot`: where it is read, what it means, and what its metric is called.
The heartbeat, the metrics and docs/reference.md are made from these declarations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal, TypeVar

import msgspec

from asset_worker.domain.assets import Outcome
from asset_worker.telemetry.problems import Problem, problems_of
from asset_worker.telemetry.sources import Sources

T = TypeVar("T")

METRIC_PREFIX: Final = "asset_worker_"


def _is_ready(sources: Sources) -> bool:
    return all(problem.is_of_input for problem in problems_of(sources))


def _completions(sources: Sources) -> Mapping[str, int]:
    # Lines that hold no submission never reach the poller.
    rejected = {Outcome.REJECTED.value: sources.lines.rejected} if sources.lines.rejected else {}
    return {**sources.poller.completions, **rejected}


class Declaration(msgspec.Struct, frozen=True):
    """How one field of the snapshot is read and shown."""

    text: str
    """The meaning: the help text of the metric, and the description in the reference."""
    unit: str
    read: Callable[[Sources], Any]
    kind: Literal["gauge", "counter"]
    metric: str | None = None
    """The metric's name without prefix and without a counter's `_total`; None: there is no metric."""
    label: str | None = None
    """The label whose values are the keys of the field, which is a mapping; None: the field is a number."""
    in_heartbeat: bool = True


def _declared(declaration: Declaration, empty: Callable[[], T]) -> T:
    declared: T = field(default_factory=empty, metadata={"declaration": declaration})
    return declared


def gauge(
    metric: str | None,
    text: str,
    read: Callable[[Sources], T],
    *,
    unit: str,
    empty: Callable[[], T],
    in_heartbeat: bool = True,
) -> T:
    """Declare a field whose value goes up and down. `empty` returns its value in a new worker."""
    return _declared(Declaration(text, unit, read, "gauge", metric, None, in_heartbeat), empty)


def counter(
    metric: str,
    text: str,
    read: Callable[[Sources], T],
    *,
    unit: str,
    empty: Callable[[], T],
    label: str | None = None,
) -> T:
    """Declare a field that counts since the start. With `label`, its value maps the label's values to counts."""
    return _declared(Declaration(text, unit, read, "counter", metric, label), empty)


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The worker at one instant. To add a metric or a heartbeat field, add a field here."""

    pending: int = gauge(
        "pending_assets",
        "Assets accepted and not settled.",
        lambda sources: sources.queue.pending_count(),
        unit="assets",
        empty=int,
    )
    due: int = gauge(
        "due_assets",
        "Pending assets that are due and not looked at yet (at most 1000 are counted).",
        lambda sources: sources.queue.due_count(),
        unit="assets",
        empty=int,
    )
    oldest_pending_age: float = gauge(
        "oldest_pending_age_seconds",
        "Age of the asset that has been pending longest.",
        lambda sources: sources.queue.oldest_age(),
        unit="seconds",
        empty=float,
    )
    looks: int = counter(
        "looks",
        "Looks made, including those without an answer.",
        lambda sources: sources.poller.looks,
        unit="looks",
        empty=int,
    )
    requests: int = counter(
        "requests",
        "Requests sent to the assets API.",
        lambda sources: sources.gate.requests,
        unit="requests",
        empty=int,
    )
    refusals: int = counter(
        "rate_limited",
        "Requests refused with 429.",
        lambda sources: sources.gate.refusals,
        unit="requests",
        empty=int,
    )
    retries: int = counter(
        "retries",
        "Attempts that repeated a failed request.",
        lambda sources: sources.retries.count,
        unit="attempts",
        empty=int,
    )
    completions: Mapping[str, int] = counter(
        "completions",
        "Assets settled.",
        _completions,
        unit="assets",
        empty=dict,
        label="outcome",
    )
    completions_from_lists: int = counter(
        "completions_from_lists",
        "Assets settled from what a list showed, without a retrieve.",
        lambda sources: sources.poller.completions_from_lists,
        unit="assets",
        empty=int,
    )
    proven_list_shapes: int = gauge(
        "proven_list_shapes",
        "Shapes of documents in lists that are trusted now.",
        lambda sources: sources.poller.proven_list_shapes,
        unit="shapes",
        empty=int,
    )
    list_disagreements: int = counter(
        "list_disagreements",
        "Retrieves that disagreed with a list that showed the asset done.",
        lambda sources: sources.poller.list_disagreements,
        unit="retrieves",
        empty=int,
    )
    outbox_depth: int = gauge(
        "outbox_events",
        "Events that the sink furthest behind still lacks, those that wait for a retry as well.",
        lambda sources: sources.queue.outbox_depth(),
        unit="events",
        empty=int,
    )
    dead_letters: int = gauge(
        "dead_letters",
        "Events that a webhook accepted in no attempt of its retry plan, and that are kept.",
        lambda sources: sum(sources.queue.dead_letters_by_sink().values()),
        unit="events",
        empty=int,
    )
    problems: tuple[Problem, ...] = gauge(
        None,
        "What is wrong now, as objects: `reason`, `problem` (a sentence), and where known `since`, `last_error` and "
        "`next_try`; times are UTC.",
        problems_of,
        unit="objects",
        empty=tuple,
    )
    is_ready: bool = gauge(
        "ready",
        "1 while nothing keeps the worker from working, else 0.",
        _is_ready,
        unit="0 or 1",
        empty=lambda: True,
        in_heartbeat=False,
    )


DECLARATIONS: Final[Mapping[str, Declaration]] = {each.name: each.metadata["declaration"] for each in fields(Snapshot)}
"""The declarations, by the name of the snapshot's field."""


def take_snapshot(sources: Sources) -> Snapshot:
    """Return the state of the worker now."""
    return Snapshot(**{name: declaration.read(sources) for name, declaration in DECLARATIONS.items()})
