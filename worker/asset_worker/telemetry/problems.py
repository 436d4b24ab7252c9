"""The problems that are reported: what is wrong now, by a stable reason that the log, metrics, pages and docs share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Final

import msgspec

from asset_worker.domain.events import timestamp
from asset_worker.telemetry.queue_source import PendingCounts
from asset_worker.telemetry.sources import Delivery, Sources


class Reason(Enum):
    """The kinds of problems. The values are public: log, metrics, `/readyz`, `status.json` and the runbook use them."""

    KEY_REFUSED = "key_refused"
    API_UNAVAILABLE = "api_unavailable"
    PROXY_OR_KEY = "proxy_or_key"
    RATE_LIMITED = "rate_limited"
    INPUT_UNREADABLE = "input_unreadable"
    INPUT_REJECTED = "input_rejected"
    INPUTS_WAITING = "inputs_waiting"
    JOURNAL_FAILING = "journal_failing"
    DATABASE_FAILING = "database_failing"
    LEASE_LOST = "lease_lost"
    SINK_FAILING = "sink_failing"
    SINK_DOWN = "sink_down"
    SINK_PAUSED = "sink_paused"

    @property
    def runbook(self) -> str:
        """Where the runbook says what to do: in the repository, and at the admin port."""
        return f"docs/runbook.md#{self.value}"


ADVICE: Final[Mapping[Reason, str]] = {
    Reason.KEY_REFUSED: "Replace the key. A file of api.key_file is read again without a restart; a credential of "
    "systemd and TWELVE_LABS_API_KEY need one. Nothing is lost meanwhile.",
    Reason.API_UNAVAILABLE: "The worker recovers by itself. If other programs reach the API, look at the latest error: "
    "name resolution, proxy, TLS or status.",
    Reason.PROXY_OR_KEY: "Ask the API's URL with curl from this machine: something on the way may answer in its place.",
    Reason.RATE_LIMITED: "Find out who else uses the organisation's quota, or ask for a larger one. "
    "limits.share says how much of it the worker may use.",
    Reason.INPUT_UNREADABLE: "Make the file and its directory readable for the worker's user.",
    Reason.INPUT_REJECTED: "Correct the program that writes this input: the latest error is an example.",
    Reason.INPUTS_WAITING: "Find the event target that fails or is slow. Reading goes on by itself.",
    Reason.JOURNAL_FAILING: "Free space on the disk of the state directory, or repair it. The work goes on by itself.",
    Reason.DATABASE_FAILING: "Bring the fleet's database back, or the network on the way to it. The work goes on by "
    "itself, and nothing is lost meanwhile.",
    Reason.LEASE_LOST: "The worker goes on by itself as soon as the fleet's database answers in time; the others do "
    "its work meanwhile. Look at the load of the database and of this machine.",
    Reason.SINK_FAILING: "Look at the latest error: often a missing directory, permissions or a full disk.",
    Reason.SINK_DOWN: "Repair the receiver. Its events are kept, and sent when it answers.",
    Reason.SINK_PAUSED: "When the receiver wants events again, send SIGHUP, or use `asset-worker dead-letters retry`.",
}
"""What a person can do, by the reason; docs/runbook.md says more."""

API_PROBLEMS: Final[Mapping[str, tuple[Reason, str]]] = {
    "key_refused": (Reason.KEY_REFUSED, "the API refuses the key"),
    "unavailable": (Reason.API_UNAVAILABLE, "the API is unavailable"),
    "proxy_or_key": (
        Reason.PROXY_OR_KEY,
        "only 401 or 403 without the API's code: is it a proxy, a login page, or the key?",
    ),
    "rate_limited": (Reason.RATE_LIMITED, "the API's rate limit is used up"),
}
"""What to report by the present cause."""

READ_FROM_API: Final = frozenset({"account"})
"""The inputs, by name, that can't be read while the API refuses the key or is away: that is one problem, not two."""

