"""What the caller of a wait asked for, checked; and what several callers ask for together. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Final, Literal, SupportsFloat

import msgspec

from asset_worker.domain.assets import AssetId, Expectations, WaitFor, asset_id
from asset_worker.domain.events import Redact
from asset_worker.domain.nesting import METADATA_LEVELS, nests_deeper
from asset_worker.domain.renditions import RENDITIONS
from asset_worker.domain.submissions import Options, Submission
from asset_worker.intake.lines import DEADLINE_LIMIT
from asset_worker.policies import AWAITED
from asset_worker.runtime.durations import seconds_or_duration

Seconds = float | str | timedelta
"""A duration: seconds, text with units such as `10m`, or a timedelta."""
What = Literal["asset", "hls", "thumbnail", "all"] | Mapping[str, Literal["if_requested", "required", "ignore"]]
"""What must be ready: a word, as for `wait --for`, or for each rendition whether it is awaited, as in a queue line."""

ORIGIN: Final = "python"
"""The `source` of what this API submits."""
METADATA_BYTES: Final = 64 << 10
"""Bytes of metadata at most, as JSON: as much as a line of a queue file holds."""
_EAGERNESS: Final = (WaitFor.IGNORE, WaitFor.IF_REQUESTED, WaitFor.REQUIRED)
"""The sooner a wait may end by it, the earlier it comes."""


class Terms(msgspec.Struct, frozen=True):
    """What a caller asked for. What is None was not given."""

    defaults: Expectations
    """What the client asks for where nothing is given."""
    timeout: float
    """Seconds from the call."""
    wait_for: Mapping[str, WaitFor] | None = None
    not_found_grace: float | None = None
    metadata: dict[str, Any] | None = None


def terms_of(
    defaults: Expectations,
    *,
    timeout: Seconds | None,
    wait_for: What | None,
    not_found_grace: Seconds | None,
    metadata: Mapping[str, Any] | None,
    redact: Redact,
) -> Terms:
    """Return the terms of a wait. `defaults` are those of the client; an argument that is None was not given.

    `redact` removes secrets from what is kept.

    Raises:
        ValueError, TypeError: an argument can't be used.
    """
    return Terms(
        defaults,
        timeout=defaults.deadline if timeout is None else seconds_in(timeout, "timeout"),
        wait_for=None if wait_for is None else renditions_awaited(wait_for),
        not_found_grace=None if not_found_grace is None else seconds_in(not_found_grace, "not_found_grace", zero=True),
        metadata=None if metadata is None else redact(_checked_metadata(metadata)),
    )


def seconds_in(value: Seconds, name: str, *, zero: bool = False) -> float:
    """Return a duration in seconds, ten years at most. `zero`: whether it may be 0.

    Raises:
        ValueError: it is no duration, or too short.
        TypeError: it is neither a number, nor text, nor a timedelta.
    """
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, str):
        try:
            seconds = seconds_or_duration(value)
        except ValueError as error:
            raise ValueError(f"{name} is {value!r}: {error}") from None
    elif isinstance(value, SupportsFloat):
        seconds = float(value)
    else:
        raise TypeError(f"{name} is {value!r}: it must be seconds, a text such as '10m', or a timedelta")
    if math.isnan(seconds) or seconds < 0 or (seconds == 0 and not zero):
        raise ValueError(f"{name} is {value!r}: it must be {'at least' if zero else 'above'} 0 seconds")
    return min(seconds, DEADLINE_LIMIT)


def renditions_awaited(what: What) -> dict[str, WaitFor]:
    """Return, by rendition, whether it is awaited.

    Raises:
        ValueError: it is another word, rendition or value.
        TypeError: it is neither a word nor a mapping.
    """
    if isinstance(what, str):
        if what not in AWAITED:
            raise ValueError(f"wait_for is {what!r}: it must be one of {', '.join(AWAITED)}, or a mapping")
        return dict(AWAITED[what])
    if not isinstance(what, Mapping):
        raise TypeError(f"wait_for is {what!r}: it must be one of {', '.join(AWAITED)}, or a mapping")
    if unknown := [name for name in what if name not in RENDITIONS]:
        raise ValueError(f"wait_for names {unknown[0]!r}: there are {', '.join(RENDITIONS)}")
    if wrong := [value for value in what.values() if value not in list(WaitFor)]:
        raise ValueError(f"wait_for holds {wrong[0]!r}: it must be one of {', '.join(WaitFor)}")
    return {name: WaitFor(value) for name, value in what.items()}


def checked_ids(texts: Iterable[str], *, redact: Redact) -> list[AssetId]:
    """Return asset IDs, each once.

    Raises:
        ValueError: one is no asset ID.
        TypeError: this is one text, and not several.
    """
    if isinstance(texts, str):
        raise TypeError("these must be several asset IDs, such as a list; to wait for one, use `wait`")
    return list(dict.fromkeys(checked_id(each, redact=redact) for each in texts))


def checked_id(text: str, *, redact: Redact) -> AssetId:
    """Return an asset ID. `redact` removes secrets from a text.

    Raises:
        ValueError: it is none, or it is the API key.
        TypeError: it is no text.
    """
    if not isinstance(text, str):
        raise TypeError(f"{text!r} is not an asset ID: it must be text")
    if redact(text) != text:
        raise ValueError("this is the API key, and no asset ID")
    try:
        return asset_id(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not an asset ID: {error}") from None


def _checked_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of metadata as JSON keeps it.

    Raises:
        ValueError, TypeError: it can't be kept.
    """
    if not isinstance(metadata, Mapping):
        raise TypeError(f"metadata is a {type(metadata).__name__}: it must be a mapping, such as {{'user': 'ada'}}")
    encoded = msgspec.json.encode(dict(metadata))
    copy = msgspec.json.decode(encoded)
    if len(encoded) > METADATA_BYTES or nests_deeper(copy, METADATA_LEVELS):
        raise ValueError(f"metadata has {METADATA_BYTES >> 10} KiB of JSON, nested {METADATA_LEVELS} deep, at most")
    assert isinstance(copy, dict)
    return copy


