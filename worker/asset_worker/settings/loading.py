"""Loads the settings from a TOML file, the environment and flags, and reports every problem in them."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from asset_worker.settings.tree import Settings, known_keys
from asset_worker.settings.types import TAGS, Section, Text
from asset_worker.settings.variables import (
    VENDOR_VARIABLES,
    key_of,
    misnamed_variables,
    nearest_key,
    variable_of,
)
from asset_worker.settings.webhook import HeaderFile, Webhook

COMPOUND = {
    "account.metadata": '{"project": "launch"}',
    "account.types": '["video", "audio"]',
    "events.sinks": '["-", {"url": "https://app.example/hooks", "timeout": 5}]',
    "queue.rotated": '["NAME.*[0-9]*", "NAME-DATE*"]',
}
"""The settings that are lists or tables, each with an example. A variable may hold JSON, or the values of a list,
separated by commas."""


class SettingsError(Exception):
    """The settings can't be used. `problems` has one line each: where it is, what is wrong and what to do."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load(*, config: Path | None, environ: Mapping[str, str], overrides: Mapping[str, Any]) -> Settings:
    """Return the settings from a file, the environment and flags.

    `overrides` is a tree of the flags' values; a value of None means that the flag was not given.

    Raises:
        SettingsError: with all problems, not only the first.
    """
    problems: list[str] = []
    layers = [
        _Layer.of_file(config, problems),
        _Layer.of_environment(environ, problems),
        _Layer({path: (value, _flag(path)) for path, value in _leaves(overrides) if value is not None}),
    ]
    merged: dict[str, tuple[Any, str]] = {}
    for layer in layers:
        merged.update(layer.values)
    if "state.dir" not in merged and (directories := environ.get("STATE_DIRECTORY")):
        merged["state.dir"] = (directories.split(":")[0], "STATE_DIRECTORY")
    known = set(known_keys())
    for path in sorted(set(merged) - known):
        value, where = merged.pop(path)
        named = variable_of if where in environ else str
        problems.append(f"{where}: there is no setting {path}{_advice(path, known, value, named)}")
    for name, meant in misnamed_variables(environ, known):
        if VENDOR_VARIABLES.get(meant, "") not in merged:
            problems.append(f"{name}: there is no such variable: did you mean {meant}?")
    try:
        settings = Settings.model_validate(_tree(merged))
    except ValidationError as error:
        problems += _plain(error, merged)
    if problems:
        raise SettingsError(problems)
    return settings


class _Layer:
    """The settings from one source, by key: each with its value, and with its place for messages."""

    def __init__(self, values: dict[str, tuple[Any, str]]) -> None:
        self.values = values

    @classmethod
    def of_file(cls, config: Path | None, problems: list[str]) -> _Layer:
        if config is None:
            return cls({})
        try:
            tree = tomllib.loads(config.read_text("utf-8-sig"))
        except OSError as error:
            problems.append(f"{config}: can't be read ({error.strerror}): check the path and its rights")
        except UnicodeDecodeError:
            problems.append(f"{config}: is not UTF-8 text")
        except tomllib.TOMLDecodeError as error:
            problems.append(f"{config}: is not TOML: {error}")
        else:
            return cls({path: (value, f"{config}: {path}") for path, value in _leaves(tree)})
        return cls({})

    @classmethod
    def of_environment(cls, environ: Mapping[str, str], problems: list[str]) -> _Layer:
        ours: dict[str, tuple[Any, str]] = {}
        vendors: dict[str, tuple[Any, str]] = {}
        for name, text in environ.items():
            if not text.strip():
                continue  # an empty variable counts as not set: container templates leave variables out this way
            if name in VENDOR_VARIABLES:
                vendors[VENDOR_VARIABLES[name]] = (Text(text), name)
            elif (path := key_of(name, text)) is not None:
                try:
                    ours[path] = (_from_text(text) if path in COMPOUND else Text(text), name)
                except ValueError:
                    kind = "table" if COMPOUND[path].startswith("{") else "list"
                    problems.append(f"{name}: is not a JSON {kind}: write it as {COMPOUND[path]}")
        return cls(vendors | ours)


