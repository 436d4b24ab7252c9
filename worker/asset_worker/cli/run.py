"""The command `asset-worker run`: runs the worker, as a service or once."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import click
import structlog

from asset_worker.cli.checks import queue_file_problem
from asset_worker.cli.form import Form
from asset_worker.cli.running import run_service
from asset_worker.cli.usage import PathOption, end_with, fail, settings_from
from asset_worker.domain.run_plan import Exit, RunPlan
from asset_worker.policies import inputs
from asset_worker.runtime.links import UntrustedLinkError, refuse_untrusted, walked
from asset_worker.runtime.paths import is_same_file
from asset_worker.runtime.systemd_notify import take_notifier
from asset_worker.runtime.text import visible
from asset_worker.settings.account import START
from asset_worker.settings.loading import load
from asset_worker.settings.tree import Queue
from asset_worker.sinks.registry import WEBHOOK, checked_target, form_of
from asset_worker.sinks.webhook.target import default_name, has_secret

_log = structlog.get_logger()

KEY_REFUSED_SECONDS = 60.0
"""A run with `--once` ends when the key has been refused for this long."""


@click.command()
@click.option("--config", type=PathOption(dir_okay=False), help="Settings file (TOML).")
@click.option("--queue-file", type=PathOption(readable=False), help="Follow this file: one asset per line.")
@click.option("--stdin", is_flag=True, help="Read assets from stdin, one per line.")
@click.option("--account", is_flag=True, help="Watch every new asset of the account.")
@click.option(
    "--events",
    metavar="TARGET",
    multiple=True,
    help="Where events go: - (stdout), a file or an https:// URL; may be repeated.",
)
@click.option("--state-dir", type=PathOption(), help="The directory for what must survive a restart.")
@click.option("--once", is_flag=True, help="End when the inputs are read to their end and nothing is pending.")
@click.option(
    "--admin-port",
    type=click.IntRange(0, 65535),
    help="Serve /metrics, /healthz, /readyz, a status page and, with tokens, /submissions on this port.",
)
@click.option("--json", "as_json", is_flag=True, help="Events on stdout are JSON also on a terminal.")
@click.option("--plain", is_flag=True, help="Progress is plain lines, without colours, as for a screen reader.")
@click.option(
    "--log-format", type=click.Choice(["json", "console"]), help="Default: json, unless stderr is a terminal."
)
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="Default: info.")
def run(
    config: Path | None,
    queue_file: Path | None,
    stdin: bool,
    account: bool,
    events: tuple[str, ...],
    state_dir: Path | None,
    once: bool,
    admin_port: int | None,
    as_json: bool,
    plain: bool,
    log_format: str | None,
    log_level: str | None,
) -> None:
    """Watch the account, a queue file, stdin or HTTP requests, and emit one event for each asset when it is done.

    The key is read from TWELVE_LABS_API_KEY, or from the file that api.key_file names. Stop with SIGTERM or Ctrl-C:
    what is pending is kept, and the next run continues with it. SIGHUP reads the key file, the tokens of HTTP clients,
    the secrets of webhooks, the log level and the certificate authorities again.

    \b
    Examples:
      asset-worker run --account --events https://app.example/hooks
      asset-worker run --queue-file /var/spool/assets
      asset-worker run --queue-file assets.txt --once --events events.jsonl
      upload-videos | asset-worker run --stdin
      asset-worker run --config /etc/asset-worker/worker.toml --admin-port 9090
      asset-worker run --config worker.toml --events https://app.example/hooks

    \b
    Exit codes: 0 done, every asset ready (a service: stopped by a signal); 1 at
    least one was not ready, or an unexpected error; 2 bad usage or settings;
    3 the key is refused (--once); 4 time ran out, and all others are ready;
    75 it can't start now, try again: the state directory or the port is in use,
    the disk is full, the key file, the file of tokens or a webhook's secrets are
    not there yet. With --once, a signal that ends it ends it as any other
    command: a shell loop around it ends, too.
    """
    flags = {
        "queue": {"file": queue_file, "stdin": stdin or None},
        "account": {"follow": account or None},
        "events": {"sinks": list(events) or None},
        "state": {"dir": state_dir},
        "admin": {"port": admin_port},
        "log": {"format": log_format, "level": log_level},
    }
    settings = settings_from(config, flags)
    accepts_http = settings.admin.accepts_submissions
    has_inbox = settings.queue.engine == "postgres" and not once
    if not inputs(settings) and (once or not (accepts_http or has_inbox)):
        fail(
            "there is nothing to watch: give --account, --queue-file or --stdin (or account.follow, queue.file or "
            "queue.stdin in the settings); or, for a service, --admin-port with admin.token_file in the settings"
        )
    _check_inputs(settings.queue, once=once, sinks=settings.events.local_targets)
    if once and settings.account.follow and settings.account.since == START:
        fail(
            "--once reads the account once, and account.since is start, so there would be nothing to read: set it to "
            "an instant or to all, as in ASSET_WORKER_ACCOUNT__SINCE=all"
        )
    is_endless = accepts_http or settings.account.follow or settings.queue.file is not None
    is_endless |= has_inbox and not settings.queue.stdin
    ends_by_itself = once or not is_endless
    plan = RunPlan(once=once, key_refused_limit=KEY_REFUSED_SECONDS if once else None, ends_by_itself=ends_by_itself)
    read_again = partial(load, config=config, environ=os.environ, overrides=flags)
    end_with(
        run_service(
            settings,
            plan,
            title="asset-worker",
            read_again=read_again,
            on_start=partial(_warn_of_exposed_urls, events),
            form=Form(json=as_json, plain=plain),
            notifier=take_notifier(os.environ),
        )
    )


def _warn_of_exposed_urls(targets: Iterable[str]) -> None:
    """Log which URLs of the command line have user-info or a query: every user of the machine can read it."""
    for target in targets:
        if form_of(target) in WEBHOOK and has_secret(url := checked_target(target)):
            _log.warning(
                "sink.url_exposed",
                sink=default_name(url),
                detail="all users of this machine can see the flags of a process: put a URL with a user or a query "
                "into the settings file, as a table in events.sinks, or into ASSET_WORKER_EVENTS__SINKS",
            )


def _check_inputs(queue: Queue, *, once: bool, sinks: tuple[str, ...]) -> None:
    """End the command if an input can't be read, or if output of this run would be read again as input."""
    if queue.file is not None:
        status = _status_of(queue.file, once=once)
        if not _leads_through_links_of_others(queue.file):  # they are no settings; the intake reads no events there
            named = any(sink != "-" and is_same_file(sink, queue.file) for sink in sinks)  # also if it is missing
            _refuse_loop(f"{queue.file} is the queue file", status, sinks, named=named)
    if queue.stdin and sys.stdin is None:  # so the interpreter found it at its start; it is /dev/null by now
        fail("stdin is closed, so there is nothing to read from it: leave --stdin out, or start without `<&-`")
    if queue.stdin and stat.S_ISREG((status := os.fstat(0)).st_mode):
        _refuse_loop("stdin is read from a file", status, sinks)


