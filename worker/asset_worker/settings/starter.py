"""The starter file: a settings file in which every setting is a comment. It is made from the settings."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator
from typing import Final

from asset_worker.settings.describing import Described, described
from asset_worker.settings.showing import toml_value
from asset_worker.settings.tree import sections

WIDTH: Final = 100
"""Characters of a line, unless a value is longer."""
HEAD: Final = """\
# The settings of asset-worker. A line that is commented out shows the default, or an example if
# there is none. To set something, remove the # before it.
#
#   asset-worker run --config worker.toml
#
# Environment variables win over this file (poll.max is ASSET_WORKER_POLL__MAX), and flags win over
# both. `asset-worker config --check --config worker.toml` checks it.
# Durations are seconds, or text with units: 90, "90s", "10m", "1h30m", "2d", "500ms".
"""


def starter() -> str:
    """Return the starter file, in TOML. As it is, it sets nothing."""
    return "\n".join([HEAD, *_lines()])


def _lines() -> Iterator[str]:
    for name, section in sections():
        yield from [f"[{name}]", *_comment(inspect.getdoc(section) or ""), ""]
        for each in described(section):
            yield from [*_comment(each.text), *_values(each), ""]


def _values(setting: Described) -> Iterator[str]:
    """Yield the setting with its default, or an example in its place, and what a value may be."""
    examples, default = setting.examples, setting.default
    has_default = default is not None and not str(default).startswith("$")
    if has_default and examples:
        yield f"# For example: {setting.name} = {toml_value(examples[0])}"
    value = default if has_default else examples[0]
    yield f"# {setting.name} = {toml_value(value)}  # {setting.kind.replace('`', '')}"


def _comment(text: str) -> Iterator[str]:
    flowing = " ".join(text.split())
    for line in textwrap.wrap(flowing, WIDTH - 2, break_long_words=False, break_on_hyphens=False):
        yield f"# {line}"
