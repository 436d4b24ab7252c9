"""Four workers with one key: what they send of a quota that is told, and of a limit that is not, in virtual time."""

from __future__ import annotations

from typing import NamedTuple

from tests.bench.world import Row
from tests.doubles.limited_fleet import adopt_the_latest, limiters, run_fleet
from tests.doubles.limited_server import Server

SHARE = 0.8
"""Our share of a quota that is told, as by default."""
PORTIONS = ((0.25,) * 4, (0.7, 0.1, 0.1, 0.1))
TOLD = ((60, 60), (600, 60), (1_200, 3_600))
UNTOLD = ((60, 10), (600, 60), (60, 60))
STYLES = ("vendor", "ietf counted", "ietf structured")
SECONDS = 1_800.0
LEARNING_SECONDS = 300.0


class Case(NamedTuple):
    """A server with a limit of so many requests in a window of so many seconds."""

    limit: int
    window: int
    style: str
    portions: tuple[float, ...]

    @property
    def is_told(self) -> bool:
        return self.style != "none"


def cases() -> list[Case]:
    """All measurements."""
    told = [Case(*each, style, portions) for each in TOLD for style in STYLES for portions in PORTIONS]
    return [*told, *(Case(*each, "none", PORTIONS[0]) for each in UNTOLD)]


def measure_limit(case: Case) -> Row:
    """The accepted requests, relative to our share of what is told or else to those of one worker; and the refused."""

    def run(portions: tuple[float, ...]):
        return run_fleet(
            Server(case.limit, case.window, case.style),
            limiters(list(portions), share=SHARE if case.is_told else 1.0),
            seconds=max(SECONDS, 3.0 * case.window),
            since=0.0 if case.is_told else LEARNING_SECONDS,
            at_renewals=(lambda now, limiters: None) if case.is_told else adopt_the_latest,
        )

    together = run(case.portions)
    seconds = max(SECONDS, 3.0 * case.window)
    usable = seconds / case.window * case.limit * SHARE if case.is_told else run((1.0,)).accepted
    return case._asdict() | {"ratio": together.accepted / usable, "refused": together.refused_share}
