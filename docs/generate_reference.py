"""Writes docs/reference.md from the code: commands, exit codes, settings, metrics, log events.

It also writes the example of a settings file, and its schema. Run it with `make reference`. Unit tests fail when one of
them is not up to date.
"""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import click

from asset_worker.cli import COMMANDS, asset_worker
from asset_worker.domain.run_plan import Exit
from asset_worker.settings.describing import described
from asset_worker.settings.showing import json_schema
from asset_worker.settings.starter import starter
from asset_worker.settings.tree import sections
from asset_worker.settings.types import Section
from asset_worker.settings.webhook import Webhook
from asset_worker.telemetry.events import EVENTS
from asset_worker.telemetry.log_event import LogEvent
from asset_worker.telemetry.runbook import EVENTS_WITH_SECTION
from asset_worker.telemetry.snapshot import DECLARATIONS

PAGE = Path(__file__).with_name("reference.md")
CONFIG = Path(__file__).parents[1] / "config"
HELP_WIDTH = 80
CONTENTS = (
    "[Commands](#commands) · [Exit codes](#exit-codes) · [Settings](#settings) · [Metrics](#metrics) · "
    "[Heartbeat](#heartbeat) · [Log events](#log-events)"
)
SETTINGS = """\
They come from a TOML file (`--config`), then the environment, then flags; the later source wins. `poll.deadline` is
`deadline` below `[poll]` in the file, and `ASSET_WORKER_POLL__DEADLINE` in the environment. The vendor's own variables
`TWELVE_LABS_API_KEY` and `TWELVELABS_BASE_URL` set `api.key` and `api.base_url`. In the environment, a list is JSON, or
values separated by commas. A duration is a number of seconds, or text with units: `90`, `"90s"`, `"10m"`, `"1h30m"`,
`"2d"`, `"500ms"`. `asset-worker config` prints the settings in force;
[`config/worker.toml`](../config/worker.toml) is a commented example, and
[`config/schema.json`](../config/schema.json) lets an editor check a settings file."""
LOG_EVENTS = """\
With `log.format = "json"`, each line on stderr is a JSON object with `event`, `level`, `timestamp` and the fields
below. Not every line has all of them. `runbook` is the section of the [runbook](runbook.md) that says what to do, such
as `docs/runbook.md#key_refused`: a path in the repository, and on the [admin port](operations.md#what-to-watch)."""


def reference() -> str:
    """Return the text of the page."""
    return "\n".join(
        [
            "<!-- Generated from the code by `make reference`: change the code, not this page. -->",
            "",
            "# Reference",
            "",
            CONTENTS,
            "",
            *_commands(),
            *_exit_codes(),
            *_settings(),
            *_metrics(),
            *_heartbeat(),
            *_log_events(),
        ]
    )


def _commands() -> Iterator[str]:
    yield from ["## Commands", "", "`asset-worker` is also `python -m asset_worker`.", ""]
    group = click.Context(asset_worker, info_name="asset-worker", **asset_worker.context_settings)
    for name in COMMANDS:
        command = asset_worker.get_command(group, name)
        assert command is not None
        yield from [f"### {name}", "", *_help(command, name, group)]


def _help(command: click.Command, name: str, parent: click.Context) -> Iterator[str]:
    context = click.Context(
        command, info_name=name, parent=parent, terminal_width=HELP_WIDTH, max_content_width=HELP_WIDTH
    )
    yield from ["```text", command.get_help(context), "```", ""]
    if isinstance(command, click.Group):
        for each, subcommand in command.commands.items():
            yield from _help(subcommand, each, context)


def _exit_codes() -> Iterator[str]:
    meanings = _member_docstrings(Exit)
    yield from ["## Exit codes", ""]
    yield from _table(["code", "meaning"], ([f"{code.value}", meanings[code.name]] for code in Exit))


def _member_docstrings(kind: type[Enum]) -> dict[str, str]:
    """Return the docstrings below the members of an enum."""
    [found] = ast.parse(inspect.getsource(kind)).body
    assert isinstance(found, ast.ClassDef)
    docstrings = {}
    for member, text in zip(found.body, found.body[1:], strict=False):
        match member, text:
            case ast.Assign(targets=[ast.Name(id=name)]), ast.Expr(value=ast.Constant(value=str(docstring))):
                docstrings[name] = docstring
    return docstrings


def _settings() -> Iterator[str]:
    yield from [
        "## Settings",
        "",
        SETTINGS,
        "",
    ]
    for name, section in sections():
        yield from [f"### {name}", "", inspect.getdoc(section) or "", ""]
        yield from _described(section, ["setting", "default", "value", "meaning"], f"{name}.")
    yield from ["### A table in events.sinks", "", inspect.getdoc(Webhook) or "", ""]
    yield from _described(Webhook, ["key", "default", "value", "meaning"], "")


def _described(section: type[Section], heads: list[str], prefix: str) -> Iterator[str]:
    yield from _table(
        heads,
        (
            [
                f"`{prefix}{each.name}`",
                "" if each.default is None else f"`{_value(each.default)}`",
                each.kind,
                each.text,
            ]
            for each in described(section)
        ),
    )


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _metrics() -> Iterator[str]:
    yield from [
        "## Metrics",
        "",
        "`/metrics` on `admin.port` serves them in the text format of Prometheus.",
        "",
    ]
    yield from _table(
        ["metric", "type", "unit", "labels", "meaning"],
        (
            [
                f"`{declared.metric_name}`",
                declared.kind,
                declared.unit,
                ", ".join(f"`{label}`" for label in declared.labels),
                declared.text,
            ]
            for declared in DECLARATIONS.values()
            if declared.metric is not None
        ),
    )


def _heartbeat() -> Iterator[str]:
    yield from ["## Heartbeat", "", "The fields of `worker.heartbeat`. Counts are since the start of the process.", ""]
    yield from _table(
        ["field", "unit", "meaning"],
        (
            [f"`{name}`", ", by ".join([declared.unit, *declared.labels]), declared.text]
            for name, declared in DECLARATIONS.items()
            if declared.in_heartbeat
        ),
    )


def _log_events() -> Iterator[str]:
    yield from [
        "## Log events",
        "",
        LOG_EVENTS,
        "",
    ]
    yield from _table(
        ["event", "level", "fields", "meaning"],
        (
            [f"`{each.name}`", each.level, ", ".join(f"`{name}`" for name in _fields(each)), each.text]
            for each in EVENTS
        ),
    )


def _fields(event: LogEvent) -> tuple[str, ...]:
    return (*event.fields, "runbook") if event.name in EVENTS_WITH_SECTION else event.fields


def _table(heads: list[str], rows: Iterable[list[str]]) -> Iterator[str]:
    for row in [heads, ["---"] * len(heads), *rows]:
        yield f"| {' | '.join(' '.join(cell.split()).replace('|', '&#124;') for cell in row)} |"
    yield ""


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
    (CONFIG / "worker.toml").write_text(f"#:schema ./schema.json\n{starter()}", encoding="utf-8")
    schema = json.dumps(json_schema(), indent=2, ensure_ascii=False)
    (CONFIG / "schema.json").write_text(f"{schema}\n", encoding="utf-8")
