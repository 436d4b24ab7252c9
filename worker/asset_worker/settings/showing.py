"""Shows the settings to people, as TOML, and describes them to editors, as a JSON Schema."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from asset_worker.runtime.redaction import REDACTED
from asset_worker.runtime.text import visible_json
from asset_worker.settings.tree import Settings
from asset_worker.settings.webhook import HeaderFile, Webhook
from asset_worker.sinks.webhook.target import masked

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def as_toml(settings: Settings) -> str:
    """Return the settings as a TOML file. The key is redacted; a setting without a value becomes a comment."""
    lines = []
    for section in Settings.model_fields:
        lines.append(f"[{section}]")
        values = getattr(settings, section)
        for name in type(values).model_fields:
            value = getattr(values, name)
            if isinstance(value, Path) and section == "api" and len(value.parts) == 1:
                value = SecretStr(str(value))
            lines.append(f"# {name} is not set" if value is None else f"{name} = {toml_value(value)}")
        lines.append("")
    return "\n".join(lines)


def toml_value(value: Any) -> str:
    """Return a value as TOML. A secret is redacted."""
    match value:
        case SecretStr():
            return f'"{REDACTED}"'
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value:.0f}" if value == int(value) and abs(value) < 1e15 else repr(value)
        case int():
            return str(value)
        case Webhook():
            return _table(_shown_webhook(value))
        case dict():
            return _table(value)
        case HeaderFile():
            return _table({"file": value.file})
        case tuple() | list():
            return f"[{', '.join(toml_value(inner) for inner in value)}]"
        case _:
            # A JSON string is a TOML basic string if DEL is escaped as well.
            return visible_json(json.dumps(str(value), ensure_ascii=False))


def _shown_webhook(webhook: Webhook) -> dict[str, Any]:
    """Return the keys of a webhook's table that have a value, without user-info and query of the URL."""
    values = {name: getattr(webhook, name) for name in type(webhook).model_fields}
    values["name"] = webhook.shown_name
    values["url"] = masked(webhook.url.get_secret_value(), REDACTED)
    return {name: value for name, value in values.items() if value is not None and value != {}}


def _table(values: Mapping[str, Any]) -> str:
    return "{" + ", ".join(f"{_key(name)} = {toml_value(value)}" for name, value in values.items()) + "}"


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else toml_value(name)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the settings file, for editors and checks."""
    schema = Settings.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "asset-worker"}
