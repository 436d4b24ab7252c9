"""The worker as users run it: the command in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.integration.forking import MODULES, ForkedProcess, Forking

ROOT = Path(__file__).parents[2]
KEY = "tlk_0123456789abcdefSECRET"

QUICK = {
    "API__TIMEOUT": "60",
    "POLL__INITIAL": "0.2",
    "POLL__MAX": "0.5",
    "LIMITS__REQUESTS_PER_SECOND": "0",
    "LIMITS__CONCURRENCY": "50",
}
"""Settings for tests: assets take a second and not a minute, so looks are frequent; and an answer that a busy machine
delays by seconds is no failure."""


class Run:
    """One process of the command."""

    def __init__(self, process: subprocess.Popen[bytes] | ForkedProcess, stdout: Path, stderr: Path) -> None:
        self.process = process
        self._stdout = stdout
        self.stderr_path = stderr
        self._lines: list[dict[str, Any]] = []
        self._decoded = 0
        """How many bytes of the log are decoded in `_lines`."""

    @property
    def stdout(self) -> bytes:
        return self._stdout.read_bytes()

    @property
    def stderr(self) -> str:
        return self.stderr_path.read_bytes().decode(errors="replace")

    def logs(self, event: str | None = None) -> list[dict[str, Any]]:
        """The complete lines of its log so far, as JSON: all, or those of one event. Each is decoded once."""
        with self.stderr_path.open("rb") as file:
            file.seek(self._decoded)
            new, newline, _ = file.read().rpartition(b"\n")
        self._decoded += len(new + newline)
        lines = new.decode(errors="replace").split("\n")
        self._lines += [json.loads(line) for line in lines if line.startswith("{")]
        return [line for line in self._lines if event in {None, line["event"]}]

    @property
    def accepted(self) -> int:
        """How many submissions its log says that it has accepted."""
        return sum(line.get("count", 1) for line in self.logs("intake.accepted"))

    def events(self) -> list[dict[str, Any]]:
        """The events on its stdout so far."""
        return [json.loads(line) for line in self.stdout.splitlines(keepends=True) if line.endswith(b"\n")]

    def seconds(self, first: str, last: str) -> float:
        """Seconds from the first log line of one event to the last of another, by their timestamps."""
        start, end = self.logs(first)[0], self.logs(last)[-1]
        took = datetime.fromisoformat(end["timestamp"]) - datetime.fromisoformat(start["timestamp"])
        return took.total_seconds()

    async def end(self, within: float = 100) -> int:
        """Wait for the process to end; returns its exit code. `within` is no promise: it ends a test that hangs."""
        deadline = asyncio.get_running_loop().time() + within
        while (code := self.process.poll()) is None:
            if asyncio.get_running_loop().time() > deadline:
                raise AssertionError(f"the worker has not ended within {within} s; its log:\n{self.stderr[-4000:]}")
            await asyncio.sleep(0.01)
        return code

    async def until(self, event: str, within: float = 60) -> dict[str, Any]:
        """Wait for the first log line of this event, and return it."""
        await eventually(lambda: self.process.poll() is not None or bool(self.logs(event)), within, lambda: self.stderr)
        assert self.logs(event), self.stderr[-4000:]
        return self.logs(event)[0]

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)


class Worker:
    """Starts commands in one folder, with one state directory."""

    def __init__(self, folder: Path, forking: Forking | None = None) -> None:
        """`forking` starts the commands; None: each is started in a new interpreter."""
        self.folder = folder
        self._forking = forking
        self.state = folder / "state"
        self.queue_file = folder / "queue"
        self.events_file = folder / "events.jsonl"
        self._runs: list[Run] = []

    def start(
        self,
        *arguments: str | bytes | Path,
        base_url: str | None = None,
        stdin: Any = subprocess.DEVNULL,
        stdout: int | None = None,
        program: tuple[str, ...] = ("asset_worker",),
        before: str = "",
        redirect: str = "",
        **settings: str,
    ) -> Run:
        """Start `asset-worker …`; settings are named as in the environment: `POLL__MAX="1"`.

        `before` and `redirect` are shell code: `ulimit -f 8;` limits the size of files, `<&-` starts without stdin.
        """
        number = len(self._runs)
        to, stderr = self.folder / f"stdout-{number}", self.folder / f"stderr-{number}"
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("ASSET_WORKER", "TWELVE"))}
        environ["PYTHONPATH"] = f"{ROOT / 'worker'}{os.pathsep}{ROOT}"
        environ["XDG_STATE_HOME"] = str(self.folder / "home")
        # Reading the system's certificates would take a tenth of each start, and nearly all tests use plain HTTP.
        environ |= {"SSL_CERT_FILE": os.devnull, "SSL_CERT_DIR": str(self.folder)}
        if base_url is not None:
            environ["TWELVE_LABS_API_KEY"] = KEY
            environ["TWELVELABS_BASE_URL"] = base_url
        environ |= {f"ASSET_WORKER_{name}": value for name, value in (QUICK | settings).items()}
        with to.open("wb") as out, stderr.open("wb") as err:
            words = [*program, *map(os.fsdecode, arguments)]
            process: subprocess.Popen[bytes] | ForkedProcess
            is_usual = (stdout, before, redirect) == (None, "", "")
            if self._forking is not None and is_usual and program[0] in MODULES:
                process = self._forking.start(
                    words, cwd=self.folder, environ=environ, stdin=stdin, stdout=out, stderr=err
                )
            else:
                process = subprocess.Popen(
                    ["sh", "-c", f'{before} exec "$@" {redirect}', "sh", sys.executable, "-m", *words],
                    cwd=self.folder,
                    stdin=stdin,
                    stdout=out if stdout is None else stdout,
                    stderr=err,
                    env=environ,
                )
        run = Run(process, to, stderr)
        self._runs.append(run)
        return run

    def run(
        self,
        *arguments: str | Path,
        base_url: str | None = None,
        webhooks: Sequence[Mapping[str, Any]] = (),
        **options: Any,
    ) -> Run:
        """Start `asset-worker run` on this folder's queue file, events file and state directory, with all of its log.

        `webhooks` are further sinks, as tables of the setting `events.sinks`.
        """
        sinks: list[str | Path] = ["--events", self.events_file]
        if webhooks:
            sinks, options["EVENTS__SINKS"] = [], json.dumps([str(self.events_file), *webhooks])
        where = ("--queue-file", self.queue_file, "--state-dir", self.state)
        level = {} if "--config" in arguments else {"LOG__LEVEL": "debug"}  # a test's settings may have a level
        return self.start("run", *where, *sinks, *arguments, base_url=base_url, **level | options)

    def events(self) -> list[dict[str, Any]]:
        """The events in the complete lines of the events file."""
        lines = self.events_file.read_bytes().splitlines(keepends=True) if self.events_file.exists() else []
        return [json.loads(line) for line in lines if line.endswith(b"\n")]

    def submit(self, *lines: str | bytes) -> None:
        """Append lines to the queue file."""
        with self.queue_file.open("ab") as file:
            file.write(b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in lines))

    def kill_all(self) -> None:
        for run in self._runs:
            if run.process.poll() is None:
                run.process.kill()
            run.process.wait()
            if run.process.stdin is not None:
                run.process.stdin.close()

    def written(self) -> bytes:
        """The content of all files in the folder: all that its processes have written."""
        return b"\n".join(path.read_bytes() for path in sorted(self.folder.rglob("*")) if path.is_file())


async def eventually(condition: Any, within: float = 60, otherwise: Any = lambda: "") -> None:
    """Wait until the condition holds. `within` is no promise: it ends a test that hangs.

    Raises:
        AssertionError: the condition did not hold in that time, in seconds; the message holds `otherwise()`.
    """
    deadline = asyncio.get_running_loop().time() + within
    while not condition():
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"not within {within} s: {str(otherwise())[-4000:]}")
        await asyncio.sleep(0.02)