def _status_of(path: Path, *, once: bool) -> os.stat_result | None:
    if (problem := queue_file_problem(path)) is not None and problem.is_final:
        fail(problem.text)
    try:
        return path.stat()
    except FileNotFoundError:
        if once:
            fail(f"{path} does not exist, so there is nothing to read once: check --queue-file")
        return None


def _leads_through_links_of_others(path: Path) -> bool:
    """Return whether a link on the way to the queue file belongs to neither root nor this user."""
    try:
        with walked(path.absolute()) as place:
            refuse_untrusted(path, place.links, target_owner=None)
    except UntrustedLinkError:
        return True
    except OSError:
        return False
    return False


def _refuse_loop(which: str, status: os.stat_result | None, sinks: tuple[str, ...], *, named: bool = False) -> None:
    if named or (status is not None and any(_goes_to(sink, status) for sink in sinks)):
        fail(f"{which}, and events go there as well: each event would be read as a line; send them to another file")
    if status is not None and os.path.samestat(os.fstat(2), status):
        # The message is a comment on one line, because it is written into the queue file.
        click.echo(f"# {visible(which)}, and the log goes there as well: redirect stderr to another file", err=True)
        sys.exit(Exit.USAGE)


def _goes_to(sink: str, status: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.fstat(1) if sink == "-" else Path(sink).stat(), status)
    except OSError:
        return False
