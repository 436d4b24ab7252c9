"""Events and the sinks that they are delivered to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from asset_worker.runtime.measures import Distribution
from asset_worker.telemetry.problems import Problem, problem_of
from asset_worker.telemetry.sources import Sources
from asset_worker.telemetry.values.declaring import counter, gauge, histogram


class SinkState(msgspec.Struct, frozen=True):
    """A sink, as it is now."""

    name: str
    backlog: int
    """Events that it lacks, those that wait for a retry included."""
    oldest_age: float
    """Seconds since the oldest of them was made; 0: it lacks none, or only such as were made a moment ago."""
    dead_letters: int
    """Events that it refused for good, and that are kept."""
    problem: Problem | None
    """What is wrong with it; None: it works."""


def _sinks(sources: Sources) -> Sequence[SinkState]:
    dead = sources.queue.dead_letters_by_sink()
    return [
        SinkState(each.sink, each.backlog, each.oldest_age, dead.get(each.sink, 0), problem_of(each))
        for each in sources.deliveries
    ]


@dataclass(frozen=True, kw_only=True)
class Deliveries:
    """Events and their sinks."""

    outbox_depth: int = gauge(
        "outbox_events",
        "Events that the sink furthest behind still lacks, those that wait for a retry as well.",
        lambda sources: sources.queue.outbox_depth(),
        unit="events",
        empty=int,
        in_heartbeat=True,
    )
    dead_letters: int = gauge(
        "dead_letters",
        "Events that a webhook accepted in no attempt of its retry plan, and that are kept.",
        lambda sources: sum(sources.queue.dead_letters_by_sink().values()),
        unit="events",
        empty=int,
        in_heartbeat=True,
    )
    sinks: Sequence[SinkState] = gauge(
        None, "The sinks, in the order of the settings.", _sinks, unit="objects", empty=tuple
    )
    sink_backlogs: Mapping[str, int] = gauge(
        "sink_backlog_events",
        "Events that a sink lacks, those that wait for a retry as well.",
        lambda sources: {each.sink: each.backlog for each in sources.deliveries},
        unit="events",
        empty=dict,
        labels=("sink",),
    )
    sink_oldest_ages: Mapping[str, float] = gauge(
        "sink_oldest_event_age_seconds",
        "Time since the oldest event was made that a sink lacks; 0: it lacks none. Which event that is was looked up "
        "in the journal within the last two seconds, or not since the disk began to fail.",
        lambda sources: {each.sink: each.oldest_age for each in sources.deliveries},
        unit="seconds",
        empty=dict,
        labels=("sink",),
    )
    sink_dead_letters: Mapping[str, int] = gauge(
        "sink_dead_letters",
        "Dead letters that are kept, by the sink that did not accept them.",
        lambda sources: sources.queue.dead_letters_by_sink(),
        unit="events",
        empty=dict,
        labels=("sink",),
    )
    deliveries: Mapping[tuple[str, str], int] = counter(
        "deliveries",
        "Deliveries by sink and result: events that it accepted (`delivered`), attempts that failed (`failed`; a file "
        "gets several events in one), events that became dead letters (`dead_letter`), and transitions that did "
        "because the completion of their asset waited (`superseded`).",
        lambda sources: {
            (each.sink, result): count for each in sources.deliveries for result, count in each.attempts.results.items()
        },
        unit="events, or attempts",
        empty=dict,
        labels=("sink", "result"),
    )
    delivery_durations: Mapping[tuple[str], Distribution] = histogram(
        "delivery_duration_seconds",
        "How long attempts to deliver take, failed ones included, by sink.",
        lambda sources: {
            (each.sink,): found for each in sources.deliveries for found in each.attempts.made.durations.read().values()
        },
        labels=("sink",),
    )
    commits: int = counter(
        "journal_commits",
        "Transactions of the journal that were committed, each with what was waiting at that moment.",
        lambda sources: sources.queue.commits.count,
        unit="commits",
        empty=int,
    )
    commit_durations: Mapping[tuple[()], Distribution] = histogram(
        "journal_commit_duration_seconds",
        "How long a transaction of the journal takes until it is on the disk.",
        lambda sources: sources.queue.commits.durations.read(),
    )
