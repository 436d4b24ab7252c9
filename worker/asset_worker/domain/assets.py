"""The asset as the API describes it, and `assess`, which decides whether the wait for it is over.

Everything here depends only on values: what was seen, what is expected, how much time has passed. Facts about the
API's answers come from the vendor's reference page "Retrieve an asset" (v1.3).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, NewType, assert_never

import msgspec

from asset_worker.domain.renditions import RENDITIONS
from asset_worker.runtime.text import clip

AssetId = NewType("AssetId", str)

ASSET_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
"""The form of an asset ID; nothing else ever reaches a URL."""
LONGEST_WORD: Final = 64
"""Characters of a status or a method that are kept. The documented ones have at most ten."""
LONGEST_FILE_TYPE: Final = 255
"""Characters of a MIME type that are kept: 127 on each side of the slash (RFC 6838, section 4.2)."""
LONGEST_ERROR: Final = 1000
"""Characters of an error's text that are kept: some paragraphs for people. Only `Asset.document` has all of it."""
NEVER_SHOWN: Final = "the API shows none: not every kind of file gets one"
"""What the reason says of an awaited rendition that the API does not show: to wait for longer may not help."""
_HEXADECIMAL: Final = re.compile(r"[0-9a-fA-F]+", re.ASCII)


def asset_id(text: str) -> AssetId:
    """Return `text` as an asset ID.

    Raises:
        ValueError: the text is not an asset ID.
    """
    if not ASSET_ID.fullmatch(text):
        raise ValueError("an asset ID has 1 to 64 letters, digits, '-' or '_'")
    return AssetId(text)


def has_usual_form(asset_id: AssetId) -> bool:
    """Return whether the ID has the form of every ID that the API is known to issue: 24 hexadecimal digits."""
    return len(asset_id) == 24 and _HEXADECIMAL.fullmatch(asset_id) is not None


class MalformedAssetError(ValueError):
    """The API's answer is not an asset."""


class _ErrorFields(msgspec.Struct, frozen=True, gc=False):
    message: str | None = None


class _Fields(msgspec.Struct, frozen=True, gc=False):
    """The fields that decisions depend on, except the renditions. Statuses are strings: the vendor adds new ones."""

    id: str = msgspec.field(name="_id")
    status: str
    error: _ErrorFields | None = None
    file_type: str | None = None
    method: str | None = None


class _RequiredFields(msgspec.Struct, frozen=True, gc=False):
    id: str = msgspec.field(name="_id")
    status: str


class Asset(msgspec.Struct, frozen=True):
    """An asset as the API described it in one answer."""

    id: AssetId
    status: str
    renditions: Mapping[str, str]
    """The status of each rendition that the answer shows, by name."""
    error: str | None
    """Why processing failed: free text, not to be parsed."""
    file_type: str | None
    """The MIME type."""
    method: str | None
    """How it was created: `direct`, `url` and others."""
    document: dict[str, Any]
    """The whole answer, unknown fields included."""
    oddities: tuple[str, ...] = ()
    """What is not of its documented type, for people. It is kept in `document` as it came."""


def asset_from(document: object) -> Asset:
    """Return the asset in a decoded JSON answer. Its ID and status must be as documented; other fields may be odd.

    Texts are cut to what people and decisions need, because they are kept while the asset is pending, and logged. So
    secrets must have been redacted in the answer. The document stays whole.

    Raises:
        MalformedAssetError: there is no ID or no status in it.
    """
    oddities: list[str] = []
    try:
        try:
            fields = msgspec.convert(document, _Fields)
        except msgspec.ValidationError:
            fields = _odd_fields_in(document, oddities)
        assert isinstance(document, dict)
        found = asset_id(fields.id)
    except ValueError as error:  # msgspec.ValidationError is one
        raise MalformedAssetError(f"the answer is not an asset: {error}") from error
    return Asset(
        id=found,
        status=clip(fields.status, LONGEST_WORD),
        renditions=_renditions_in(document, oddities),
        error=_clipped(None if fields.error is None else fields.error.message, LONGEST_ERROR),
        file_type=_clipped(fields.file_type, LONGEST_FILE_TYPE),
        method=_clipped(fields.method, LONGEST_WORD),
        document=document,
        oddities=tuple(oddities),
    )


