"""The Kubernetes manifests as they are committed, and what is in them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
KUBERNETES = ROOT / "deploy" / "kubernetes"
OVERLAYS = ("account", "fleet", "sidecar")
MONITORING = KUBERNETES / "monitoring"
PODMONITOR = yaml.safe_load((MONITORING / "podmonitor.yaml").read_text())
IMAGE = "asset-worker"


@cache
def rendered(overlay: str) -> list[dict[str, Any]]:
    """The documents of the file that is made from an overlay; not to be changed."""
    return list(yaml.safe_load_all((KUBERNETES / f"{overlay}.yaml").read_text()))


def only(documents: list[dict[str, Any]], *kinds: str) -> dict[str, Any]:
    """The one document of these kinds."""
    [found] = [each for each in documents if each["kind"] in kinds]
    return found


def workload(overlay: str) -> dict[str, Any]:
    return only(rendered(overlay), "Deployment", "StatefulSet")


def pod(overlay: str) -> dict[str, Any]:
    spec: dict[str, Any] = workload(overlay)["spec"]["template"]["spec"]
    return spec


def containers(overlay: str) -> Iterator[dict[str, Any]]:
    yield from pod(overlay).get("initContainers", [])
    yield from pod(overlay)["containers"]


def container(overlay: str, name: str) -> dict[str, Any]:
    [found] = [each for each in containers(overlay) if each["name"] == name]
    return found


def environment(container: dict[str, Any], *, pod: str = "asset-worker-0") -> dict[str, str]:
    """The variables of a container, in a pod of this name."""
    fields = {"metadata.name": pod}
    return {
        each["name"]: each["value"] if "value" in each else fields[each["valueFrom"]["fieldRef"]["fieldPath"]]
        for each in container.get("env", [])
    }


def settings_file(overlay: str) -> str | None:
    """The text of the settings in the ConfigMap; None: the overlay has none."""
    maps = [each for each in rendered(overlay) if each["kind"] == "ConfigMap"]
    return maps[0]["data"]["worker.toml"] if maps else None
