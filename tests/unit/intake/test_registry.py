"""The registry of intakes: an intake is one module and one line, imported when it is first used."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

import asset_worker.intake.account.intake
import asset_worker.intake.file.intake
import asset_worker.intake.stdin
from asset_worker.intake.file.intake import INTERVAL_SECONDS, FileIntake
from asset_worker.intake.file.names import ROTATED
from asset_worker.intake.file.queue_file import is_no_output
from asset_worker.intake.ports import IntakeContext
from asset_worker.intake.registry import FORMS, IntakeModule, open_intake
from asset_worker.intake.stdin import StdinIntake
from asset_worker.runtime.clock import SystemClock
from asset_worker.runtime.stop import Stop
from tests.doubles.intake import BatchReceiver
from tests.doubles.threads import InlineThread

FILE: IntakeModule = asset_worker.intake.file.intake
STDIN: IntakeModule = asset_worker.intake.stdin
ACCOUNT: IntakeModule = asset_worker.intake.account.intake
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
    assert set(FORMS.values()) == {
        "asset_worker.intake.account.intake",
        "asset_worker.intake.file.intake",
        "asset_worker.intake.inbox",
        "asset_worker.intake.stdin",
    }


@pytest.mark.virtual_time
async def test_the_intake_of_a_file_does_as_the_settings_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Which names rotated files have, and with `once` how long a last line without a newline may still grow."""
    monkeypatch.setattr(asset_worker.intake.file.intake, "DaemonThread", lambda _: InlineThread())
    receiver, queue = BatchReceiver(), tmp_path / "queue"
    queue.write_bytes(b"v1\nv2")

    async def run_once() -> None:
        context = msgspec.structs.replace(
            CONTEXT, receiver=receiver, positions=receiver.positions, rotated=("done-NAME",), partial_wait=3.0
        )
        await open_intake(queue, context).run(Stop())

    await run_once()
    assert receiver.ids == ["v1", "v2"]
    assert 3.0 <= asyncio.get_running_loop().time() <= 3.0 + 2 * INTERVAL_SECONDS
    queue.rename(tmp_path / "queue.2")
    (tmp_path / "queue.1").write_bytes(b"x1\n")
    (tmp_path / "done-queue").write_bytes(b"b1\n")
    queue.write_bytes(b"c1\n")
    await run_once()
    assert receiver.ids == ["v1", "v2", "b1", "c1"]
