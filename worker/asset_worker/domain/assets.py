"""The asset as the API tells it, and what is decided from it.

Everything here is a function of values: what was seen, what is expected, how long it has been. Facts about the
API's answers come from the vendor's reference page "Retrieve an asset" (v1.3).
"""

from __future__ import annotations

import re
from enum import StrEnum
from math import inf
from typing import Any, Final, NewType, assert_never

import msgspec

AssetId = NewType("AssetId", str)

ASSET_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
"""What an asset ID looks like; nothing else ever reaches a URL."""
_HEXADECIMAL: Final = re.compile(r"[0-9a-fA-F]+", re.ASCII)


def asset_id(text: str) -> AssetId:
    """The ID in `text`.

    Raises:
        ValueError: the text is not an asset ID.
    """
    if not ASSET_ID.fullmatch(text):
        raise ValueError("an asset ID has 1 to 64 letters, digits, '-' or '_'")
    return AssetId(text)


def is_usual(asset_id: AssetId) -> bool:
    """Whether the ID looks as all those that the API is known to give: 24 hexadecimal digits."""
    return len(asset_id) == 24 and _HEXADECIMAL.fullmatch(asset_id) is not None


def nests_deeper(value: object, levels: int) -> bool:
    """Whether decoded JSON nests deeper than that."""
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(nests_deeper(each, levels - 1) for each in inner)


class MalformedAssetError(ValueError):
    """The API's answer is not an asset."""


class Rendition(msgspec.Struct, frozen=True, gc=False):
    """One rendition (HLS stream or thumbnail) as the API tells it.

    `status` stays a plain string: the vendor adds values, and an unknown one is not terminal.
    """

    status: str


class AssetError(msgspec.Struct, frozen=True, gc=False):
    """Why processing failed: free text, not to be parsed."""

    message: str | None = None


class _Fields(msgspec.Struct, frozen=True, gc=False):
    """The fields that decide something. All others are kept in the document, as they came."""

    id: str = msgspec.field(name="_id")
    status: str
    hls: Rendition | None = None
    thumbnail: Rendition | None = None
    error: AssetError | None = None
    file_type: str | None = None
    method: str | None = None


class Asset(msgspec.Struct, frozen=True):
    """An asset as the API last told it; `document` is the whole answer, unknown fields included."""

    id: AssetId
    status: str
    hls: str | None
    thumbnail: str | None
    error: str | None
    file_type: str | None
    method: str | None
    document: dict[str, Any]


def asset_from(document: object) -> Asset:
    """The asset in a decoded JSON answer.

    Raises:
        MalformedAssetError: a field that decides something is missing or of another type than documented.
    """
    try:
        fields = msgspec.convert(document, _Fields)
        found = asset_id(fields.id)
    except (msgspec.ValidationError, ValueError) as error:
        raise MalformedAssetError(f"the answer is not an asset: {error}") from error
    assert isinstance(document, dict)
    return Asset(
        id=found,
        status=fields.status,
        hls=None if fields.hls is None else fields.hls.status,
        thumbnail=None if fields.thumbnail is None else fields.thumbnail.status,
        error=None if fields.error is None else fields.error.message,
        file_type=fields.file_type,
        method=fields.method,
        document=document,
    )


class Outcome(StrEnum):
    """How a wait ended. The values are public: they end the `type` of every completion event."""

    READY = "ready"
    DEGRADED = "degraded"
    FAILED = "failed"
    NOT_FOUND = "not_found"
    TIMED_OUT = "timed_out"
    REJECTED = "rejected"


class WaitFor(StrEnum):
    """Whether a rendition is awaited."""

    IF_REQUESTED = "if_requested"
    """Awaited when the API shows the object."""
    REQUIRED = "required"
    """Awaited even before it appears."""
    IGNORE = "ignore"


class Expectations(msgspec.Struct, frozen=True):
    """What is awaited of one asset, and for how long. All durations are seconds."""

    hls: WaitFor = WaitFor.IF_REQUESTED
    thumbnail: WaitFor = WaitFor.IF_REQUESTED
    deadline: float = 14400
    """From acceptance to `timed_out`."""
    rendition_deadline: float = 3600
    """From `ready` seen to `degraded`."""
    not_found_grace: float = 60
    """From acceptance to `not_found`: uploads race ahead of reads."""
    unanswered_factor: float = 2.0
    """An asset past its deadline is settled by the next answer about it. When there is none, it is settled as
    `timed_out` once it has waited for this many deadlines: an outage that spans a deadline makes no outcome that the
    next answer would contradict, and yet no wait is endless."""

    @property
    def unanswered_deadline(self) -> float:
        """From acceptance to `timed_out` when no answer is to be had."""
        return self.deadline * self.unanswered_factor


class Ages(msgspec.Struct, frozen=True):
    """How long it has been, in seconds."""

    accepted: float
    ready: float | None = None
    """Since `ready` was first seen; None while it has not been."""
    missing: float | None = None
    """Since an asset that had been seen was first found missing; None: it is not, or never was seen."""