SINK_REASONS: Final[Mapping[str, Reason]] = {
    "failing": Reason.SINK_FAILING,
    "down": Reason.SINK_DOWN,
    "paused": Reason.SINK_PAUSED,
}
"""What to report by the trouble of a delivery."""


class Problem(msgspec.Struct, frozen=True):
    """Something that is wrong now. Instants are seconds since the epoch, UTC; None: not known."""

    reason: Reason
    text: str
    """One sentence."""
    since: float | None = None
    last_error: str | None = None
    next_try: float | None = None
    """When it is tried again."""
    stops_work: bool = True
    """Whether it keeps the worker from working, so that it is not ready. What is written to an input never does: nobody
    who may write there must be able to make the worker unready. Nor does a limit that others have used up."""

    @property
    def advice(self) -> str:
        """What a person can do."""
        return ADVICE[self.reason]

    @property
    def runbook(self) -> str:
        """The section of the runbook about it."""
        return self.reason.runbook


def advice_for(reason: str | None) -> str | None:
    """Return what a person can do about a problem with this reason; None: this version does not know the reason."""
    return next((text for each, text in ADVICE.items() if each.value == reason), None)


def problems_of(sources: Sources) -> tuple[Problem, ...]:
    """Return what is wrong now."""
    return tuple(_problems(sources))


def problem_of(delivery: Delivery) -> Problem | None:
    """Return what is wrong with a sink; None: it works."""
    if (problem := delivery.problem) is None:
        return None
    since, last_error, next_try = delivery.failing_since, delivery.last_error, delivery.next_try
    return Problem(SINK_REASONS[problem.trouble], problem.text, since, last_error, next_try)


def _problems(sources: Sources) -> Iterator[Problem]:
    if (found := sources.gate.problem) is not None:
        reason, text = API_PROBLEMS[found.cause.value]
        yield Problem(reason, text, found.since, found.last_error, found.next_try, found.stops_work)
    explained = READ_FROM_API if found is not None and found.stops_work else frozenset()
    for each in sources.inputs:
        if each.unreadable is not None and each.name not in explained:
            text = f"the {each.name} can't be read ({each.unreadable})"
            yield Problem(Reason.INPUT_UNREADABLE, text, each.unreadable_since, each.unreadable)
    yield from _problems_of_queue(sources.queue)
    for delivery in sources.deliveries:
        if (problem := problem_of(delivery)) is not None:
            yield problem
    if (since := sources.queue.waiting_for_sinks_since) is not None:
        text = "the inputs are not read on until the sinks have taken more events"
        yield Problem(Reason.INPUTS_WAITING, text, since, stops_work=False)
    for rejected in sources.lines.rejected_inputs:
        text = f"nothing but rejected lines comes from {rejected.origin}"
        yield Problem(Reason.INPUT_REJECTED, text, rejected.since, rejected.reason, stops_work=False)


def _problems_of_queue(queue: PendingCounts) -> Iterator[Problem]:
    failure, fleet = queue.failure, queue.fleet
    if failure is not None and fleet is None:
        yield Problem(Reason.JOURNAL_FAILING, "the journal can't be written", failure.since, failure.error)
    elif failure is not None:
        yield Problem(Reason.DATABASE_FAILING, "the fleet's database can't be used", failure.since, failure.error)
    elif fleet is not None and (lapse := fleet.lapse) is not None:
        text = "the lease on the assets that this worker owns has ended: it looks at none of them"
        yield Problem(Reason.LEASE_LOST, text, lapse.since, lapse.error)


def shown_problem(problem: Problem) -> dict[str, str]:
    """Return the problem for JSON, as log, `/readyz` and `status.json` show it: what is not known is left out."""
    instants = {"since": problem.since, "next_try": problem.next_try}
    times = {name: timestamp(instant) for name, instant in instants.items() if instant is not None}
    error = {} if problem.last_error is None else {"last_error": problem.last_error}
    return {"reason": problem.reason.value, "problem": problem.text, **times, **error, "runbook": problem.runbook}
