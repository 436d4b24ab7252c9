"""The registry of sinks: which module handles a target, depending on the target's form.

To add a sink, write its module and add a line to `FORMS`. A module is imported when a target of its form is first used.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Final, Protocol, cast

from asset_worker.sinks.ports import OrderedSink, TargetProblem

FORMS: Final[Mapping[str, str]] = {
    "-": "asset_worker.sinks.stdout",
    "path": "asset_worker.sinks.file.sink",
}
"""The modules, by the form of their targets: `-`, `path`, or a URL's scheme."""


class SinkModule(Protocol):
    """The functions that the module of a sink provides."""

    def checked_target(self, target: str, /) -> str:
        """Return a target of this module's form as the settings keep it.

        Raises:
            ValueError: the target can't be used; the message says why and what to do.
        """
        ...

    def find_problem(self, target: str, /) -> TargetProblem | None:
        """Return what keeps events from being sent to the target now; None: nothing that can be seen.

        It leaves no trace.
        """
        ...

    def open_sink(self, target: str, /) -> OrderedSink:
        """Return a sink for a target that `checked_target` returned."""
        ...


def checked_target(target: str) -> str:
    """Return a target as the settings keep it.

    Raises:
        ValueError: there is no sink of this form, or its module refuses the target; the message says what to do.
    """
    if not target.strip():
        raise ValueError("name a file, or - for stdout")
    return _module_of(target).checked_target(target)


def find_problem(target: str) -> TargetProblem | None:
    """Return what keeps events from being sent to the target now; None: nothing that can be seen.

    It leaves no trace.
    """
    return _module_of(target).find_problem(target)


def open_sink(target: str) -> OrderedSink:
    """Return a sink for a target that `checked_target` returned."""
    return _module_of(target).open_sink(target)


def _module_of(target: str) -> SinkModule:
    form = _form_of(target)
    if form not in FORMS:
        raise ValueError("events go to stdout (-) or to a file; there is no sink for URLs yet")
    return cast("SinkModule", importlib.import_module(FORMS[form]))


def _form_of(target: str) -> str:
    if target == "-":
        return "-"
    scheme, separator, _ = target.partition("://")
    return scheme.lower() if separator else "path"
