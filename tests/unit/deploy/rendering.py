"""Rendering by kustomize, and files that are made from others and committed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.programs import checked

RENDERERS = (("kubectl", "kustomize"), ("kustomize", "build"))
OLDEST_RENDERER = 5
"""The major version of kustomize: earlier ones put keys and documents in another order."""


def renderer() -> list[str]:
    """The command that renders an overlay; without one, the test is skipped, in CI as well: few systems ship it."""
    for name, action in RENDERERS:
        if path := shutil.which(name):
            words = ["version", "--client", "-o", "json"] if name == "kubectl" else ["version", "-o", "json"]
            shown = subprocess.run([path, *words], capture_output=True, text=True, timeout=60, check=False).stdout
            version = json.loads(shown or "{}")
            major = version.get("kustomizeVersion", version.get("version", "v0")).lstrip("v").split(".")[0]
            if int(major) >= OLDEST_RENDERER:
                return [path, action]
    pytest.skip(f"neither kubectl nor kustomize, with kustomize {OLDEST_RENDERER} or newer, is installed")


def render(folder: Path) -> str:
    """What kustomize makes of a folder."""
    return checked(*renderer(), folder)


def documents_of(folder: Path) -> list[dict[str, Any]]:
    """The documents that kustomize makes of a folder."""
    return list(yaml.safe_load_all(render(folder)))


def committed(path: Path, made: str) -> str:
    """The text of a file that is to hold what is made; with RENEW_MANIFESTS it is written first."""
    if os.environ.get("RENEW_MANIFESTS"):
        path.write_text(made)
    return path.read_text()
