"""Texts for people, as several parts of the status page show them: pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec

from asset_worker.domain.events import timestamp
from asset_worker.runtime.text import clip, visible
from asset_worker.telemetry import words

LONGEST_TEXT: Final = 1_000
"""Characters that are shown of an error. Whoever needs more looks into the log."""
State = Literal["well", "attention", "problem"]
MARKS: Final[Mapping[State, str]] = {"well": "✓", "attention": "!", "problem": "✕"}
"""The signs of the states: colour is never the only one."""


class Instant(msgspec.Struct, frozen=True):
    """An instant, for people and for programs."""

    iso: str
    """RFC 3339, UTC."""
    text: str
    """The time of day, UTC, with the date if that is another day."""
    distance: str
    """How far it is from now: `3 min ago`, `in 12 s`."""


def instant(at: float, now: float) -> Instant:
    """Return an instant (seconds since the epoch, UTC) as it is shown at `now`."""
    moment = datetime.fromtimestamp(int(at), UTC)
    is_today = moment.date() == datetime.fromtimestamp(int(now), UTC).date()
    text = f"{moment:%H:%M:%S} UTC" if is_today else f"{moment.day} {moment:%b %Y, %H:%M:%S} UTC"
    distance = f"in {words.duration(at - now)}" if at > now else f"{words.duration(now - at)} ago"
    return Instant(timestamp(at), text, distance)


def sentence(text: str) -> str:
    """Return a text as a sentence: it begins with a capital letter, and ends with a full stop."""
    found = shown(text)
    return found[:1].upper() + found[1:] + ("" if found.endswith((".", "?", "!")) else ".")


def shown(text: str, longest: int = LONGEST_TEXT) -> str:
    """Return a text from outside, with control characters as escapes, and cut."""
    return clip(visible(text), longest)


def number(count: float) -> str:
    """Return a number without fraction, with commas: `1,234`."""
    return f"{count:,.0f}"


def counted(count: int, noun: str) -> str:
    """Return a count with its noun: `1 asset`, `1,234 assets`."""
    return f"{number(count)} {noun}" if count == 1 else f"{number(count)} {noun}s"