class Request(msgspec.Struct, frozen=True):
    """One caller's wait for an asset, in terms of the poller. Instants are in steady time."""

    submission: Submission
    """With all options set; the deadline counts from `accepted_at`."""
    accepted_at: float
    ends_at: float
    """When its time has run out."""
    gives_up_at: float
    """When an asset that the API doesn't know is `not_found`."""


def request_of(asset_id: AssetId, terms: Terms, *, now: float, kept: tuple[Submission, float] | None = None) -> Request:
    """Return the request of a caller who waits from `now` on.

    `kept` is the submission of an earlier wait that was not ended, and
    when it was accepted: this one continues it, with what that one asked for, but with a timeout of its own.
    """
    submission, accepted_at = (Submission(asset_id, ORIGIN, 0), now) if kept is None else kept
    before = submission.options or Options()
    graces = (terms.not_found_grace, before.not_found_grace, terms.defaults.not_found_grace)
    grace = next(each for each in graces if each is not None)
    options = Options(
        metadata=before.metadata if terms.metadata is None else terms.metadata,
        wait_for={**terms.defaults.wait_for, **(before.wait_for if terms.wait_for is None else terms.wait_for)},
        deadline=now - accepted_at + terms.timeout,
        traceparent=before.traceparent,
        not_found_grace=grace,
    )
    return Request(
        msgspec.structs.replace(submission, options=options),
        accepted_at,
        ends_at=now + terms.timeout,
        gives_up_at=accepted_at + grace,
    )


def shared_submission(requests: Iterable[Request], *, accepted_at: float) -> Submission:
    """Return the submission of an asset that several callers wait for: it ends as soon as the first of them may.

    `accepted_at` is when the asset was accepted, in steady time: its ages count from then.
    """
    requests = list(requests)
    [first, *others] = requests
    if not others and first.accepted_at == accepted_at:
        return first.submission
    awaited = [each.submission.options.wait_for for each in requests if each.submission.options is not None]
    options = Options(
        wait_for={name: min((each[name] for each in awaited), key=_EAGERNESS.index) for name in RENDITIONS},
        deadline=max(min(each.ends_at for each in requests) - accepted_at, 0.0),
        not_found_grace=max(min(each.gives_up_at for each in requests) - accepted_at, 0.0),
    )
    return Submission(first.submission.asset_id, ORIGIN, 0, options)
