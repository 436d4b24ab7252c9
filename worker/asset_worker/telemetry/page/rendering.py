"""Makes the page of what it says: the template, which escapes every value."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import Any, Final

import msgspec
from jinja2 import Environment, StrictUndefined

from asset_worker.telemetry.page.plots import HEIGHT, WIDTH
from asset_worker.telemetry.page.view import View

REFRESH_SECONDS: Final = 5
"""How often the page asks for news while somebody looks at it."""
_TEMPLATE: Final = "page.html.j2"


def make_renderer(redact: Callable[[Any], Any]) -> Callable[[View], bytes]:
    """Return a function that makes the HTML of the page. `redact` redacts secrets in decoded JSON."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(read(_TEMPLATE).decode())
    constants = {"refresh_seconds": REFRESH_SECONDS, "width": WIDTH, "height": HEIGHT}

    def render(view: View) -> bytes:
        return template.render(constants, page=redact(msgspec.to_builtins(view))).encode("utf-8", "replace")

    return render


def read(name: str) -> bytes:
    """Return the content of a file beside this module."""
    return files(__package__).joinpath(name).read_bytes()