def _clipped(text: str | None, longest: int) -> str | None:
    return None if text is None else clip(text, longest)


def _odd_fields_in(document: object, oddities: list[str]) -> _Fields:
    """Return the fields, those of another type as far as they can be read. Add what is odd.

    Raises:
        msgspec.ValidationError: the ID or the status is missing, or of another type.
    """
    required = msgspec.convert(document, _RequiredFields)
    assert isinstance(document, dict)
    texts: dict[str, str | None] = {}
    for name in ("file_type", "method"):
        value = document.get(name)
        texts[name] = value if isinstance(value, str) else None
        if value is not None and not isinstance(value, str):
            oddities.append(f"{name} is {_kind_of(value)}")
    error = document.get("error")
    message = error.get("message") if isinstance(error, dict) else None
    if not isinstance(error, dict | None):
        oddities.append(f"error is {_kind_of(error)}")
    elif not isinstance(message, str | None):
        oddities.append(f"error.message is {_kind_of(message)}")
    return _Fields(required.id, required.status, _ErrorFields(_reason_in(error)), **texts)


def _reason_in(error: object) -> str | None:
    """Return the text in an error of any type; None: there is none."""
    match error:
        case str():
            return error or None
        case list():
            return "; ".join(text for each in error if (text := _reason_in(each)) is not None) or None
        case {"message": str() | None as message}:
            return message or None
        case {"message": list() | dict() as message} if (text := _reason_in(message)) is not None:
            return text
        case _:
            return msgspec.json.encode(error).decode() if error else None


def _renditions_in(document: dict[str, Any], oddities: list[str]) -> dict[str, str]:
    """Return the statuses of the renditions that can be read. Add what is odd: such a rendition counts as not shown."""
    statuses: dict[str, str] = {}
    for name, rendition in RENDITIONS.items():
        shown = document.get(name)
        if shown is None:
            continue
        if isinstance(shown, dict) and isinstance(status := shown.get("status"), str):
            statuses[name] = clip(status, LONGEST_WORD)
        elif isinstance(shown, dict):
            oddities.append(f"{name}.status is {_kind_of(shown.get('status'))}")
        else:
            oddities.append(f"{name} is {_kind_of(shown)}")
            # Another text than a documented status, an address for example, says nothing about the end.
            if isinstance(shown, str) and rendition.is_known(shown):
                statuses[name] = shown
    return statuses


