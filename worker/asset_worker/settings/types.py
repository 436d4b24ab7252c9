"""The types of single settings: numbers, durations, paths, and their units."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetJsonSchemaHandler, Tag
from pydantic_core import CoreSchema

from asset_worker.runtime.durations import PATTERN, WORDS, seconds_of, seconds_or_duration
from asset_worker.runtime.paths import path_of


class Text(str):
    """A value from the environment. It may be a number or a boolean as text, which a TOML file may not have."""

    __slots__ = ()


class Unit(NamedTuple):
    """The unit of a number, for docs/reference.md."""

    name: str


TEXT: Final = Tag("text")
TABLE: Final = Tag("table")
"""The two forms of a value in a list: pydantic names the form in the place of an error."""
TAGS: Final = frozenset({TEXT.tag, TABLE.tag})


class Section(BaseModel):
    """One section of the settings file."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True)


def _typed(*types: type, words: str) -> BeforeValidator:
    """Return a validator that refuses values of other types, but accepts `Text` from the environment.

    It refuses a boolean in place of a number, although for Python a bool is an int.
    """

    def check(value: Any) -> Any:
        if not isinstance(value, (Text, *types)) or (isinstance(value, bool) and bool not in types):
            raise ValueError(f"it must be {words}")
        return value

    return BeforeValidator(check)


def _seconds(value: Any) -> Any:
    """Return the seconds of a duration: a number, or text with units. In `Text`, the units may be left out."""
    match value:
        case Text():
            return seconds_or_duration(value)
        case str():
            return seconds_of(value)
        case bool():
            raise ValueError(f"it must be {WORDS}")
        case int() | float():
            return value
        case _:
            raise ValueError(f"it must be {WORDS}")


class _NumberOrText:
    """Has the JSON Schema of a duration say that it may be text as well."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [handler(schema), {"type": "string", "pattern": PATTERN}]}


def as_list(value: Any) -> Any:
    """Return a single text or table as a list with it, and anything else as it is."""
    return [value] if isinstance(value, str | dict) else value


def _path(value: Any) -> Any:
    return path_of(value) if isinstance(value, (str, Path)) else value


def lower(value: Any) -> Any:
    """Return a text in small letters, and anything else as it is."""
    return value.lower() if isinstance(value, str) else value


# The limits come before the validator: only then does pydantic write them to the JSON Schema as its keywords.
NUMBER = _typed(int, float, words="a number")
INTEGER = _typed(int, words="a whole number")
DURATION = BeforeValidator(_seconds)
NUMBER_OR_TEXT = _NumberOrText()
PositiveSeconds = Annotated[float, Field(gt=0, allow_inf_nan=False), DURATION, NUMBER_OR_TEXT, Unit("seconds")]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False), DURATION, NUMBER_OR_TEXT, Unit("seconds")]
Boolean = Annotated[bool, _typed(bool, words="true or false")]
File = Annotated[Path, BeforeValidator(_path)]