class Missing(msgspec.Struct, frozen=True):
    """The API says that there is no such asset (404)."""

    refused: str | None = None
    """The API's words, where it takes the ID for none (400): to ask again is no use."""


class Unanswered(msgspec.Struct, frozen=True):
    """No answer about the asset could be had; `why` is for people."""

    why: str
    retry_after: float = 0.0
    """The wait that the server told, in seconds."""


Observation = Asset | Missing | Unanswered
"""What one look showed."""


class Waiting(msgspec.Struct, frozen=True):
    """Not done: still waiting for these."""

    on: tuple[str, ...]
    """Of `visibility`, `asset`, `hls`, `thumbnail`, `answer`."""
    decides_in: float
    """Seconds until a deadline could end the wait: the next look is due by then."""


class Done(msgspec.Struct, frozen=True):
    """The wait is over."""

    outcome: Outcome
    reason: str | None = None


Verdict = Waiting | Done

RENDITION_ENDED: Final = frozenset({"ready", "error"})
"""A rendition's statuses that don't change any more."""


def assess(observation: Observation, expectations: Expectations, ages: Ages) -> Verdict:
    """Whether the wait for an asset is over, and how it ended.

    An answer about the asset always outweighs a deadline: an asset seen `ready` after its deadline is ready.
    """
    match observation:
        case Asset(status="ready"):
            return _assess_renditions(observation, expectations, ages)
        case Asset(status="failed"):
            return Done(Outcome.FAILED, observation.error)
        case Asset():
            left = expectations.deadline - ages.accepted
            if left <= 0:
                return Done(
                    Outcome.TIMED_OUT, f"still {observation.status} {_seconds(expectations.deadline)} after acceptance"
                )
            return Waiting(("asset",), left)
        case Missing(refused=str(why)):
            return Done(Outcome.NOT_FOUND, f"the API takes this for no asset ID: {why}")
        case Missing():
            # One that was seen before is gone only when it stays away for as long: a single 404 may be a replica's.
            gone_for = ages.accepted if ages.missing is None else ages.missing
            grace_left = expectations.not_found_grace - gone_for
            left = expectations.deadline - ages.accepted
            if grace_left <= 0:
                grace = _seconds(expectations.not_found_grace)
                since = "after acceptance" if ages.missing is None else "after it was first found missing"
                why = "wrong ID, deleted, or another account's" if ages.missing is None else "deleted"
                return Done(Outcome.NOT_FOUND, f"the API knows no such asset, {grace} or more {since} ({why})")
            if left <= 0:
                return Done(Outcome.TIMED_OUT, f"not visible {_seconds(expectations.deadline)} after acceptance")
            return Waiting(("visibility",), min(grace_left, left))
        case Unanswered():
            left = expectations.unanswered_deadline - ages.accepted
            if left <= 0:
                limit = _seconds(expectations.unanswered_deadline)
                return Done(Outcome.TIMED_OUT, f"no answer about it {limit} after acceptance: {observation.why}")
            due = expectations.deadline - ages.accepted
            return Waiting(("answer",), due if due > 0 else left)
        case _:
            assert_never(observation)


def awaited_renditions(asset: Asset, expectations: Expectations) -> dict[str, str | None]:
    """The renditions that are waited for, each with its status (None: required, but not shown yet)."""
    shown = (("hls", asset.hls, expectations.hls), ("thumbnail", asset.thumbnail, expectations.thumbnail))
    return {
        name: status
        for name, status, wait_for in shown
        if wait_for is WaitFor.REQUIRED or (wait_for is WaitFor.IF_REQUESTED and status is not None)
    }


def _assess_renditions(asset: Asset, expectations: Expectations, ages: Ages) -> Verdict:
    awaited = awaited_renditions(asset, expectations)
    waiting = tuple(name for name, status in awaited.items() if status not in RENDITION_ENDED)
    broken = [name for name, status in awaited.items() if status == "error"]
    why = [f"{name} ended in error" for name in broken]
    if not waiting:
        return Done(Outcome.DEGRADED, "; ".join(why)) if broken else Done(Outcome.READY)
    rendition_left = expectations.rendition_deadline - (ages.ready or 0.0)
    left = expectations.deadline - ages.accepted
    if rendition_left > 0 and left > 0:
        return Waiting(waiting, min(rendition_left, left))
    late = [f"{name} still {awaited[name] or 'missing'}" for name in waiting]
    if rendition_left <= 0:
        limit = f"{_seconds(expectations.rendition_deadline)} after ready"
        return Done(Outcome.DEGRADED, "; ".join([*why, f"{', '.join(late)} {limit}"]))
    limit = f"{_seconds(expectations.deadline)} after acceptance"
    outcome = Outcome.DEGRADED if broken else Outcome.TIMED_OUT
    return Done(outcome, "; ".join([*why, f"{', '.join(late)} {limit}"]))


def _seconds(duration: float) -> str:
    return "for ever" if duration == inf else f"{duration:g} s"
