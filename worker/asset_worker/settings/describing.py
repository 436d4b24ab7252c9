"""Describes each setting in words, for docs/reference.md and the starter file. Made from the JSON Schema."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple, get_args

from asset_worker.settings.showing import json_schema
from asset_worker.settings.types import Section, Unit

LISTED: Final = {"anyOf": "durations", "oneOf": "texts and tables", "$ref": "texts"}
"""What a list holds, by the keyword that describes its items."""


class Described(NamedTuple):
    """A setting in words."""

    name: str
    """Within its section."""
    default: Any
    """As JSON has it; None: there is none."""
    kind: str
    """What a value is, in Markdown: `seconds, more than 0`."""
    text: str
    """What it means."""
    examples: list[Any]


def described(section: type[Section]) -> Iterator[Described]:
    """Yield the settings of a section, or the keys of a table in a list."""
    definitions = json_schema()["$defs"]
    for name, schema in definitions[section.__name__]["properties"].items():
        kind = _kind(schema, definitions, _unit(section, name))
        yield Described(name, schema.get("default"), kind, schema["description"], schema.get("examples", []))


def _kind(schema: dict[str, Any], definitions: dict[str, Any], unit: str | None) -> str:
    if "anyOf" in schema:
        schema = next(each for each in schema["anyOf"] if each.get("type") != "null")  # a duration: the number
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    match schema["type"]:
        case "number" | "integer" as kind:
            return ", ".join([unit or ("number" if kind == "number" else "whole number"), *_bounds(schema)])
        case "boolean":
            return "`true`, `false`"
        case "array":
            return f"list of {LISTED.get(next(iter(schema['items'])), 'texts')}"
        case "object":
            return "table"
        case _:
            return "path" if schema.get("format") == "path" else "text"


def _bounds(schema: dict[str, Any]) -> Iterator[str]:
    for keyword, words in (("exclusiveMinimum", "more than {}"), ("minimum", "{} or more"), ("maximum", "at most {}")):
        if keyword in schema:
            yield words.format(schema[keyword])


def _unit(section: type[Section], field: str) -> str | None:
    found = section.model_fields[field]
    metadata = [*found.metadata, *(each for kind in get_args(found.annotation) for each in get_args(kind))]
    return next((each.name for each in metadata if isinstance(each, Unit)), None)
