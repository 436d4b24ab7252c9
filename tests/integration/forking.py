"""Starts of the command that cost a fork: most of the time that a start takes goes into imports, which are made once.

A server process imports what the commands need. For each start it forks, and the child runs the module as `python -m`
does, with arguments, environment, folder and standard streams of its own. Tests of the start itself, of what the
interpreter does at its start and of terminals use new interpreters instead.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

MODULES = ("asset_worker", "tests.integration.failpoints")
"""What can be started here."""
LOADED = ("run", "wait", "status", "schedule", "submit", "config")
LONGEST_REQUEST = 1 << 20
NUMBER_BYTES = 8


class ForkedProcess:
    """A process that the server has started: what the tests need of `subprocess.Popen`."""

    def __init__(self, report: int, stdin: IO[bytes] | None) -> None:
        """`report`: the descriptor from which the process's number is read, and at its end its wait status."""
        self.stdin = stdin
        self.returncode: int | None = None
        self._report = report
        self.pid = int.from_bytes(os.read(report, NUMBER_BYTES))

    def poll(self) -> int | None:
        """Return the exit code, or minus the number of the signal that ended it; None: it runs."""
        if self.returncode is None and select.select([self._report], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self) -> int:
        """Wait for the end, and return what `poll` returns then."""
        if self.returncode is None:
            status = os.read(self._report, NUMBER_BYTES)
            os.close(self._report)
            self.returncode = os.waitstatus_to_exitcode(int.from_bytes(status))
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Forking:
    """The server: one for each process that runs tests. It starts with the first process."""

    def __init__(self) -> None:
        self._connection: socket.socket | None = None
        self._server: subprocess.Popen[bytes] | None = None

    def start(
        self,
        arguments: Sequence[str],
        *,
        cwd: Path,
        environ: Mapping[str, str],
        stdin: Any,
        stdout: IO[bytes],
        stderr: IO[bytes],
    ) -> ForkedProcess:
        """Start `python -m` with these arguments. `stdin` is what `subprocess.Popen` takes."""
        if self._connection is None:
            self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            command = [sys.executable, "-m", "tests.integration.forking", str(theirs.fileno())]
            self._server = subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])
            theirs.close()
        to_stdin: IO[bytes] | None = None
        if stdin == subprocess.PIPE:
            from_test, to_process = os.pipe()
            to_stdin = os.fdopen(to_process, "wb")
        elif stdin == subprocess.DEVNULL:
            from_test = os.open(os.devnull, os.O_RDONLY)
        else:
            from_test = os.dup(stdin if isinstance(stdin, int) else stdin.fileno())
        reading, writing = os.pipe()
        request = json.dumps({"arguments": arguments, "cwd": str(cwd), "environ": dict(environ)})
        socket.send_fds(self._connection, [request.encode()], [from_test, stdout.fileno(), stderr.fileno(), writing])
        os.close(from_test)
        os.close(writing)
        return ForkedProcess(reading, to_stdin)

    def close(self) -> None:
        """End the server."""
        if self._connection is not None and self._server is not None:
            self._connection.close()
            self._server.wait()


def _serve(connection: socket.socket) -> list[str]:
    """Start what is asked for, until the tests have ended. In each new process: return its arguments."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the processes that wait
    while True:
        request, descriptors, _, _ = socket.recv_fds(connection, LONGEST_REQUEST, 4)
        if not request:
            os._exit(0)
        if not os.fork():
            connection.close()
            return _started(json.loads(request), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _started(request: dict[str, Any], stdin: int, stdout: int, stderr: int, report: int) -> list[str]:
    """Fork once more, and return in the new process. The other one reports its number, and how it ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if child := os.fork():
        for descriptor in (stdin, stdout, stderr):
            os.close(descriptor)
        os.write(report, child.to_bytes(NUMBER_BYTES))
        os.write(report, os.waitpid(child, 0)[1].to_bytes(NUMBER_BYTES))
        os._exit(0)
    os.close(report)
    for number, descriptor in enumerate((stdin, stdout, stderr)):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(request["environ"])
    os.chdir(request["cwd"])
    sys.path[0] = request["cwd"]
    return list(request["arguments"])


def _main() -> None:
    gc.disable()
    for name in LOADED:
        importlib.import_module(f"asset_worker.cli.{name}")
    gc.collect()
    gc.freeze()  # a collection in a child would copy all that it shares with this process
    gc.enable()
    sys.argv = _serve(socket.socket(fileno=int(sys.argv[1])))
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()