def _from_text(text: str) -> Any:
    """Return the list or table in a variable: JSON, or the values of a list, separated by commas.

    Raises:
        ValueError: it begins as JSON and is none.
    """
    if text.lstrip().startswith(("[", "{")):
        return json.loads(text)
    return [part.strip() for part in text.split(",")]


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping) and (value or not prefix) and path not in COMPOUND:
            yield from _leaves(value, f"{path}.")
        else:
            yield path, value


def _tree(values: Mapping[str, tuple[Any, str]]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, (value, _) in values.items():
        section, name = path.split(".")
        tree.setdefault(section, {})[name] = value
    return tree


def _flag(path: str) -> str:
    flags = {
        "account.follow": "--account",
        "queue.file": "--queue-file",
        "queue.stdin": "--stdin",
        "events.sinks": "--events",
        "poll.deadline": "--timeout",
    }
    return flags.get(path, "--" + path.replace(".", "-"))


def _advice(path: str, known: set[str], value: Any, named: Callable[[str], str]) -> str:
    """Return what to write instead of an unknown key. `named` returns a key as its source writes it."""
    members = sorted(key for key in known if key.startswith(f"{path}."))
    if members and not isinstance(value, Mapping):
        return f": {path} is a section, with {', '.join(map(named, members))}"
    found = nearest_key(path, known)
    return f": did you mean {named(found)}?" if found else " (asset-worker config shows them all)"


def _nearest_in(table: type[Section], name: str) -> str:
    found = difflib.get_close_matches(name, table.model_fields, n=1, cutoff=0.5)
    return f": did you mean {found[0]}?" if found else f": it may have {', '.join(table.model_fields)}"


def _place_within(steps: tuple[int | str, ...]) -> str:
    """Return where in a list of tables a problem is; empty: it is the value of a setting, or a text in its list."""
    if len(steps) < 2:
        return ""
    names = (f"entry {step + 1}" if isinstance(step, int) else step for step in steps if step not in TAGS)
    return "".join(f", {name}" for name in names)


_PLAIN = {
    "missing": "it is missing",
    "bool_parsing": "it must be true or false",
    "bool_type": "it must be true or false",
    "float_parsing": "it must be a number",
    "float_type": "it must be a number",
    "finite_number": "it must be a finite number",
    "int_parsing": "it must be a whole number",
    "int_type": "it must be a whole number",
    "int_from_float": "it must be a whole number",
    "string_type": "it must be text",
    "path_type": "it must be a path, as text",
    "tuple_type": "it must be a list",
    "dict_type": "it must be a table",
    "model_type": "it is a section: write its settings below it",
}


def _plain(error: ValidationError, merged: Mapping[str, tuple[Any, str]]) -> Iterator[str]:
    """Yield pydantic's errors in plain words, without the values: one of them may be the key."""
    for problem in error.errors(include_input=False, include_url=False):
        steps = problem["loc"]
        path = ".".join(str(step) for step in steps[:2])
        where = merged[path][1] if path in merged else path
        is_unknown_key = problem["type"] == "extra_forbidden"
        where += _place_within(steps[2:-1] if is_unknown_key else steps[2:])
        context = problem.get("ctx", {})
        match problem["type"]:
            case "greater_than":
                text = f"it must be more than {context['gt']:.15g}"
            case "greater_than_equal":
                text = f"it must be {context['ge']:.15g} or more"
            case "less_than_equal":
                text = f"it must be {context['le']:.15g} or less"
            case "literal_error" | "enum":
                text = f"it must be {context['expected']}"
            case "extra_forbidden":
                table = HeaderFile if "headers" in steps else Webhook
                text = f"there is no {steps[-1]!r} in this table{_nearest_in(table, str(steps[-1]))}"
            case "value_error":
                text = str(context["error"])
            case kind:
                text = _PLAIN.get(kind, problem["msg"])
        yield f"{where}: {text}"
