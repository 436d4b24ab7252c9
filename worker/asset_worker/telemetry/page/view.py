"""What the status page says, in words: a pure function of the facts. The template only arranges it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec

from asset_worker.domain.events import timestamp
from asset_worker.domain.finished import FinishedAsset
from asset_worker.domain.worker_report import QuotaReport
from asset_worker.runtime.text import clip, visible
from asset_worker.schedule.report import Brief
from asset_worker.telemetry import words
from asset_worker.telemetry.page.facts import Facts, InputFacts, Process
from asset_worker.telemetry.page.links import safe_link
from asset_worker.telemetry.page.plots import Plot
from asset_worker.telemetry.page.plotting import AXIS, plots_of
from asset_worker.telemetry.page.sinks import SinkRow, sink_rows
from asset_worker.telemetry.problems import Problem
from asset_worker.telemetry.snapshot import Snapshot
from asset_worker.telemetry.values.deliveries import SinkState
from asset_worker.telemetry.waiting import WaitingAsset

WAITING_SHOWN: Final = 10
FINISHED_SHOWN: Final = 10
"""Of those that finished lately, the others are below a line that opens them."""
CLASSES_SHOWN: Final = 8
LONGEST_TEXT: Final = 1_000
"""Characters that are shown of an error. Whoever needs more looks into the log."""
State = Literal["well", "attention", "problem"]


class Instant(msgspec.Struct, frozen=True):
    """An instant, for people and for programs."""

    iso: str
    """RFC 3339, UTC."""
    text: str
    """The time of day, UTC, with the date if that is another day."""
    distance: str
    """How far it is from now: `3 min ago`, `in 12 s`."""


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


class Count(msgspec.Struct, frozen=True):
    """How many there are of something."""

    what: str
    count: str


class WaitingRow(msgspec.Struct, frozen=True):
    """A pending asset."""

    asset_id: str
    filename: str
    stage: str
    age: str
    left: str
    """Empty: it is not known."""
    next_look: str


class Link(msgspec.Struct, frozen=True):
    """A link to another site."""

    name: str
    address: str


class FinishedRow(msgspec.Struct, frozen=True):
    """An asset whose wait has ended."""

    asset_id: str
    filename: str
    outcome: str
    mark: str
    """A sign beside the outcome: colour is never the only one."""
    style: State
    reason: str
    at: Instant
    took: str
    links: Sequence[Link]


class InputRow(msgspec.Struct, frozen=True):
    """One input."""

    name: str
    state: str
    position: str
    behind: str
    is_wrong: bool


class QuotaRow(msgspec.Struct, frozen=True):
    """One quota of the API."""

    name: str
    text: str
    width: float
    """What is left, in percent."""
    resets: str


class ClassRow(msgspec.Struct, frozen=True):
    """What was learned of one class of assets."""

    name: str
    seen: str
    half: str
    most: str
    nearly_all: str
    looks: str
    lag: str


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
    finished = [_finished_row(each, now) for each in facts.finished]
    waiting = facts.waiting[:WAITING_SHOWN]
    plots = plots_of(facts.samples, bounds=facts.lag_bounds)
    learned = None if facts.learned is None else [_class_row(each) for each in facts.learned[:CLASSES_SHOWN]]
    return View(
        title=f"{_MARKS[state]} {_most_pressing(facts) or headline} – asset-worker{_on(facts.process)}",
        state=state,
        mark=_MARKS[state],
        headline=headline,
        detail=detail,
        care=f"{letters} to look at" if letters else "",
        made=instant(now, now),
        problems=_cards(facts.state.problems, now),
        figures=_figures(facts),
        stages=_stages(facts.state.waiting_on),
        waiting=[_waiting_row(each, facts.names.get(each.asset_id, "")) for each in waiting],
        more_waiting=_number(pending - len(waiting)) if pending > len(waiting) > 0 else "",
        finished=finished[:FINISHED_SHOWN],
        earlier=finished[FINISHED_SHOWN:],
        outcomes=[Count(_shown(what, 64), _number(count)) for what, count in words.by_outcome(facts.state.completions)],
        sinks=sinks,
        inputs=[_input_row(each) for each in facts.inputs],
        quotas=[_quota_row(each) for each in facts.state.quotas],
        workings=_workings(facts.state),
        plots=plots.each,
        axis=[f"{datetime.fromtimestamp(int(now - ago), UTC):%H:%M}" for ago in AXIS],
        observed=plots.observed,
        learned=learned,
        about=_about(facts.process, now),
        version=_shown(facts.process.version),
    )


def instant(at: float, now: float) -> Instant:
    """Return an instant (seconds since the epoch, UTC) as it is shown at `now`."""
    moment = datetime.fromtimestamp(int(at), UTC)
    is_today = moment.date() == datetime.fromtimestamp(int(now), UTC).date()
    text = f"{moment:%H:%M:%S} UTC" if is_today else f"{moment.day} {moment:%b %Y, %H:%M:%S} UTC"
    distance = f"in {words.duration(at - now)}" if at > now else f"{words.duration(now - at)} ago"
    return Instant(timestamp(at), text, distance)


_MARKS: Final[Mapping[State, str]] = {"well": "✓", "attention": "!", "problem": "✕"}
_STYLES: Final[Mapping[str, State]] = {"ready": "well", "degraded": "attention"}
"""How outcomes look; all others are problems."""
_UNITS: Final = ("kB", "MB", "GB", "TB")


def _dead_letters(sinks: Sequence[SinkState]) -> str:
    """Return how many dead letters there are; empty: none."""
    letters = sum(each.dead_letters for each in sinks)
    return _counted(letters, "dead letter") if letters else ""


def _judged(facts: Facts, letters: str) -> tuple[State, str, str]:
    """Return whether all is well, as a headline and a sentence."""
    pending = f"{_counted(facts.state.pending, 'asset')} pending"
    if facts.state.problems:
        return "problem", _counted(len(facts.state.problems), "problem"), f"{pending}; nothing is lost."
    if facts.is_stopping:
        return "attention", "The worker is stopping", "What is pending is kept for the next start."
    if letters:
        return "attention", f"All is well, except for {letters}", f"{pending}."
    return "well", "All is well", f"{pending}."


def _most_pressing(facts: Facts) -> str:
    """Return the first problem, for a row of tabs where there is little room; empty: there is none."""
    return _shown(facts.state.problems[0].text, 120) if facts.state.problems else ""


def _sentence(text: str) -> str:
    """Return a text as a sentence: it begins with a capital letter, and ends with a full stop."""
    shown = _shown(text)
    return shown[:1].upper() + shown[1:] + ("" if shown.endswith((".", "?", "!")) else ".")


def _shown(text: str, longest: int = LONGEST_TEXT) -> str:
    return clip(visible(text), longest)


def _number(count: float) -> str:
    return f"{count:,.0f}"


def _counted(count: int, noun: str) -> str:
    return f"{_number(count)} {noun}" if count == 1 else f"{_number(count)} {noun}s"


def _on(process: Process) -> str:
    return f" on {_shown(process.host)}" if process.host else ""


def _cards(problems: Sequence[Problem], now: float) -> list[ProblemCard]:
    found, seen = [], dict[str, int]()
    for each in problems:
        reason = each.reason.value
        seen[reason] = number = seen.get(reason, 0) + 1
        found.append(
            ProblemCard(
                anchor=reason if number == 1 else f"{reason}-{number}",
                reason=reason,
                text=_sentence(each.text),
                since=None if each.since is None else instant(each.since, now),
                lasted="" if each.since is None else words.duration(now - each.since),
                last_error=_shown(each.last_error or ""),
                next_try=None if each.next_try is None else instant(max(each.next_try, now), now),
                advice=each.advice,
            )
        )
    return found


def _figures(facts: Facts) -> list[Count]:
    state = facts.state
    due = f"{_number(state.due)} or more" if state.due >= 1000 else _number(state.due)
    return [
        Count("pending", _number(state.pending)),
        Count("due now", due),
        Count("oldest", words.about(state.oldest_pending_age) if state.pending else "–"),
        Count("finished", _number(sum(state.completions.values()))),
        Count("requests", _number(state.requests)),
        Count("refused (429)", _number(state.refusals)),
        Count("retries", _number(state.retries)),
        Count("events to send", _number(state.outbox_depth)),
    ]


def _stages(counts: Mapping[str, int]) -> list[Count]:
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    return [Count(_shown(words.STAGES.get(what, what), 64), _number(count)) for what, count in ordered if count]


def _waiting_row(asset: WaitingAsset, filename: str) -> WaitingRow:
    if asset.due_in is None:
        next_look = "looking now"
    else:
        next_look = f"in {words.duration(asset.due_in)}" if asset.due_in >= 1 else "due"
    return WaitingRow(
        asset_id=_shown(asset.asset_id),
        filename=_shown(filename, 255),
        stage=_shown(words.stage(asset.progress.waiting_on), 255),
        age=words.duration(asset.age),
        left="" if asset.left is None else words.time_left(asset.left),
        next_look=next_look,
    )


def _finished_row(asset: FinishedAsset, now: float) -> FinishedRow:
    style = _STYLES.get(asset.outcome, "problem")
    links = ((name, safe_link(address)) for name, address in asset.addresses.items())
    return FinishedRow(
        asset_id=_shown(asset.asset_id),
        filename=_shown(asset.filename, 255),
        outcome=_shown(asset.outcome, 64),
        mark=_MARKS[style],
        style=style,
        reason=_shown(asset.reason or ""),
        at=instant(asset.at, now),
        took=words.precise_duration(asset.took),
        links=[Link(_shown(name, 64), address) for name, address in links if address is not None],
    )


def _input_row(one: InputFacts) -> InputRow:
    position, behind = one.progress.position, one.progress.behind
    if one.unreadable is not None:
        state = f"can't be read: {_shown(one.unreadable)}"
    else:
        state = "is followed" if behind is None else "is being read" if behind else "has been read to its end"
    return InputRow(
        name=_shown(one.name),
        state=state,
        position="" if position is None else _bytes(position),
        behind="" if behind is None else _bytes(behind),
        is_wrong=one.unreadable is not None,
    )


def _bytes(count: int) -> str:
    """Return a number of bytes for people: `812 bytes`, `3.4 MB`."""
    if count < 1_000:
        return words.counted(count, "byte")
    power = min(len(str(count)) - 1, 3 * len(_UNITS)) // 3
    return f"{count / 1_000**power:,.1f} {_UNITS[power - 1]}"


def _quota_row(quota: QuotaReport) -> QuotaRow:
    width = min(max(100 * quota.remaining / quota.limit, 0.0), 100.0) if quota.limit > 0 else 0.0
    return QuotaRow(
        name=_shown(quota.name, 64),
        text=f"{_number(quota.remaining)} of {_number(quota.limit)} requests left",
        width=round(width, 1),
        resets=f"renewed in {words.duration(quota.resets_in)}",
    )


def _workings(state: Snapshot) -> list[Count]:
    return [
        Count("requests in flight", _number(state.requests_in_flight)),
        Count("looks share lists", "yes" if state.lists_in_use else "no"),
        Count("delays stretched", f"{state.backlog_factor:.1f} ×"),
        Count("event loop blocked in the last minute", f"{1000 * state.loop_lag:,.0f} ms at most"),
    ]


def _class_row(one: Brief) -> ClassRow:
    return ClassRow(
        name=_shown(one.name, 120),
        seen=_number(one.evidence),
        half=words.about(one.p50),
        most=words.about(one.p90),
        nearly_all=words.about(one.p99),
        looks="–" if one.looks is None else f"{one.looks:.1f}",
        lag="–" if one.lag is None else words.precise_duration(one.lag),
    )


def _about(process: Process, now: float) -> list[Count]:
    return [Count(what, value) for what, value in _known(process, now) if value]


def _known(process: Process, now: float) -> Iterator[tuple[str, str]]:
    started = instant(process.started_at, now)
    yield "version", _shown(process.version)
    yield "running since", f"{started.text} ({words.duration(now - process.started_at)})"
    yield "host", _shown(process.host or "")
    yield "process", "" if process.pid is None else str(process.pid)
    yield "unit", _shown(process.unit or "")
    yield "state directory", _shown(process.state_dir or "")
