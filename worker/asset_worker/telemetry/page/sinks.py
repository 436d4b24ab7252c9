"""What the status page says about sinks: a pure function of the facts."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

import msgspec

from asset_worker.runtime.text import visible
from asset_worker.telemetry import words
from asset_worker.telemetry.problems import Reason
from asset_worker.telemetry.values.deliveries import SinkState


class SinkRow(msgspec.Struct, frozen=True):
    """One sink."""

    name: str
    state: str
    is_wrong: bool
    backlog: str
    oldest: str
    """How old the oldest event is that it lacks; empty: there is none, or it is not known."""
    dead_letters: str
    dead_letter_count: int
    commands: Sequence[str]
    """What helps, to paste into a shell."""


def sink_rows(sinks: Sequence[SinkState], *, state_dir: str | None) -> list[SinkRow]:
    """Return a row for each sink."""
    return [_row(each, state_dir) for each in sinks]


def _row(sink: SinkState, state_dir: str | None) -> SinkRow:
    return SinkRow(
        name=visible(sink.name),
        state=_state(sink),
        is_wrong=sink.problem is not None,
        backlog=f"{sink.backlog:,}",
        oldest=words.duration(sink.oldest_age) if sink.backlog else "",
        dead_letters=f"{sink.dead_letters:,}",
        dead_letter_count=sink.dead_letters,
        commands=list(_commands(sink, state_dir)),
    )


def _state(sink: SinkState) -> str:
    if sink.problem is not None:
        return visible(sink.problem.text)
    return "works" if not sink.backlog else "works; events are on their way"


def _commands(sink: SinkState, state_dir: str | None) -> Iterator[str]:
    where = "" if state_dir is None else f" --state-dir {shlex.quote(visible(state_dir))}"
    which = f" --sink {shlex.quote(visible(sink.name))}{where}"
    if sink.dead_letters:
        yield f"asset-worker dead-letters list{which}"
    if sink.dead_letters or (sink.problem is not None and sink.problem.reason is Reason.SINK_PAUSED):
        yield f"asset-worker dead-letters retry{which}"