def _kind_of(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list():
            return "a list"
        case _:
            return "an object"


class Outcome(StrEnum):
    """How a wait ended. The values are public: they are the last part of every completion event's `type`."""

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
    """Never awaited."""


class Expectations(msgspec.Struct, frozen=True):
    """What is awaited of one asset, and for how long. Durations are seconds."""

    wait_for: Mapping[str, WaitFor] = msgspec.field(
        default_factory=lambda: dict.fromkeys(RENDITIONS, WaitFor.IF_REQUESTED)
    )
    """By rendition; a rendition that is not in it counts as `if_requested`."""
    deadline: float = 14400
    """From acceptance to `timed_out`, unless an answer gives another outcome."""
    rendition_deadline: float = 3600
    """From the first look that showed `ready` to `degraded`."""
    not_found_grace: float = 60
    """From acceptance to `not_found`: the API may show an asset some time after its upload."""
    unanswered_factor: float = 2.0
    """An asset past its deadline is settled by the next answer about it. Without an answer it is settled as `timed_out`
    after this many times its deadline. So an outage that spans a deadline causes no outcome that the next answer would
    contradict, and every wait still ends."""

    @property
    def unanswered_deadline(self) -> float:
        """Seconds from acceptance to `timed_out` while no request about the asset is answered."""
        return self.deadline * self.unanswered_factor


class Ages(msgspec.Struct, frozen=True):
    """How long ago something happened, in seconds."""

    accepted: float
    """Since the submission was accepted."""
    ready: float | None = None
    """Since `ready` was first seen; None: it has not been seen."""
    missing: float | None = None
    """Since the asset was first found missing after it had been seen; None: it is not missing, or was never seen."""


class Missing(msgspec.Struct, frozen=True):
    """The API says that there is no such asset (404)."""

    refused: str | None = None
    """The API's message when it refuses the ID itself (400), which it always will. None: a plain 404."""


class Unanswered(msgspec.Struct, frozen=True):
    """The request was not answered, or the answer says nothing about the asset."""

    why: str
    """The reason, for people."""
    retry_after: float = 0.0
    """Seconds that the server asked to wait."""
    denied_for: float | None = None
    """Seconds for which this asset alone was denied while others were answered: the API refuses it to this key, or
    answers 404 without its code. None: nothing shows that the asset is at fault."""


Observation = Asset | Missing | Unanswered
"""What one look showed."""


class Waiting(msgspec.Struct, frozen=True):
    """The wait goes on."""

    on: tuple[str, ...]
    """What is not done: `visibility`, `asset`, `answer`, or the names of renditions."""
    decides_in: float
    """Seconds until a deadline could end the wait: the next look is due by then."""


class Done(msgspec.Struct, frozen=True):
    """The wait is over."""

    outcome: Outcome
    reason: str | None = None
    """For people; None: the outcome needs no explanation."""


Verdict = Waiting | Done
"""Whether the wait for an asset is over."""


def assess(observation: Observation, expectations: Expectations, ages: Ages) -> Verdict:
    """Decide whether the wait for an asset is over, and with which outcome.

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
            # An asset that was seen before gets the same grace again: a single 404 may come from a replica that lags.
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
            decides_in = due if due > 0 else left
            if observation.denied_for is not None:
                grace_left = expectations.not_found_grace - observation.denied_for
                if grace_left <= 0:
                    grace = _seconds(expectations.not_found_grace)
                    return Done(
                        Outcome.NOT_FOUND, f"denied for {grace} or more while others were answered: {observation.why}"
                    )
                decides_in = min(decides_in, grace_left)
            return Waiting(("answer",), decides_in)
        case _:
            assert_never(observation)


def awaited_renditions(asset: Asset, expectations: Expectations) -> dict[str, str | None]:
    """Return the status of each awaited rendition, by name; None: it is required, but not shown yet."""
    awaited: dict[str, str | None] = {}
    for name in RENDITIONS:
        status = asset.renditions.get(name)
        wait_for = expectations.wait_for.get(name, WaitFor.IF_REQUESTED)
        if wait_for is WaitFor.REQUIRED or (wait_for is WaitFor.IF_REQUESTED and status is not None):
            awaited[name] = status
    return awaited


def _assess_renditions(asset: Asset, expectations: Expectations, ages: Ages) -> Verdict:
    awaited = awaited_renditions(asset, expectations)
    waiting = tuple(name for name, status in awaited.items() if not RENDITIONS[name].has_ended(status))
    why = [f"{name} ended in {status}" for name, status in awaited.items() if status in RENDITIONS[name].failed]
    if not waiting:
        return Done(Outcome.DEGRADED, "; ".join(why)) if why else Done(Outcome.READY)
    rendition_left = expectations.rendition_deadline - (ages.ready or 0.0)
    left = expectations.deadline - ages.accepted
    if rendition_left > 0 and left > 0:
        return Waiting(waiting, min(rendition_left, left))
    late = [f"{name} still {awaited[name] or 'missing'}" for name in waiting]
    hint = f" ({NEVER_SHOWN})" if None in awaited.values() else ""
    if rendition_left <= 0:
        limit = f"{_seconds(expectations.rendition_deadline)} after ready"
        return Done(Outcome.DEGRADED, "; ".join([*why, f"{', '.join(late)} {limit}{hint}"]))
    limit = f"{_seconds(expectations.deadline)} after acceptance"
    outcome = Outcome.DEGRADED if why else Outcome.TIMED_OUT
    return Done(outcome, "; ".join([*why, f"{', '.join(late)} {limit}{hint}"]))


def _seconds(duration: float) -> str:
    return f"{duration:g} s"
