"""The registry of intakes: an intake is one module and one line, imported when it is first used."""

from __future__ import annotations

from pathlib import Path

import asset_worker.intake.file.intake
import asset_worker.intake.stdin
from asset_worker.intake.file.intake import FileIntake
from asset_worker.intake.file.names import ROTATED
from asset_worker.intake.file.queue_file import is_no_output
from asset_worker.intake.ports import IntakeContext
from asset_worker.intake.registry import FORMS, IntakeModule, open_intake
from asset_worker.intake.stdin import StdinIntake
from asset_worker.runtime.clock import SystemClock

FILE: IntakeModule = asset_worker.intake.file.intake
STDIN: IntakeModule = asset_worker.intake.stdin
"""The type checker holds the modules to the protocol."""


class Nowhere:
    async def room(self) -> int:
        return 1

    async def accept(self, batch) -> None:
        raise AssertionError(batch)


CONTEXT = IntakeContext(Nowhere(), SystemClock(), {}, rotated=ROTATED, once=True, is_output=is_no_output)


def test_the_form_of_an_input_decides_its_intake(tmp_path: Path):
    """A path is a path whatever its name; `-` is standard input."""
    for source, kind, name in [
        ("-", StdinIntake, "standard input"),
        (tmp_path / "q", FileIntake, "queue file"),
        (Path("-"), FileIntake, "queue file"),
        (Path("a://b"), FileIntake, "queue file"),
    ]:
        intake = open_intake(source, CONTEXT)
        assert isinstance(intake, kind)
        assert (intake.name, intake.unreadable) == (name, None)


def test_every_form_has_a_module():
    assert set(FORMS.values()) == {"asset_worker.intake.file.intake", "asset_worker.intake.stdin"}
