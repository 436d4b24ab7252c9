"""Decides how a run shows itself on standard output and standard error, and runs it so."""

from __future__ import annotations

import codecs
import os
import stat
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from asset_worker.cli.form import Form
from asset_worker.domain.events import Stored
from asset_worker.domain.run_plan import RunPlan
from asset_worker.policies import inputs
from asset_worker.poller.decide import Settle
from asset_worker.poller.observing import Observe, ignore
from asset_worker.runtime.terminals import columns_of, has_colours, is_terminal, obeys_control_sequences
from asset_worker.runtime.text import visible
from asset_worker.service import Service
from asset_worker.settings.tree import Settings
from asset_worker.sinks.lines import ToLines, lines_of

STDOUT: Final = 1
STDERR: Final = 2
INPUTS: Final = {"-": "stdin", "account": "the account"}
Progress = Literal["none", "lines", "live"]


class Streams(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about the output of this process before the run."""

    stderr_is_terminal: bool
    obeys_control: bool
    """The terminal obeys control sequences, and shows all characters."""
    others_write: bool
    """Something else may write to the terminal: the reader of a pipe, or events in a file that is a terminal."""


def progress_of(form: Form, streams: Streams) -> Progress:
    """Return how progress is shown. A live display would be spoilt by another writer, and by a plain terminal."""
    if form.quiet or not streams.stderr_is_terminal:
        return "none"
    return "lines" if form.plain or streams.others_write or not streams.obeys_control else "live"


def shows_lines_above_display(form: Form) -> bool:
    """Return whether standard output and standard error are terminals, where people see events as lines."""
    return not form.json and is_terminal(STDOUT) and is_terminal(STDERR)


def shown_to_people(form: Form) -> Callable[[Settle], bool]:
    """Return a function that says whether the line of an event shows people how a wait ended, with the whole reason.

    It does not if standard output or standard error is no terminal, or if events are JSON.
    """
    if not shows_lines_above_display(form):
        return lambda _: False
    from asset_worker.cli.screen.event_lines import event_line  # noqa: PLC0415 - rich, only for a terminal
    from asset_worker.cli.screen.spans import without_styles  # noqa: PLC0415

    def is_shown(step: Settle) -> bool:
        line = without_styles(event_line(step.event.body, columns=columns_of(STDOUT)))
        return step.verdict.reason is None or line.endswith(visible(step.verdict.reason))

    return is_shown


class Showing:
    """How one run shows itself."""

    def __init__(self, settings: Settings, plan: RunPlan, *, title: str, form: Form) -> None:
        self._title = title
        self._form = form
        self._listening_to = () if plan.ends_by_itself else _inputs_of(settings)
        targets = settings.events.local_targets
        self._shows_ended = "-" not in targets or not is_terminal(STDOUT)
        self._progress = progress_of(form, _streams(targets))
        self.lines_of: ToLines = lines_of
        """How standard output shows events: as JSON, or on a terminal as lines for people."""
        if is_terminal(STDOUT) and not form.json:
            self.lines_of = _lines_for_people(colours=has_colours(STDOUT) and not form.plain)
        self.observe: Observe = ignore
        """Must be called after each look."""
        if self._progress == "live":
            from asset_worker.cli.screen.seen import Seen  # noqa: PLC0415 - rich, only for a terminal

            self._seen = Seen()
            self.observe = self._seen.observe

    async def run(self, service: Service) -> int:
        """Run the service and return its exit code. Progress is shown if stderr is a terminal."""
        if self._progress == "none":
            return await service.run()
        from asset_worker.cli.screen import live  # noqa: PLC0415 - rich, only for a terminal
        from asset_worker.cli.screen.seen import Seen  # noqa: PLC0415
        from asset_worker.cli.screen.view import View  # noqa: PLC0415

        seen = self._seen if self._progress == "live" else Seen()
        view = View(service, seen, title=self._title, listening_to=self._listening_to, shows_ended=self._shows_ended)
        if self._progress == "lines":
            return await live.run_with_progress_lines(service, view)
        return await live.run_with_live_display(service, view, colours=has_colours(STDERR))


def _lines_for_people(*, colours: bool) -> ToLines:
    from asset_worker.cli.screen.event_lines import event_line  # noqa: PLC0415 - rich, only for a terminal
    from asset_worker.cli.screen.spans import styled, without_styles  # noqa: PLC0415

    encoding = sys.stdout.encoding

    def lines_for_people(events: Sequence[Stored]) -> list[bytes]:
        columns = columns_of(STDOUT)
        lines = [event_line(event.body, columns=columns) for event in events]
        texts = [styled(line) if colours else without_styles(line) for line in lines]
        return [f"{text}\n".encode(encoding, "backslashreplace") for text in texts]

    return lines_for_people


def _inputs_of(settings: Settings) -> tuple[str, ...]:
    """Return what a service listens to, in words."""
    found = [INPUTS.get(each, each) if isinstance(each, str) else str(each) for each in inputs(settings)]
    if settings.admin.accepts_submissions:
        found.append("HTTP requests")
    return tuple(found)


def _streams(targets: Sequence[str]) -> Streams:
    return Streams(
        stderr_is_terminal=sys.stderr.isatty(),
        obeys_control=obeys_control_sequences() and _is_utf8(sys.stderr.encoding),
        others_write=any(map(_others_may_write, targets)),
    )


def _is_utf8(encoding: str) -> bool:
    return codecs.lookup(encoding).name == "utf-8"


def _others_may_write(target: str) -> bool:
    """Return whether events may appear on the terminal of standard error other than through this process's own writer.

    Standard output may be that terminal, as its lines are written above the display. The reader of a pipe may write to
    the terminal, as in `| jq`, and so may what is behind a device.
    """
    try:
        status = os.fstat(STDOUT) if target == "-" else Path(target).stat()
        if target == "-" and os.path.samestat(status, os.fstat(STDERR)):
            return False
        return not stat.S_ISREG(status.st_mode) and not os.path.samestat(status, Path(os.devnull).stat())
    except OSError:
        return False
