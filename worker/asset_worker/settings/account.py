"""The settings of the account that is followed."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from asset_worker.domain.instants import seconds_of
from asset_worker.settings.types import Boolean, PositiveSeconds, Seconds, Section, as_list, lower

START: Final = "start"
ALL: Final = "all"

_HOW_TO_WRITE_SINCE: Final = (
    "it must be start, all, or an instant since 1970 with its time and offset, as in 2026-11-27T08:00:00Z"
)
_OFFSET: Final = re.compile(r"(z|[+-]\d\d:?\d\d)$", re.IGNORECASE)
_YEAR_9999: Final = 253_370_764_800.0
"""In seconds since the epoch."""
_HOW_TO_WRITE_METADATA: Final = (
    'it must be a table of texts, numbers, booleans or lists of texts: {project = "launch"} in the settings file, '
    '{"project": "launch"} in a variable'
)


def _since(value: Any) -> Any:
    """Return the words in small letters, and an instant of TOML as text."""
    text = value.isoformat() if isinstance(value, date) else value.strip() if isinstance(value, str) else ""
    if text.lower() in {START, ALL}:
        return text.lower()
    if not _is_instant(text):
        raise ValueError(_HOW_TO_WRITE_SINCE)
    return text


def _is_instant(text: str) -> bool:
    """Return whether a text is a day, in UTC, or a time with an offset. Without one, it may be a local time."""
    seconds = seconds_of(text)
    is_clear = len(text) == len("2026-11-27") or _OFFSET.search(text) is not None
    return is_clear and seconds is not None and 0 <= seconds < _YEAR_9999


def _metadata(value: Any) -> Any:
    if not isinstance(value, dict) or not all(_may_be_metadata(each) for each in value.values()):
        raise ValueError(_HOW_TO_WRITE_METADATA)
    return value


def _may_be_metadata(value: object) -> bool:
    """Return whether the API knows such a value (vendor's reference page "Create an asset", v1.3)."""
    if isinstance(value, list):
        return all(isinstance(each, str) for each in value)
    return isinstance(value, str | int | float | bool)


def _small(value: Any) -> Any:
    return [lower(each) for each in value] if isinstance(value, list | tuple) else value


class Account(Section):
    """The account whose new assets are watched without being submitted."""

    follow: Boolean = False
    """Whether to watch every new asset of the account that the API key belongs to."""
    interval: PositiveSeconds = 10
    """Seconds between two requests for the newest assets: a new one is looked at within this time. An account in which
    nothing happens costs one request each time."""
    overlap: Seconds = 120
    """Seconds for which an asset may be missing in the list after its creation. After each change, what was created in
    this time before the newest asset is read again: a longer time costs requests where many assets are uploaded."""
    since: Annotated[
        str,
        BeforeValidator(_since),
        Field(
            examples=["2026-11-27T08:00:00Z"],
            json_schema_extra={"anyOf": [{"enum": [START, ALL]}, {"format": "date-time"}]},
        ),
    ] = START
    """Which assets are watched. `start`: those created since the account was first followed with this state directory.
    An instant, in UTC if it has no offset: those created since then. `all`: every asset of the account."""
    types: Annotated[
        tuple[Literal["image", "video", "audio", "document"], ...], BeforeValidator(_small), BeforeValidator(as_list)
    ] = ()
    """Only assets of these types: `image`, `video`, `audio`, `document`. Empty: of any type."""
    filename: Annotated[str, AfterValidator(str.strip)] = ""
    """Only assets with this text in their file names. Empty: with any name."""
    metadata: Annotated[dict[str, Any], BeforeValidator(_metadata)] = Field(
        default_factory=dict,
        examples=[{"project": "launch", "draft": False}],
        json_schema_extra={
            "default": {},
            "additionalProperties": {"type": ["string", "number", "boolean", "array"], "items": {"type": "string"}},
        },
    )
    """Only assets whose `user_metadata` has these keys with exactly these values. Empty: with any."""

    @property
    def since_instant(self) -> float | None:
        """The instant of `since`, in seconds since the epoch, UTC; None: it is a word."""
        return seconds_of(self.since)
