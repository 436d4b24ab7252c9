"""A scene as one line of text, for terminals that only add lines, screen readers, and pipes: pure functions."""

from __future__ import annotations

from collections.abc import Iterator

from asset_worker.cli.screen.scene import Scene
from asset_worker.runtime.text import visible
from asset_worker.telemetry.words import by_outcome, counted, duration, problem_times, stages, time_left


def progress_line(scene: Scene) -> str:
    """Return the line, without a newline."""
    parts = _state(scene, with_times=True)
    if not scene.is_idle:
        parts += [counted(scene.requests, "request"), duration(scene.elapsed)]
    return f"{scene.title}: {'; '.join(parts)}"


def what_matters(scene: Scene) -> tuple[str, ...]:
    """Return what is worth another line when it changes: not the passing of time."""
    return tuple(_state(scene, with_times=False))


def _state(scene: Scene, *, with_times: bool) -> list[str]:
    return [visible(each) for each in _parts(scene, with_times=with_times)]


def _parts(scene: Scene, *, with_times: bool) -> Iterator[str]:
    if scene.is_idle:
        yield f"listening to {', '.join(scene.listening_to)}"
        yield "nothing pending"
    else:
        yield f"{scene.done}/{scene.total} done"
    if scene.waiting:
        yield "waiting for " + ", ".join(stages(scene.waiting))
    if scene.left is not None and with_times:
        others = f", not known of {counted(scene.unforeseen, 'asset')}" if scene.unforeseen else ""
        yield f"left {time_left(scene.left)}{others}"
    if scene.outcomes:
        yield "finished " + ", ".join(f"{name} {count}" for name, count in by_outcome(scene.outcomes))
    for problem in scene.problems:
        times = problem_times(problem, now=scene.now, utc_offset=scene.utc_offset) if with_times else []
        error = [problem.last_error] if problem.last_error and with_times else []
        yield f"problem: {', '.join([problem.text, *times, *error])}"
