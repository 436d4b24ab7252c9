"""How a run that can't start ends: with a sentence on stderr, or with a traceback in the log."""

from __future__ import annotations

import pytest

from asset_worker.api.key import BadKeyError, KeyNotThereError
from asset_worker.cli.running import run_to_the_end
from asset_worker.queue.local.journal import JournalError, JournalUnavailableError
from asset_worker.queue.local.lock import StateDirectoryError, StateDirectoryUnavailableError
from asset_worker.telemetry.errors import AdminAddressError, AdminAddressInUseError


async def ends_with(error):
    raise error


@pytest.mark.parametrize("kind", [AdminAddressError, BadKeyError, JournalError, StateDirectoryError])
def test_an_error_that_prevents_the_start_is_printed_as_it_is(kind, capsys):
    with pytest.raises(SystemExit) as ended:
        run_to_the_end(ends_with(kind("give another")))
    assert ended.value.code == 2
    assert capsys.readouterr().err == "asset-worker: give another\n"


@pytest.mark.parametrize(
    "kind", [AdminAddressInUseError, KeyNotThereError, JournalUnavailableError, StateDirectoryUnavailableError]
)
def test_an_error_that_may_pass_ends_with_the_exit_code_that_asks_for_another_start(kind, capsys):
    with pytest.raises(SystemExit) as ended:
        run_to_the_end(ends_with(kind("try again")))
    assert ended.value.code == 75
    assert capsys.readouterr().err == "asset-worker: try again\n"


def test_state_that_is_lost_while_the_worker_runs_is_reported_in_a_sentence(capfd):
    error = ExceptionGroup("tasks", [ExceptionGroup("more", [StateDirectoryError("it was moved")])])
    assert run_to_the_end(ends_with(error)) == 1
    out, err = capfd.readouterr()
    assert "it was moved" in out + err
    assert "Traceback" not in out + err


def test_no_other_error_is_attributed_to_the_admin_endpoints(capfd):
    assert run_to_the_end(ends_with(OSError(24, "Too many open files"))) == 1
    out, err = capfd.readouterr()
    assert "Too many open files" in out + err
    assert "admin" not in out + err
