"""The table of renditions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import asset_worker
from asset_worker.domain.renditions import RENDITIONS
from asset_worker.settings.tree import Waits

PACKAGE = Path(asset_worker.__file__).parent
MAY_NAME_RENDITIONS = {"domain/renditions.py", "settings/tree.py", "embedding/terms.py", "cli/demo.py"}
"""Besides the simulator. The public type of what a wait is for lists them; the demo orders lifecycles from it."""


@pytest.mark.parametrize("name", ["hls", "thumbnail"])
@pytest.mark.parametrize(
    ("status", "is_known", "has_ended"),
    [
        ("pending", True, False),
        ("processing", True, False),
        ("ready", True, True),
        ("error", True, True),
        ("archived", False, False),
        ("", False, False),
    ],
)
def test_the_statuses_of_each_rendition(name, status, is_known, has_ended):
    rendition = RENDITIONS[name]
    assert (rendition.is_known(status), rendition.has_ended(status)) == (is_known, has_ended)


def test_a_rendition_that_is_not_shown_has_not_ended():
    assert not any(rendition.has_ended(None) for rendition in RENDITIONS.values())


def test_each_rendition_has_a_setting():
    assert list(Waits.model_fields) == list(RENDITIONS)


def test_nothing_else_names_a_rendition():
    names = "|".join(RENDITIONS)
    name = re.compile(rf"""["']({names})["']|[.]({names})\b|\b({names})\s*[=:][^=]""")
    found = {
        path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if name.search(path.read_text("utf-8"))
    }
    assert {path for path in found if not path.startswith("simulator/")} == MAY_NAME_RENDITIONS
