"""An event as one line for people, made from its JSON: a pure function.

What a program needs is in the JSON. A person wants to see at a glance: how it ended, which asset, how long it took, and
if it failed, why. Where there is little room, the file name and the reason are cut, never the outcome and the ends of
the ID.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec.structs import replace
from rich.cells import cell_len

from asset_worker.cli.screen.spans import (
    OUTCOME_STYLES,
    Line,
    Span,
    cut,
    cut_inside,
    cut_line,
    ends_of,
    joined,
    padded,
    width_of,
)
from asset_worker.domain.assets import Outcome
from asset_worker.domain.events import TYPE_PREFIX
from asset_worker.domain.renditions import RENDITIONS
from asset_worker.runtime.text import visible
from asset_worker.telemetry.words import precise_duration

ALIGNED_FROM: Final = 100
"""From so many columns on, outcomes are padded to one width, so that the IDs of several lines are below one another."""
LONGEST_WORD: Final = max(map(len, Outcome))
LINE_CELLS: Final = 40
"""How much is shown of a rejected line, at most."""
ORIGIN_CELLS: Final = 12
"""How much is shown of where a rejected line is from, where there is little room."""


class _Fields(msgspec.Struct, frozen=True):
    """What the line shows, in this order. An empty text is left out."""

    word: str
    subject: str
    """The ID; of a rejected line, where it is from."""
    name: str = ""
    """The file name; of a rejected line, the line."""
    took: str = ""
    reason: str = ""
    """Why it ended so; if that needs no explanation, the renditions."""

    def line(self, columns: int) -> Line:
        word = padded(self.word, LONGEST_WORD) if columns >= ALIGNED_FROM else self.word
        rest = (self.subject, self.name, self.took, self.reason)
        return joined([(Span(word, OUTCOME_STYLES.get(self.word, "cyan")),), *((Span(text),) for text in rest)])


class _Form(msgspec.Struct, frozen=True):
    """The fields, and to how many cells the name and the reason may be cut; None: not at all."""

    fields: _Fields
    name: int
    reason: int | None = None


def event_line(body: bytes, *, columns: int) -> Line:
    """Return the line for an event, at most `columns` cells wide."""
    try:
        forms = _forms_of(msgspec.json.decode(body))
    except (AttributeError, KeyError, TypeError, ValueError):  # a damaged journal
        return cut_line((Span(visible(body.decode(errors="replace"))),), columns)
    fitting = (fields.line(columns) for form in forms if (fields := _fitted(form, columns)) is not None)
    return next(fitting, cut_line(forms[-1].fields.line(0), columns))


def _forms_of(event: dict[str, Any]) -> list[_Form]:
    """Return the forms that the line may have, the fullest first."""
    data = event["data"]
    whole = _fields_of(event, data)
    if whole.word == Outcome.REJECTED:
        short = replace(whole, subject=cut_inside(whole.subject, ORIGIN_CELLS))
    else:
        short = replace(whole, subject=ends_of(whole.subject))
    without_time, bare = replace(short, took=""), replace(short, took="", name="")
    forms = [_Form(whole, 16), _Form(short, 10)]
    if data["reason"] is None:
        forms += [_Form(replace(each, reason=""), least) for each, least in ((short, 10), (without_time, 8))]
    else:
        forms += [_Form(short, 10, 24), _Form(without_time, 8, 12), _Form(bare, 0, 8)]
    return [*forms, _Form(replace(bare, reason=""), 0)]


def _fields_of(event: dict[str, Any], data: dict[str, Any]) -> _Fields:
    word, reason = visible(event["type"].removeprefix(TYPE_PREFIX)), data["reason"]
    if word == Outcome.REJECTED:
        origin = visible(data["submission"]["source"]).rpartition("/")[2]
        return _Fields(word, origin, cut(visible(data["line"]), LINE_CELLS), "", visible(reason))
    filename = (data["asset"] or {}).get("filename")
    renditions = [f"{name} {status}" for name in RENDITIONS if (status := data["renditions"].get(name)) is not None]
    ended = datetime.fromisoformat(data["completed_at"] or event["time"])
    return _Fields(
        word,
        visible(data["asset_id"]),
        visible(filename) if isinstance(filename, str) else "",
        precise_duration((ended - datetime.fromisoformat(data["submitted_at"])).total_seconds()),
        visible(" · ".join(renditions) if reason is None else reason),
    )


def _fitted(form: _Form, columns: int) -> _Fields | None:
    """Return the fields, name and reason cut as far as the line needs it; None: it would still be too long."""
    fields, excess = form.fields, width_of(form.fields.line(columns)) - columns
    for field, least in (("name", form.name), ("reason", form.reason)):
        text = getattr(fields, field)
        if excess > 0 and least is not None and cell_len(text) > least:
            shortened = (cut_inside if field == "name" else cut)(text, max(least, cell_len(text) - excess))
            fields = replace(fields, **{field: shortened})
            excess = width_of(fields.line(columns)) - columns
    return fields if excess <= 0 else None
