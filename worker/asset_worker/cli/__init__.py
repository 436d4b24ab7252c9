"""The commands: one file each, loaded when the command is called.

Events go to stdout, everything else to stderr. Errors in usage and settings end with exit code 2 and say what to do.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import sys

import click
from click.shell_completion import CompletionItem

from asset_worker import __version__
from asset_worker.cli import lean_structlog  # noqa: F401 - it must be the first to load structlog
from asset_worker.runtime.ending import SERVICE, SIGNAL_BASE, STOPPING, die_of_signal, hold_service_signals
from asset_worker.runtime.stderr import write_stderr_in_background
from asset_worker.runtime.stdout import StdoutError, write_stdout_unbuffered

COMMANDS = {
    "run": "Watch the account, a queue file, stdin or HTTP requests.",
    "wait": "Wait for these assets, once.",
    "submit": "Append assets to a queue file, the safe way.",
    "status": "Show what is pending and what completed lately.",
    "dead-letters": "Show, retry or drop events that a webhook refused for good.",
    "schedule": "Show what was learned about how long assets take.",
    "doctor": "Check settings, key, network, clock, sinks, files and worker.",
    "simulate": "Serve a stand-in for the assets API on this machine.",
    "demo": "Run simulator and worker end to end, without a key.",
    "fleet": "Share one queue among several workers, in PostgreSQL.",
    "config": "Show, check or describe the settings.",
}


class _Commands(click.Group):
    """Loads the module of a command only when it is called: `submit` must not load an HTTP client."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        gc.disable()  # what is imported stays, and looking for garbage meanwhile takes a tenth of a start
        try:
            module = cmd_name.replace("-", "_")
            command = getattr(importlib.import_module(f"asset_worker.cli.{module}"), module)
        finally:
            gc.enable()
        assert isinstance(command, click.Command)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands that begin like this, and options. None is loaded, as click would: Tab must be quick."""
        names = [CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80})
@click.version_option(__version__, prog_name="asset-worker")
def asset_worker() -> None:
    """Watch TwelveLabs assets until they are done, and emit one completion event for each.

    \b
    See it work, with no key and no network:
      asset-worker demo

    \b
    Wait for one video in a script:
      export TWELVE_LABS_API_KEY=tlk_…
      asset-worker wait 6298d673f1090f1100476d4c --for hls && echo playable

    \b
    Watch every new asset of your account:
      asset-worker run --account --events https://app.example/hooks

    \b
    Run beside an upload service that appends asset IDs to a file:
      asset-worker run --queue-file /var/spool/assets --events events.jsonl
    """


def _open_standard_streams() -> None:
    """Open /dev/null for each standard stream that the process was started without (`<&-`, `2>&-`).

    Otherwise the first file that is opened would get its number. That could be the journal; or a socket, which uvloop
    would then refuse to close.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number: this one


def _handle_signals_while_loading() -> None:
    """Let SIGTERM and SIGINT end the command as they will when it is loaded.

    A service has accepted nothing yet and exits with code 0; what is for it later (SIGHUP) is kept. Every other command
    dies of the signal.
    """
    is_service = sys.argv[1:2] == ["run"] and "--once" not in sys.argv
    if is_service:
        hold_service_signals()
    for number in STOPPING:
        signal.signal(number, lambda number, _: os._exit(0) if is_service else die_of_signal(SIGNAL_BASE + number))


def main() -> None:
    """Run the `asset-worker` command, and end the process with its exit code."""
    _handle_signals_while_loading()
    _open_standard_streams()
    write_stderr_in_background()
    write_stdout_unbuffered()
    try:
        asset_worker(prog_name="asset-worker")
    except StdoutError as error:
        click.echo(f"asset-worker: the output can't be written: {error.strerror}", err=True)
        sys.exit(1)
    finally:
        # The exit code is already decided: a signal in the interpreter's last milliseconds must not change it.
        for number in (*STOPPING, *SERVICE):
            signal.signal(number, signal.SIG_IGN)
