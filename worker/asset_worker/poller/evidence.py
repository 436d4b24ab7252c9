"""What a list's document about an asset is worth: pure functions.

A list shows the same fields as a retrieve, but it may lag, leave assets out, or mix up what it shows. So a retrieve
must confirm what contradicts an earlier look, and every outcome that a deadline makes. A document that ends a wait by
itself is as good as others of its shape have proved to be (`list_health`).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from enum import Enum
from typing import Any, Final

import msgspec

from asset_worker.domain.assets import Ages, Asset, Done, Expectations, Missing, assess, awaited_renditions
from asset_worker.domain.instants import seconds_of
from asset_worker.domain.progress import LastSeen, Progress
from asset_worker.domain.renditions import RENDITIONS
from asset_worker.domain.transitions import Transition

TERMINAL_STATUSES: Final = frozenset({"ready", "failed"})
"""The statuses of an asset that has been processed."""
MAX_KEYS: Final = 64
"""A document or a rendition with more keys has no shape. The API documents 14 of a document."""
LONGEST_KEY: Final = 64
"""A document with a longer key, in characters, has no shape."""
SHOWN_KEYS: Final = 5
"""At most so many keys that a list lacked are named."""
UNPROVABLE_KEYS: Final = frozenset({"user_metadata"})
"""Keys that depend on the upload alone, and so are not part of a shape."""
UNCERTAIN_SHARE: Final = 0.1
"""For this share of the deadline of renditions, a list alone may say that the asset is `ready`. The deadline is counted
from there, so then a retrieve must confirm it."""
_BEFORE_ANY_DEADLINE: Final = Ages(accepted=0.0, ready=0.0)


class Worth(Enum):
    """What a list's document is worth."""

    STATE = "state"
    """The asset waits on, and nothing contradicts that."""
    STEP = "step"
    """The same, and it shows a step that is to be reported. How far that is trusted depends on its shape."""
    END = "end"
    """It ends the wait by itself, and contradicts nothing. How far that is trusted depends on its shape."""
    DOUBTFUL = "doubtful"
    """A retrieve must confirm it."""


class Shape(msgspec.Struct, frozen=True):
    """What documents that end a wait have in common, as far as it matters for whether lists show them rightly."""

    kind: str
    """The top-level MIME type, such as `video`."""
    status: str
    renditions: tuple[tuple[str, str], ...]
    """Each rendition that it shows, and its status."""
    keys: frozenset[str]
    """The keys of the document, and those of its renditions as `hls.status`."""

    def __str__(self) -> str:
        renditions = "".join(f", {name} {status}" for name, status in self.renditions)
        return f"{self.kind} {self.status}{renditions} with {' '.join(sorted(self.keys))}"


def shape_of(asset: Asset) -> Shape | None:
    """Return the shape of a document. None: it is odd, or has too many keys, so that it can't be proven right."""
    document = asset.document
    if asset.oddities or len(document) > MAX_KEYS:
        return None
    keys = set(document) - UNPROVABLE_KEYS
    for name in asset.renditions:
        if len(document[name]) > MAX_KEYS:
            return None
        keys |= {f"{name}.{key}" for key in document[name]}
    if any(len(key) > LONGEST_KEY for key in keys):
        return None
    kind = (asset.file_type or "").partition("/")[0].lower()
    return Shape(kind, asset.status, tuple(asset.renditions.items()), frozenset(keys))


def identity_of(asset: Asset) -> int:
    """Return a hash of the fields that never change: when, how and from which file the asset was created.

    A list that mixes up its documents shows another one. 30 bits are enough to notice that.
    """
    created_at = asset.document.get("created_at")
    created = seconds_of(created_at)  # a list may write the same instant in another way
    fields = (
        created_at if created is None else created // 1,
        asset.document.get("filename"),
        asset.file_type,
        asset.method,
    )
    return zlib.crc32(repr(fields).encode(errors="backslashreplace")) >> 2


def worth_of(
    listed: Asset | Missing,
    before: Progress,
    after: Progress,
    expectations: Expectations,
    *,
    is_over: bool,
    steps: Sequence[str] = (),
    now: float,
) -> Worth:
    """Return what a list's document is worth.

    Args:
        listed: what the list shows; `Missing`: it leaves the asset out.
        before: the progress of the wait before it.
        after: the progress that `decide` made of both.
        expectations: what is awaited of the asset.
        is_over: whether `decide` ended the wait.
        steps: the steps of which `decide` made events.
        now: steady time, in seconds.
    """
    if isinstance(listed, Missing):
        was_missing = before.last_seen is not None and before.last_seen.status == "missing"
        return Worth.STATE if was_missing and not is_over else Worth.DOUBTFUL
    is_of_another = before.identity is not None and before.identity != after.identity
    if is_of_another or is_older(after.last_seen, before.last_seen):
        return Worth.DOUBTFUL
    if ends_the_wait(listed, expectations):
        return Worth.END
    if is_over:
        return Worth.DOUBTFUL  # a deadline ends the wait
    if Transition.OVERDUE in steps:
        return Worth.DOUBTFUL  # if the list lags, the asset may have ended in time
    waits = Worth.STEP if steps else Worth.STATE
    if after.ready_at is None or after.ready_is_certain:
        return waits
    return waits if now - after.ready_at < UNCERTAIN_SHARE * expectations.rendition_deadline else Worth.DOUBTFUL


