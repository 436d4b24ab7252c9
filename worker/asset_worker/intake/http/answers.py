"""The documents that are answered, as JSON: pure functions. `docs/openapi.yaml` describes them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from asset_worker.domain.assets import AssetId
from asset_worker.domain.events import timestamp
from asset_worker.domain.progress import Progress
from asset_worker.domain.states import AssetState
from asset_worker.domain.submissions import Submission
from asset_worker.intake.http.bodies import Item
from asset_worker.runtime.text import visible_json_bytes
from asset_worker.schedule.forecast import Forecast

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def as_json(document: Any) -> bytes:
    """Return a document as JSON that controls no terminal, with a newline at its end."""
    return visible_json_bytes(_encode(document)) + b"\n"


def error(text: str) -> bytes:
    """Return the document of an answer that nothing was accepted or found; `text` says why, and what to do."""
    return as_json({"error": text})


def receipt(items: Sequence[Item], accepted: Collection[AssetId]) -> bytes:
    """Return the document that says of each item, in order, what became of it.

    `accepted` are the assets that were accepted. The first item of each is `accepted`, and the others are repeats.
    """
    left = set(accepted)
    found: list[dict[str, str | None]] = []
    for item in items:
        state, reason = "refused", None
        if not isinstance(item, Submission):
            reason = item.reason
        elif item.asset_id in left:
            left.remove(item.asset_id)
            state = "accepted"
        else:
            state = "repeated"
        found.append({"asset_id": item.asset_id, "state": state, "reason": reason})
    states = [each["state"] for each in found]
    counts = {state: states.count(state) for state in ("accepted", "repeated", "refused")}
    return as_json({**counts, "items": found})


def shown_state(
    asset_id: AssetId, state: AssetState, *, ahead: float, left: Forecast | None = None
) -> dict[str, Any] | None:
    """Return what is known of an asset; None: nothing.

    Args:
        asset_id: the asset.
        state: what is kept of it.
        ahead: the wall clock minus steady time, in seconds.
        left: how long its wait still lasts; None: it is not pending, or that is not known.
    """
    pending, settled = state.pending, state.settled
    last = pending or settled
    if last is None:
        return None
    progress = Progress() if pending is None else pending.progress
    seen, due_in = progress.last_seen, None if pending is None else pending.due_in
    return {
        "asset_id": asset_id,
        "state": "settled" if pending is None else "pending",
        "accepted_at": timestamp(last.accepted_at + ahead),
        "polls": None if pending is None else progress.polls,
        "waiting_on": None if pending is None else progress.waiting_on,
        "last_seen": None if seen is None else {"status": seen.status, "renditions": seen.renditions},
        "next_look_in": None if due_in is None else round(due_in, 3),
        "expected_left": None if left is None else left.rounded(),
        "completions": 0 if settled is None else settled.completion,
        "outcome": None if settled is None else settled.outcome,
        "completed_at": None if settled is None else timestamp(settled.completed_at + ahead),
        "event": None if settled is None else _event(settled.event),
    }


def _event(body: bytes | None) -> msgspec.Raw | None:
    """Return the event as it was sent; None: it is not kept, or is damaged in the journal."""
    try:
        _decode(body or b"")
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    return msgspec.Raw(body or b"")
