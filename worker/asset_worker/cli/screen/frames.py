"""A scene as the rows of a live display, for a terminal of any size: pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
from rich.cells import cell_len

from asset_worker.cli.screen.asset_table import asset_table
from asset_worker.cli.screen.scene import Scene
from asset_worker.cli.screen.spans import OUTCOME_STYLES, Line, Span, cut_line, cut_start, joined, width_of
from asset_worker.runtime.text import visible
from asset_worker.telemetry.words import (
    PROBLEMS_SHOWN,
    by_outcome,
    clock_duration,
    counted,
    duration,
    problem_times,
    stages,
    time_left,
)

SPINNER: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
SPINNER_SECONDS: Final = 0.25
"""How long the spinner stands still."""
BAR_CELLS: Final = (8, 30)
"""The least and the most cells of the bar."""
DOT: Final = " · "


def frame(scene: Scene, *, columns: int, rows: int) -> list[Line]:
    """Return the rows of the live display: at most `rows` of them, each at most `columns` cells wide."""
    spinner = SPINNER[int(scene.elapsed / SPINNER_SECONDS) % len(SPINNER)]
    table: list[Line] = []
    below: list[Line] = []
    if scene.is_idle:
        head = [_idle(scene, columns), *(_totals(scene, columns) if scene.done else [])]
    elif scene.assets is not None:
        table = asset_table(scene.assets, spinner, columns=columns)
        head = _totals(scene, columns)
    else:
        head = [_bar(scene, spinner, columns)]
        below += _details(scene)
    below += _problems(scene, columns)
    room = max(0, rows - len(head) - len(below))
    if len(table) > room:
        hidden = len(table) - max(0, room - 1)
        table = [*table[: max(0, room - 1)], *([(Span(f"  and {hidden} more", "dim"),)] if room else [])]
    return [cut_line(line, columns) for line in [*table, *head, *below][:rows]]


def last_frame(scene: Scene, *, columns: int) -> list[Line]:
    """Return what stays on the terminal when the run has ended: how each asset of a few ended, and the totals."""
    ended = [each for each in scene.assets or () if each.outcome is not None]
    problems = [msgspec.structs.replace(each, next_try=None) for each in scene.problems]
    over = msgspec.structs.replace(scene, is_stopping=False, listening_to=(), problems=problems)
    lines = [*asset_table(ended, " ", columns=columns), *_totals(over, columns), *_problems(over, columns)]
    return [cut_line(line, columns) for line in lines]


def _idle(scene: Scene, columns: int) -> Line:
    """Return the line of a service that waits. Nothing in it moves: it may be shown for days."""
    before, after = "listening to ", "; nothing pending"
    inputs = cut_start(visible(", ".join(scene.listening_to)), max(1, columns - len(before) - len(after)))
    return (Span(f"{before}{inputs}{after}"),)


def _totals(scene: Scene, columns: int) -> list[Line]:
    """Return what was done so far, on one line; where there is little room, the outcomes on a second one."""
    done = f"{scene.done}/{scene.total} done"
    counts = [counted(scene.requests, "request"), *([] if scene.is_idle else [duration(scene.elapsed)])]
    outcomes = _outcomes(scene)
    head: Line = () if scene.is_idle else (Span(f"{_title(scene)}: ", "bold"),)
    line = (*head, *joined([(Span(done, "bold"),), outcomes, *_texts(counts)], DOT))
    if width_of(line) <= columns or not outcomes:
        return [line]
    return [(*head, *joined([(Span(done, "bold"),), *_texts(counts)], DOT)), (Span("  "), *outcomes)]


def _bar(scene: Scene, spinner: str, columns: int) -> Line:
    """Return the line with the bar. Where there is little room, requests, rate and bar are left out, in this order."""
    rate = scene.done / scene.elapsed if scene.elapsed else 0.0
    before: Line = (Span(f"{spinner} ", "cyan"), Span(_title(scene), "bold"))
    after = [
        f"{scene.done}/{scene.total} done",
        clock_duration(scene.elapsed),
        *([f"{rate:.1f}/s"] if rate >= 0.05 else []),
        counted(scene.requests, "request"),
    ]
    while len(after) > 1 and width_of(joined([before, *_texts(after)])) + 2 + BAR_CELLS[0] > columns:
        after.pop()
    left = columns - width_of(joined([before, *_texts(after)])) - 2
    bar = _filled(scene.done / max(1, scene.total), min(left, BAR_CELLS[1])) if left >= BAR_CELLS[0] else ()
    return joined([before, bar, *_texts(after)])


def _filled(share: float, cells: int) -> Line:
    full = round(share * cells)
    return (Span("━" * full, "green"), Span("━" * (cells - full), "dim"))


def _details(scene: Scene) -> Iterator[Line]:
    if scene.left is not None:
        others = f", not known of {counted(scene.unforeseen, 'asset')}" if scene.unforeseen else ""
        yield (Span(f"  expected end in {time_left(scene.left)}{others}"),)
    if scene.waiting:
        yield (Span("  waiting for  ", "dim"), Span(DOT.join(stages(scene.waiting))))
    if scene.outcomes:
        yield (Span("  finished     ", "dim"), *_outcomes(scene))


def _outcomes(scene: Scene) -> Line:
    counts = by_outcome(scene.outcomes)
    return joined([(Span(f"{name} {count}", OUTCOME_STYLES.get(name, "")),) for name, count in counts], DOT)


def _problems(scene: Scene, columns: int) -> Iterator[Line]:
    """Yield one line a problem; where there is little room, its times and its error on lines of their own."""
    for problem in scene.problems[:PROBLEMS_SHOWN]:
        text: Line = (Span("problem: ", "bold"), Span(visible(problem.text), "red"))
        times = joined(_texts(problem_times(problem, now=scene.now, utc_offset=scene.utc_offset)), DOT)
        error: Line = (Span(visible(problem.last_error or "")),)
        line = joined([text, times, error], DOT)
        if width_of(line) <= columns:
            yield line
        else:
            more = joined([times, error], DOT)
            below = [more] if width_of(more) + 2 <= columns else [times, error]
            yield from (text, *((Span("  "), *each) for each in below if width_of(each)))
    if (hidden := len(scene.problems) - PROBLEMS_SHOWN) > 0:
        yield (Span(f"and {counted(hidden, 'more problem')}"),)


def _title(scene: Scene) -> str:
    return f"{scene.title}, stopping" if scene.is_stopping else scene.title


def _texts(texts: Sequence[str]) -> list[Line]:
    return [(Span(text),) for text in texts if cell_len(text)]
