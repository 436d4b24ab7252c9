"""The parts of the worker as telemetry reads them, for the snapshot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Protocol

import msgspec

from asset_worker.domain.worker_report import InputReport, QuotaReport
from asset_worker.runtime.measures import Histogram, Operations
from asset_worker.telemetry.queue_source import PendingCounts


class WorkCounts(Protocol):
    """What the poller counts since the start."""

    @property
    def looks(self) -> Mapping[str, int]:
        """Looks, by how they were made."""
        ...

    @property
    def completions(self) -> Mapping[str, int]:
        """Assets settled, by outcome."""
        ...

    @property
    def settlements(self) -> Mapping[str, int]:
        """Assets settled, by what showed their end."""
        ...

    @property
    def detection_lags(self) -> Histogram[tuple[()]]:
        """Seconds from the last look that showed an asset waiting to its completion."""
        ...

    @property
    def durations(self) -> Histogram[tuple[str, str]]:
        """Seconds that steps took, by step and class."""
        ...


class LookCounts(Protocol):
    """The poller, as telemetry reads it."""

    @property
    def counts(self) -> WorkCounts:
        """What it counts."""
        ...

    @property
    def looks(self) -> int:
        """Looks made since the start."""
        ...

    @property
    def completions_from_lists(self) -> int:
        """Assets settled since the start from what a list showed, without a retrieve."""
        ...

    @property
    def proven_list_shapes(self) -> int:
        """How many shapes of documents in lists are trusted now."""
        ...

    @property
    def list_disagreements(self) -> int:
        """Retrieves since the start that disagreed with a list that showed the asset done."""
        ...

    @property
    def lists_in_use(self) -> bool:
        """Whether looks share list requests now."""
        ...

    @property
    def backlog_factor(self) -> float:
        """By how much the schedule stretches delays because more looks are due than can be made; 1: it doesn't."""
        ...


class ApiProblem(Protocol):
    """What keeps requests from working now. Instants are seconds since the epoch, UTC."""

    @property
    def cause(self) -> Enum:
        """Its present cause: a member whose value is a key of `problems.API_PROBLEMS`."""
        ...

    @property
    def since(self) -> float:
        """Since when attempts have failed for this cause."""
        ...

    @property
    def last_error(self) -> str:
        """The text of the latest failure."""
        ...

    @property
    def next_try(self) -> float | None:
        """When the next request may go out; None: that depends on one that is in flight."""
        ...

    @property
    def stops_work(self) -> bool:
        """Whether it keeps the worker from working, instead of making it slower."""
        ...


class Traffic(Protocol):
    """The requests since the start."""

    @property
    def sent(self) -> int:
        """Requests sent."""
        ...

    @property
    def refused(self) -> int:
        """Requests refused with 429."""
        ...

    @property
    def in_flight(self) -> int:
        """Requests that are being made now."""
        ...

    @property
    def ended(self) -> Mapping[tuple[str, str], int]:
        """Requests that have ended, by endpoint and status."""
        ...

    @property
    def durations(self) -> Histogram[tuple[str, str]]:
        """Seconds that they took, by endpoint and class of the status."""
        ...

    @property
    def succeeded_at(self) -> float | None:
        """When the API last answered, in seconds since the epoch, UTC; None: it has not."""
        ...


class RequestCounts(Protocol):
    """The gate, as telemetry reads it."""

    @property
    def traffic(self) -> Traffic:
        """What it counts."""
        ...

    @property
    def quotas(self) -> Sequence[QuotaReport]:
        """The quotas that the API reports, as they are known now."""
        ...

    @property
    def problem(self) -> ApiProblem | None:
        """What keeps requests from working now; None: nothing."""
        ...


class RetryCounts(Protocol):
    """The retries of requests, as telemetry reads them."""

    @property
    def count(self) -> int:
        """Retries since the start."""
        ...


class RejectedInput(Protocol):
    """An input that holds nothing but rejected lines, as telemetry reads it."""

    @property
    def origin(self) -> str:
        """Which input it is, such as `file:/var/spool/assets/queue`."""
        ...

    @property
    def since(self) -> float:
        """When the first of these lines was rejected, in seconds since the epoch, UTC."""
        ...

    @property
    def reason(self) -> str:
        """Why the last of them was."""
        ...


class Lines(Protocol):
    """The lines that the intakes have read, as telemetry reads them."""

    @property
    def rejected(self) -> int:
        """Lines rejected since the start."""
        ...

    @property
    def lines(self) -> Mapping[tuple[str, str], int]:
        """Lines and other submissions since the start, by the kind of their source and by what became of them."""
        ...

    @property
    def read_at(self) -> Mapping[str, float]:
        """When each kind of source last provided something, in seconds since the epoch, UTC."""
        ...

    @property
    def rejected_inputs(self) -> Sequence[RejectedInput]:
        """The inputs that hold nothing but rejected lines."""
        ...


class Input(Protocol):
    """One intake, as telemetry reads it."""

    @property
    def name(self) -> str:
        """The name that messages use, such as `queue file`."""
        ...

    @property
    def unreadable(self) -> str | None:
        """What can't be read now, and why; None: everything can be read."""
        ...

    @property
    def unreadable_since(self) -> float | None:
        """Since when, in seconds since the epoch, UTC; None: not known, or everything can be read."""
        ...

    @property
    def progress(self) -> InputReport:
        """How far it was read."""
        ...


class SinkProblem(Protocol):
    """What is wrong with a sink."""

    @property
    def trouble(self) -> str:
        """The kind: a key of `problems.SINK_REASONS`."""
        ...

    @property
    def text(self) -> str:
        """One sentence."""
        ...


class Attempts(Protocol):
    """What a delivery counts since the start."""

    @property
    def results(self) -> Mapping[str, int]:
        """How often there was each result."""
        ...

    @property
    def made(self) -> Operations:
        """How long its attempts took, and when one last succeeded."""
        ...


class Delivery(Protocol):
    """The delivery to one sink, as telemetry reads it."""

    @property
    def sink(self) -> str:
        """The sink's name."""
        ...

    @property
    def backlog(self) -> int:
        """How many events the sink lacks, those that wait for a retry included."""
        ...

    @property
    def oldest_age(self) -> float:
        """Seconds since the oldest event was made that the sink lacks, without I/O: as far as that is known."""
        ...

    @property
    def attempts(self) -> Attempts:
        """What it counts."""
        ...

    @property
    def problem(self) -> SinkProblem | None:
        """What is wrong with the sink; None: it works."""
        ...

    @property
    def failing_since(self) -> float | None:
        """When the sink began to fail, in seconds since the epoch, UTC; None: it works."""
        ...

    @property
    def last_error(self) -> str | None:
        """The text of the latest failure; None: there was none."""
        ...

    @property
    def next_try(self) -> float | None:
        """When a sink that fails is tried again, in seconds since the epoch, UTC; None: it works."""
        ...


class LoopLag(Protocol):
    """The event loop, as telemetry reads it."""

    @property
    def worst(self) -> float:
        """The longest time in seconds for which it was blocked lately."""
        ...


class Sources(msgspec.Struct, frozen=True):
    """The parts that a snapshot is read from."""

    queue: PendingCounts
    poller: LookCounts
    gate: RequestCounts
    retries: RetryCounts
    lines: Lines
    inputs: Sequence[Input]
    deliveries: Sequence[Delivery]
    loop_lag: LoopLag