def ends_the_wait(asset: Asset, expectations: Expectations) -> bool:
    """Return whether the asset's state ends the wait by itself, without a deadline."""
    if asset.status not in TERMINAL_STATUSES:
        return False
    return isinstance(assess(asset, expectations, _BEFORE_ANY_DEADLINE), Done)


def last_seen_in(asset: Asset) -> LastSeen:
    """Return a summary of what a document shows."""
    return LastSeen(asset.status, asset.renditions, asset.file_type, asset.method)


def is_older(seen: LastSeen | None, before: LastSeen | None) -> bool:
    """Return whether `seen` is an earlier state than `before`, or another one that can't follow it."""
    if seen is None or before is None or seen is before:
        return False
    status = before.was if before.status == "missing" else before.status
    if status in TERMINAL_STATUSES and seen.status != status:
        return True
    return any(
        name not in seen.renditions
        or (rendition.has_ended(before.renditions[name]) and not rendition.has_ended(seen.renditions[name]))
        for name, rendition in RENDITIONS.items()
        if name in before.renditions
    )


def is_behind(listed: Asset | Missing, retrieved: Asset) -> bool:
    """Return whether a list showed an earlier state of an asset than the retrieve after it."""
    return (
        isinstance(listed, Asset)
        and identity_of(listed) == identity_of(retrieved)
        and is_older(last_seen_in(listed), last_seen_in(retrieved))
    )


def agree_on_state(listed: Asset | Missing, retrieved: Asset | Missing) -> bool:
    """Return whether a list and the retrieve after it agree: both show the asset, and neither an older state of it."""
    if isinstance(listed, Missing) or isinstance(retrieved, Missing):
        return isinstance(listed, Missing) and isinstance(retrieved, Missing)
    if identity_of(listed) != identity_of(retrieved):
        return False
    in_list, in_retrieve = last_seen_in(listed), last_seen_in(retrieved)
    return not is_older(in_retrieve, in_list) and not is_older(in_list, in_retrieve)


def difference(listed: Asset, retrieved: Asset | Missing, expectations: Expectations) -> str | None:
    """Return, for people, in what a list's document that makes an event was wrong. None: the retrieve agrees.

    They agree about the end of a wait if both end it with the same outcome and reason, and about a step if the
    retrieve shows what has ended in the list. And the list lacks no key that the retrieve has, unless the asset has
    moved on. A rendition that is not awaited may have done that.
    """
    if isinstance(retrieved, Missing):
        return "the list showed the asset, and the retrieve did not"
    if ends_the_wait(listed, expectations):
        in_list = assess(listed, expectations, _BEFORE_ANY_DEADLINE)
        is_refuted = in_list != assess(retrieved, expectations, _BEFORE_ANY_DEADLINE)
        may_lack = False
    else:
        is_refuted = _takes_back(listed, retrieved)
        may_lack = last_seen_in(listed) != last_seen_in(retrieved)
    if is_refuted:
        return f"the list showed {_described(listed)}, and the retrieve {_described(retrieved)}"
    if identity_of(listed) != identity_of(retrieved):
        return "the list showed the document of another asset"
    if may_lack:
        return None
    lacking = _lacking(listed.document, retrieved.document)
    if retrieved.status == "ready":
        for name in awaited_renditions(retrieved, expectations):
            shown, full = listed.document.get(name), retrieved.document.get(name)
            if isinstance(shown, dict) and isinstance(full, dict):
                lacking += [f"{name}.{key}" for key in _lacking(shown, full)]
    return f"the list lacked {', '.join(lacking[:SHOWN_KEYS])}" if lacking else None


def _takes_back(listed: Asset, retrieved: Asset) -> bool:
    """Return whether something that has ended in a list has not, or in another way, in the retrieve after it."""
    if is_older(last_seen_in(retrieved), last_seen_in(listed)):
        return True
    return any(
        rendition.has_ended(shown) and shown != retrieved.renditions.get(name)
        for name, rendition in RENDITIONS.items()
        if (shown := listed.renditions.get(name)) is not None
    )


def _lacking(listed: dict[str, Any], retrieved: dict[str, Any]) -> list[str]:
    """Return the keys that a list lacked, or showed without a value."""
    return sorted(
        key for key, value in retrieved.items() if key not in listed or (listed[key] is None and value is not None)
    )


def _described(asset: Asset) -> str:
    renditions = "".join(f", {name} {status}" for name, status in asset.renditions.items())
    return f"{asset.status}{renditions}"
