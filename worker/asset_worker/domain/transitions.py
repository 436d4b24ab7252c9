"""The steps of an asset on its way to an outcome, each of which `events.transitions` reports with an event: pure."""

from __future__ import annotations

from enum import StrEnum

from asset_worker.domain.assets import Asset, Expectations, awaited_renditions
from asset_worker.domain.renditions import RENDITIONS


class Transition(StrEnum):
    """A step before the outcome. The values are public: they are the last part of the event's `type`, and of its ID."""

    PROCESSED = "processed"
    """The status `ready` was seen, and at least one rendition is awaited."""
    PLAYABLE = "playable"
    """The HLS stream is ready, whether it is awaited or not."""
    THUMBNAIL_READY = "thumbnail_ready"
    """The thumbnail is ready, whether it is awaited or not."""
    OVERDUE = "overdue"
    """The asset has waited longer than 99 % of its class (`schedule.knowledge`)."""


TRANSITIONS = frozenset(each.value for each in Transition)


def steps_shown(asset: Asset, expectations: Expectations) -> tuple[Transition, ...]:
    """Return the steps that a document shows, in the order in which they are reported: none of a failed asset.

    `overdue` is never among them: no document shows that.
    """
    if asset.status == "failed":
        return ()
    is_processed = asset.status == "ready" and bool(awaited_renditions(asset, expectations))
    renditions = (
        Transition(each.ready_event)
        for name, each in RENDITIONS.items()
        if each.ready_event is not None and asset.renditions.get(name) in each.succeeded
    )
    return (*([Transition.PROCESSED] if is_processed else []), *renditions)
