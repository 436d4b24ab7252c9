"""The registry of sinks: which module handles a target, depending on the target's form.

To add a sink, write its module and add a line to `FORMS`. A module is imported when a target of its form is first used.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol, TypeVar, cast

from asset_worker.sinks.ports import IndependentSink, OrderedSink, SinkContext, TargetProblem
from asset_worker.sinks.webhook.target import WebhookTarget

FORMS: Final[Mapping[str, str]] = {
    "-": "asset_worker.sinks.stdout",
    "path": "asset_worker.sinks.file.sink",
    "http": "asset_worker.sinks.webhook.sink",
    "https": "asset_worker.sinks.webhook.sink",
}
"""The modules, by the form of their targets: `-`, `path`, or a URL's scheme."""

WEBHOOK: Final = frozenset({"http", "https"})
"""The forms of targets that are tables in the settings: a URL alone is a table without other keys."""

Target = str | WebhookTarget
T_contra = TypeVar("T_contra", contravariant=True)


class SinkModule(Protocol[T_contra]):
    """The functions that the module of a sink provides. Its targets are of type `T_contra`."""

    def checked_target(self, target: str, /) -> str:
        """Return a target of this module's form as the settings keep it.

        Raises:
            ValueError: the target can't be used; the message says why and what to do.
        """
        ...

    def find_problem(self, target: T_contra, /) -> TargetProblem | None:
        """Return what keeps events from being sent to the target now; None: nothing that can be seen.

        It leaves no trace.
        """
        ...

    def find_warnings(self, target: T_contra, /) -> Iterable[str]:
        """Return what works, but somebody should correct."""
        ...

    def open_sink(self, target: T_contra, context: SinkContext, /) -> OrderedSink | IndependentSink:
        """Return a sink for a target.

        Raises:
            UnusableTargetError: the target can't be used.
        """
        ...


def form_of(target: str) -> str:
    """Return the form of a target: `-`, `path`, or the scheme of a URL, also of one that lacks a slash."""
    if target == "-":
        return "-"
    scheme, separator, _ = target.strip().lower().partition("://")
    if separator:
        return scheme
    scheme, separator, _ = scheme.partition(":")
    return scheme if separator and scheme in WEBHOOK else "path"


def checked_target(target: str) -> str:
    """Return a target as the settings keep it.

    Raises:
        ValueError: there is no sink of this form, or its module refuses the target; the message says what to do.
    """
    if not target.strip():
        raise ValueError("name a file, an https:// URL, or - for stdout")
    form = form_of(target)
    if form not in FORMS:
        raise ValueError("events go to stdout (-), to a file, or to an https:// URL; there is no sink for other URLs")
    return _module(form).checked_target(target)


def find_problem(target: Target) -> TargetProblem | None:
    """Return what keeps events from being sent to the target now; None: nothing that can be seen.

    It leaves no trace.
    """
    return _module_of(target).find_problem(target)


def find_warnings(target: Target) -> Iterable[str]:
    """Return what works, but somebody should correct."""
    return _module_of(target).find_warnings(target)


def open_sink(target: Target, context: SinkContext) -> OrderedSink | IndependentSink:
    """Return a sink for a target that was checked.

    Raises:
        UnusableTargetError: the target can't be used.
        TargetNotReadyError: it can't be used yet.
    """
    return _module_of(target).open_sink(target, context)


def _module_of(target: Target) -> SinkModule[Any]:
    return _module(form_of(target if isinstance(target, str) else target.url))


def _module(form: str) -> SinkModule[Any]:
    return cast("SinkModule[Any]", importlib.import_module(FORMS[form]))
