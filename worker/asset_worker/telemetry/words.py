"""The words for people: what is waited for, durations, expected times, counts. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from asset_worker.domain.assets import Outcome
from asset_worker.schedule.forecast import Forecast
from asset_worker.telemetry.problems import Problem

STAGES: Final[Mapping[str, str]] = {
    "visibility": "not visible yet",
    "answer": "no answer yet",
    "asset": "processing",
}
"""What is waited for, as people know it. Other words, the names of renditions among them, are shown as they are."""
FIRST_LOOK: Final = "first look"
PROBLEMS_SHOWN: Final = 3


def stage(waiting_on: Sequence[str]) -> str:
    """Return what an asset waits for; nothing: it has not been looked at."""
    return " + ".join(STAGES.get(each, each) for each in waiting_on) or FIRST_LOOK


def stages(waiting: Mapping[str, int]) -> list[str]:
    """Return how many assets wait for what, in the order of the keys."""
    return [f"{STAGES.get(what, what)} {count}" for what, count in sorted(waiting.items())]


def counted(count: int, noun: str) -> str:
    """Return a count with its noun: `1 request`, `2 requests`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def duration(seconds: float) -> str:
    """Return a duration in its two largest units, the smaller one rounded down: `12 s`, `2 min 14 s`, `3 d 4 h`."""
    whole = max(0, int(seconds))
    for size, unit, smaller, smaller_unit in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {smaller_unit}" if rest else "")
    return f"{whole} s"


def clock_duration(seconds: float) -> str:
    """Return a duration as a stopwatch shows it, which is short: `0:12`, `2:14`, `1:02:14`."""
    minutes, second = divmod(max(0, int(seconds)), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02}:{second:02}" if hour else f"{minute}:{second:02}"


def precise_duration(seconds: float) -> str:
    """Return how long something took: to a tenth of a second below a minute."""
    return f"{max(0.0, seconds):.1f} s" if seconds < 59.95 else duration(seconds)


def about(seconds: float) -> str:
    """Return an expected duration, no more precise than it is known: `8 s`, `40 s`, `3 min`, `1.5 h`."""
    if seconds < 9.5:
        return f"{max(1, round(seconds))} s"
    if seconds < 57.5:
        return f"{round(seconds / 5) * 5} s"
    if seconds < 3_570:
        return f"{max(1, round(seconds / 60))} min"
    if seconds < 86_400:
        return f"{round(seconds / 1_800) / 2:g} h"
    return f"{round(seconds / 86_400)} d"


def time_left(left: Forecast) -> str:
    """Return the expected time left: `~2 min (up to 5 min)`. Nine in ten waits end within the second."""
    usual, longest = about(left.p50), about(left.p90)
    return f"~{usual}" if longest == usual else f"~{usual} (up to {longest})"


def short_time_left(left: Forecast) -> str:
    """Return the same where there is little room: `~2-5 min`."""
    usual, longest = about(left.p50), about(left.p90)
    if usual == longest:
        return f"~{usual}"
    count, _, unit = usual.partition(" ")
    return f"~{count if longest.endswith(unit) else usual}-{longest}"


def by_outcome(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return the counts of the outcomes, in the order in which people look for them: what is ready first."""
    order = [each.value for each in Outcome]
    return sorted(counts.items(), key=lambda each: order.index(each[0]) if each[0] in order else len(order))


def clock_time(instant: float, utc_offset: float) -> str:
    """Return the time of day of an instant (seconds since the epoch), on clocks `utc_offset` seconds ahead of UTC."""
    second = int(instant + utc_offset) % 86_400
    return f"{second // 3_600:02}:{second % 3_600 // 60:02}:{second % 60:02}"


def problem_times(problem: Problem, *, now: float, utc_offset: float) -> list[str]:
    """Return since when there is a problem, and in how many seconds it is tried again, as far as that is known."""
    found = []
    if problem.since is not None:
        found.append(f"since {clock_time(problem.since, utc_offset)} ({duration(now - problem.since)})")
    if problem.next_try is not None:
        found.append(f"next try in {duration(problem.next_try - now)}")
    return found
