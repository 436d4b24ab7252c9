"""The registry of intakes: which module handles an input, depending on the input's form.

To add an intake, write its module and add a line to `FORMS`. A module is imported when an input of its form is first
used.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol, cast

from asset_worker.intake.ports import Intake, IntakeContext

FORMS: Final[Mapping[str, str]] = {
    "-": "asset_worker.intake.stdin",
    "account": "asset_worker.intake.account.intake",
    "inbox": "asset_worker.intake.inbox",
    "path": "asset_worker.intake.file.intake",
}
"""The modules, by the form of their inputs: `-` (stdin), `account`, `inbox`, `path`, or a URL's scheme."""


class IntakeModule(Protocol):
    """The function that the module of an intake provides."""

    def open_intake(self, source: Path | str, context: IntakeContext, /) -> Intake:
        """Return an intake that reads `source`."""
        ...


def open_intake(source: Path | str, context: IntakeContext) -> Intake:
    """Return an intake that reads `source`: a path, `-` for stdin, `account`, or `inbox`."""
    form = "path" if isinstance(source, Path) else source.partition("://")[0]
    module = cast("IntakeModule", importlib.import_module(FORMS[form]))
    return module.open_intake(source, context)
