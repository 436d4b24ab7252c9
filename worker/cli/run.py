"""`asset-worker run`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from worker.cli.running import run_service
from worker.cli.usage import fail, settings_from
from worker.errand import Errand

KEY_REFUSED_SECONDS = 60.0
"""A run that is to end by itself gives up after this long with a key that is refused."""


@click.command()
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="Settings file (TOML).")
@click.option("--queue-file", type=click.Path(path_type=Path), help="Follow this file: one asset a line.")
@click.option("--stdin", is_flag=True, help="Read assets from stdin, one a line.")
@click.option(
    "--events", metavar="TARGET", multiple=True, help="Where events go: - (stdout) or a file; may be repeated."
)
@click.option("--state-dir", type=click.Path(path_type=Path), help="What must survive is kept here.")
@click.option("--once", is_flag=True, help="End when the inputs are read to their end and nothing is pending.")
@click.option("--admin-port", type=click.IntRange(0, 65535), help="Serve /metrics, /healthz and /readyz on this port.")
@click.option(
    "--log-format", type=click.Choice(["json", "console"]), help="Default: json, unless stderr is a terminal."
)
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="Default: info.")
def run(
    config: Path | None,
    queue_file: Path | None,
    stdin: bool,
    events: tuple[str, ...],
    state_dir: Path | None,
    once: bool,
    admin_port: int | None,
    log_format: str | None,
    log_level: str | None,
) -> None:
    """Watch the assets that a queue file or stdin names, and emit one event for each when it is done.

    The key is read from TWELVE_LABS_API_KEY, or from the file that api.key_file names. Stop with SIGTERM or Ctrl-C:
    what is pending is kept, and taken up again by the next run.

    \b
    Examples:
      asset-worker run --queue-file /var/spool/assets
      asset-worker run --queue-file assets.txt --once --events events.jsonl
      upload-videos | asset-worker run --stdin
      asset-worker run --config /etc/asset-worker/worker.toml --admin-port 9090

    \b
    Exit codes: 0 done, every asset ready (a service: stopped by a signal); 1 at least one was not ready, or a signal
    ended --once; 2 bad usage or settings, or the state directory is in use; 3 the key is refused (--once).
    """
    settings = settings_from(
        config,
        {
            "queue": {"file": queue_file, "stdin": stdin or None},
            "events": {"sinks": list(events) or None},
            "state": {"dir": state_dir},
            "admin": {"port": admin_port},
            "log": {"format": log_format, "level": log_level},
        },
    )
    if settings.queue.file is None and not settings.queue.stdin:
        fail("there is nothing to watch: give --queue-file or --stdin (or queue.file or queue.stdin in the settings)")
    _check_queue_file(settings.queue.file, once=once, sinks=settings.events.sinks)
    ends_by_itself = once or settings.queue.file is None
    errand = Errand(once=once, key_refused_limit=KEY_REFUSED_SECONDS if once else None, ends_by_itself=ends_by_itself)
    sys.exit(run_service(settings, errand, title="asset-worker"))


def _check_queue_file(path: Path | None, *, once: bool, sinks: tuple[str, ...]) -> None:
    if path is None:
        return
    if any(sink != "-" and os.path.realpath(sink) == os.path.realpath(path) for sink in sinks):
        fail(f"{path} is the queue file and where events go: each event would be read as a line; give --events a file")
    if path.exists() and not path.is_file():
        fail(f"{path} is no regular file, so it can't be followed: pipe it in with --stdin instead")
    if once and not path.exists():
        fail(f"{path} does not exist, so there is nothing to read once: check --queue-file")
