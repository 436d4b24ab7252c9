"""The compositions in deploy/, and what is in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import yaml

from tests.unit.deploy.manifests import IMAGE, ROOT

DEPLOY = ROOT / "deploy"
COMPOSE, FLEET = DEPLOY / "compose.yaml", DEPLOY / "compose-fleet.yaml"
COMPOSITIONS = (COMPOSE, FLEET)
NAMESPACE = "api"
"""The service in whose network namespace the others are."""
USER = "10001:10001"
"""That of the image."""


class Volume(msgspec.Struct, frozen=True):
    """A mount in the short form, `SOURCE:PATH[:ro]`."""

    source: str
    path: str
    is_read_only: bool

    @property
    def is_of_the_repository(self) -> bool:
        return self.source.startswith(".")


def services(composition: Path = COMPOSE) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(composition.read_text())["services"]
    return found


def is_ours(service: dict[str, Any]) -> bool:
    """Whether it runs the worker's image."""
    return bool(service["image"].startswith(f"{IMAGE}:"))


def volumes(service: dict[str, Any]) -> list[Volume]:
    words = (each.split(":") for each in service.get("volumes", []))
    return [Volume(source, path, rest == ["ro"]) for source, path, *rest in words]


def command(service: dict[str, Any], *, entrypoint: str) -> list[str]:
    """What a service runs; `entrypoint` is that of its image."""
    words = [*service.get("entrypoint", [entrypoint]), *service.get("command", [])]
    return [word.replace("$$", "$") for word in words]  # $ alone would name a variable of whoever runs compose
