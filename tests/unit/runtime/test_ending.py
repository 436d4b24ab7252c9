"""How the process ends: what was written to stderr comes out, and a signal is seen as one from outside."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import termios
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from asset_worker.runtime.ending import exit_code_of

ROOT = Path(__file__).parents[3]
PATIENCE = 60.0
"""Real seconds. Only a test that fails waits this long."""
LINES = 1_000


def started(code: str, *, stderr: int, **options) -> subprocess.Popen[bytes]:
    """A process that writes `LINES` lines to its stderr, and then runs this code."""
    script = textwrap.dedent(
        f"""
        import os, signal, sys
        from asset_worker.runtime import ending, stderr
        stderr.write_stderr_in_background()
        for number in range({LINES}):
            print(f"line {{number}}", file=sys.stderr)
        """
    )
    environ = os.environ | {"PYTHONPATH": str(ROOT / "worker")}
    command = [sys.executable, "-c", f"{script}{code}\n"]
    return subprocess.Popen(command, stderr=stderr, stdout=subprocess.DEVNULL, env=environ, **options)


def ends_of(*processes: subprocess.Popen[bytes]) -> list[int]:
    """The exit codes of processes. One that does not end is killed, and fails the test."""
    try:
        return [process.wait(PATIENCE) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def end_of(code: str, **options) -> int:
    [code_at_end] = ends_of(started(code, **options))
    return code_at_end


ENDS = {
    "the end of the program": ("pass", 0),
    "an exit code": ("sys.exit(3)", 3),
    "an exception": ("raise ValueError('the last')", 1),
    "at once": ("ending.exit_at_once(143)", 143),
    "a signal": ("ending.die_of_signal(128 + signal.SIGTERM)", -signal.SIGTERM),
    "an interrupt": ("ending.die_of_signal(128 + signal.SIGINT)", -signal.SIGINT),
}


@pytest.mark.parametrize(("code", "ends_with"), ENDS.values(), ids=ENDS)
def test_nothing_is_lost_at_any_end(tmp_path: Path, code: str, ends_with: int):
    with (tmp_path / "log").open("wb") as log:
        assert end_of(code, stderr=log.fileno()) == ends_with
    found = (tmp_path / "log").read_text()
    assert found.startswith("".join(f"line {number}\n" for number in range(LINES)))
    assert ("ValueError: the last" in found) == ("raise" in code)


@pytest.fixture
def stopped_terminal() -> Iterator[int]:
    master, slave = pty.openpty()
    termios.tcflow(slave, termios.TCOOFF)
    yield slave
    os.close(slave)
    os.close(master)


def test_a_terminal_that_is_stopped_keeps_no_process_from_ending(stopped_terminal: int):
    """Each waits a second for the terminal."""
    ends = ends_of(*(started(code, stderr=stopped_terminal) for code, _ in ENDS.values()))
    assert dict(zip(ENDS, ends, strict=True)) == {name: ends_with for name, (_, ends_with) in ENDS.items()}


def test_a_signal_that_is_ignored_or_blocked_at_the_start_ends_the_process_nevertheless():
    def prepare() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])

    code = "ending.die_of_signal(128 + signal.SIGTERM)"
    # As in the first process of a container, where the signal has no effect, the exit code says the same.
    assert end_of(code, stderr=subprocess.DEVNULL, preexec_fn=prepare) == 128 + signal.SIGTERM


def test_the_reason_of_a_stop_may_be_a_signal():
    assert [exit_code_of(reason) for reason in ("SIGINT", "SIGTERM", "done", None)] == [130, 143, None, None]
