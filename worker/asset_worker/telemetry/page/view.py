"""What the status page says, in words: a pure function of the facts. The template only arranges it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from asset_worker.telemetry import words
from asset_worker.telemetry.page.facts import Facts, Process
from asset_worker.telemetry.page.plots import Plot
from asset_worker.telemetry.page.plotting import AXIS, plots_of
from asset_worker.telemetry.page.rows import (
    ClassRow,
    FinishedRow,
    InputRow,
    QuotaRow,
    WaitingRow,
    class_row,
    finished_row,
    input_row,
    quota_row,
    waiting_row,
)
from asset_worker.telemetry.page.sinks import SinkRow, sink_rows
from asset_worker.telemetry.page.texts import MARKS, Instant, State, counted, instant, number, sentence, shown
from asset_worker.telemetry.problems import Problem
from asset_worker.telemetry.snapshot import Snapshot
from asset_worker.telemetry.values.deliveries import SinkState

WAITING_SHOWN: Final = 10
FINISHED_SHOWN: Final = 10
"""Of those that finished lately, the others are below a line that opens them."""
CLASSES_SHOWN: Final = 8


class ProblemCard(msgspec.Struct, frozen=True):
    """One problem."""

    anchor: str
    """The reason; of further problems for the same reason, with a number."""
    reason: str
    text: str
    since: Instant | None
    lasted: str
    last_error: str
    next_try: Instant | None
    advice: str
    runbook: str
    """The address of its section, relative to that of the page."""


class Count(msgspec.Struct, frozen=True):
    """How many there are of something."""

    what: str
    count: str


class View(msgspec.Struct, frozen=True, kw_only=True):
    """The whole page."""

    title: str
    state: State
    mark: str
    """A sign for the state: colour is never the only one."""
    headline: str
    detail: str
    care: str
    """What waits for a person although the work goes on; empty: nothing."""
    made: Instant
    problems: Sequence[ProblemCard]
    figures: Sequence[Count]
    stages: Sequence[Count]
    waiting: Sequence[WaitingRow]
    more_waiting: str
    """How many others are pending; empty: none."""
    finished: Sequence[FinishedRow]
    earlier: Sequence[FinishedRow]
    outcomes: Sequence[Count]
    sinks: Sequence[SinkRow]
    inputs: Sequence[InputRow]
    quotas: Sequence[QuotaRow]
    workings: Sequence[Count]
    """How requests are made now."""
    plots: Sequence[Plot]
    axis: Sequence[str]
    """The times below the plots, from the left to the right."""
    observed: str
    """For how long the worker has been observed; empty: for the whole hour."""
    learned: Sequence[ClassRow] | None
    about: Sequence[Count]
    version: str


def view_of(facts: Facts) -> View:
    """Return what the page says."""
    pending, now = facts.state.pending, facts.now
    sinks = sink_rows(facts.state.sinks, state_dir=facts.process.state_dir)
    letters = _dead_letters(facts.state.sinks)
    state, headline, detail = _judged(facts, letters)
    finished = [finished_row(each, now) for each in facts.finished]
    waiting = facts.waiting[:WAITING_SHOWN]
    plots = plots_of(facts.samples, bounds=facts.lag_bounds)
    learned = None if facts.learned is None else [class_row(each) for each in facts.learned[:CLASSES_SHOWN]]
    return View(
        title=f"{MARKS[state]} {_most_pressing(facts) or headline} – asset-worker{_on(facts.process)}",
        state=state,
        mark=MARKS[state],
        headline=headline,
        detail=detail,
        care=f"{letters} to look at" if letters else "",
        made=instant(now, now),
        problems=_cards(facts.state.problems, now),
        figures=_figures(facts),
        stages=_stages(facts.state.waiting_on),
        waiting=[waiting_row(each, facts.names.get(each.asset_id, "")) for each in waiting],
        more_waiting=number(pending - len(waiting)) if pending > len(waiting) > 0 else "",
        finished=finished[:FINISHED_SHOWN],
        earlier=finished[FINISHED_SHOWN:],
        outcomes=[Count(shown(what, 64), number(count)) for what, count in words.by_outcome(facts.state.completions)],
        sinks=sinks,
        inputs=[input_row(each) for each in facts.inputs],
        quotas=[quota_row(each) for each in facts.state.quotas],
        workings=_workings(facts.state),
        plots=plots.each,
        axis=[f"{datetime.fromtimestamp(int(now - ago), UTC):%H:%M}" for ago in AXIS],
        observed=plots.observed,
        learned=learned,
        about=_about(facts.process, now),
        version=shown(facts.process.version),
    )


def _dead_letters(sinks: Sequence[SinkState]) -> str:
    """Return how many dead letters there are; empty: none."""
    letters = sum(each.dead_letters for each in sinks)
    return counted(letters, "dead letter") if letters else ""


def _judged(facts: Facts, letters: str) -> tuple[State, str, str]:
    """Return whether all is well, as a headline and a sentence."""
    pending = f"{counted(facts.state.pending, 'asset')} pending"
    if facts.state.problems:
        return "problem", counted(len(facts.state.problems), "problem"), f"{pending}; nothing is lost."
    if facts.is_stopping:
        return "attention", "The worker is stopping", "What is pending is kept for the next start."
    if letters:
        return "attention", f"All is well, except for {letters}", f"{pending}."
    return "well", "All is well", f"{pending}."


def _most_pressing(facts: Facts) -> str:
    """Return the first problem, for a row of tabs where there is little room; empty: there is none."""
    return shown(facts.state.problems[0].text, 120) if facts.state.problems else ""


def _on(process: Process) -> str:
    return f" on {shown(process.host)}" if process.host else ""


def _cards(problems: Sequence[Problem], now: float) -> list[ProblemCard]:
    found, seen = [], dict[str, int]()
    for each in problems:
        reason = each.reason.value
        seen[reason] = number = seen.get(reason, 0) + 1
        found.append(
            ProblemCard(
                anchor=reason if number == 1 else f"{reason}-{number}",
                reason=reason,
                text=sentence(each.text),
                since=None if each.since is None else instant(each.since, now),
                lasted="" if each.since is None else words.duration(now - each.since),
                last_error=shown(each.last_error or ""),
                next_try=None if each.next_try is None else instant(max(each.next_try, now), now),
                advice=each.advice,
                runbook=each.runbook,
            )
        )
    return found


def _figures(facts: Facts) -> list[Count]:
    state = facts.state
    due = f"{number(state.due)} or more" if state.due >= 1000 else number(state.due)
    return [
        Count("pending", number(state.pending)),
        Count("due now", due),
        Count("oldest", words.about(state.oldest_pending_age) if state.pending else "–"),
        Count("finished", number(sum(state.completions.values()))),
        Count("requests", number(state.requests)),
        Count("refused (429)", number(state.refusals)),
        Count("retries", number(state.retries)),
        Count("events to send", number(state.outbox_depth)),
    ]


def _stages(counts: Mapping[str, int]) -> list[Count]:
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    return [Count(shown(words.STAGES.get(what, what), 64), number(count)) for what, count in ordered if count]


def _workings(state: Snapshot) -> list[Count]:
    return [
        Count("requests in flight", number(state.requests_in_flight)),
        Count("looks share lists", "yes" if state.lists_in_use else "no"),
        Count("delays stretched", f"{state.backlog_factor:.1f} ×"),
        Count("event loop blocked in the last minute", f"{1000 * state.loop_lag:,.0f} ms at most"),
    ]


def _about(process: Process, now: float) -> list[Count]:
    return [Count(what, value) for what, value in _known(process, now) if value]


def _known(process: Process, now: float) -> Iterator[tuple[str, str]]:
    started = instant(process.started_at, now)
    yield "version", shown(process.version)
    yield "running since", f"{started.text} ({words.duration(now - process.started_at)})"
    yield "host", shown(process.host or "")
    yield "process", "" if process.pid is None else str(process.pid)
    yield "unit", shown(process.unit or "")
    yield "state directory", shown(process.state_dir or "")
