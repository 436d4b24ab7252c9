"""The command `asset-worker wait`: waits for given assets, once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import click

from asset_worker.cli.form import Form
from asset_worker.cli.notices import Notices
from asset_worker.cli.running import run_service
from asset_worker.cli.showing import shown_to_people
from asset_worker.cli.usage import Duration, PathOption, end_with, fail, settings_from
from asset_worker.domain.assets import AssetId, asset_id
from asset_worker.domain.run_plan import Exit, RunPlan
from asset_worker.policies import AWAITED, expectations
from asset_worker.runtime.text import visible
from asset_worker.settings.account import Account
from asset_worker.settings.tree import Admin

STDIN: Final = "-"


@click.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@click.option(
    "--timeout", type=Duration(), metavar="T", help="How long: seconds, or text such as 10m; else poll.deadline."
)
@click.option(
    "--for",
    "what",
    type=click.Choice(list(AWAITED)),
    help="What must be ready: the asset alone, or with it its HLS stream, its thumbnail, or all that the API shows "
    "(the default, unless the settings differ). `hls` waits for the stream even if the API does not show one yet. An "
    "image, a document or a text never gets one: such a wait lasts until its timeout. Use it for video and audio only.",
)
@click.option(
    "--not-found-grace",
    type=Duration(may_be_zero=True),
    metavar="T",
    help="How long the API may not know an ID; else poll.not_found_grace.",
)
@click.option("--json", "as_json", is_flag=True, help="Events are JSON also on a terminal.")
@click.option("--plain", is_flag=True, help="Progress is plain lines, without colours, as for a screen reader.")
@click.option("--quiet", is_flag=True, help="Nothing on stderr unless an asset is not ready, or something is wrong.")
@click.option("--config", type=PathOption(dir_okay=False), help="Settings file (TOML).")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="Default: warning.")
def wait(
    ids: tuple[str, ...],
    timeout: float | None,
    what: str | None,
    not_found_grace: float | None,
    as_json: bool,
    plain: bool,
    quiet: bool,
    config: Path | None,
    log_level: str | None,
) -> None:
    """Wait for these assets, once: progress on a terminal, events on stdout, nothing kept.

    An ID that is `-` stands for the IDs on stdin, one a line. The settings of inputs, events and admin endpoints are
    for `run` and are ignored here.

    \b
    Examples:
      asset-worker wait 6298d673f1090f1100476d4c --for hls && echo playable
      asset-worker wait ID1 ID2 --timeout 10m > events.jsonl
      upload-videos | asset-worker wait - --quiet

    \b
    Exit codes: 0 every asset is ready; 1 at least one is not; 2 bad usage or
    settings; 3 the key is refused; 4 time ran out, and all others are ready;
    75 the key file is not there yet. A signal that ends it ends it as any
    other command: a shell loop around it ends, too.
    """
    found = _asset_ids(ids)
    reads_stdin = STDIN in ids
    overrides = {
        "poll": {"deadline": timeout, "not_found_grace": not_found_grace},
        "wait_for": AWAITED[what] if what is not None else {},
        "events": {"sinks": ["-"], "transitions": False},
        "log": {"level": log_level},
    }
    settings = settings_from(config, overrides)
    # The settings file may be a service's. Its inputs and admin endpoints are not for this command.
    queue = settings.queue.model_copy(update={"file": None, "stdin": reads_stdin})
    settings = settings.model_copy(update={"queue": queue, "account": Account(), "admin": Admin()})
    plan = RunPlan(asset_ids=found, keeps_state=False, key_refused_limit=0.0, ends_by_itself=True)
    form = Form(json=as_json, quiet=quiet, plain=plain)
    notices = Notices(expectations(settings, plan), _write, only_outcomes=quiet, is_shown=shown_to_people(form))
    # A person or a script waits for the events: unless a level was chosen, the log is only for problems.
    usual_level = "error" if quiet else "warning"
    level = settings.log.level if "level" in settings.log.model_fields_set else usual_level
    code = run_service(settings, plan, title="waiting", level=level, observe=notices.looked, form=form)
    notices.finish()
    if code == Exit.DONE and reads_stdin and not notices.settled:
        fail("stdin held no asset ID, so nothing was waited for")
    if code == Exit.NOT_READY and not notices.not_ready and reads_stdin:
        _write("a line of stdin held no usable asset ID, or an event was not delivered: see the events and the log")
    end_with(code)


def _asset_ids(texts: tuple[str, ...]) -> tuple[AssetId, ...]:
    """Return the asset IDs of the arguments, each once. If one is none, say so and end the process."""
    found: dict[AssetId, None] = {}
    for text in texts:
        if text == STDIN:
            if sys.stdin is None:  # so the interpreter found it at its start; it is /dev/null by now
                fail("stdin is closed, so there are no IDs to read from it: leave `-` out, or start without `<&-`")
            continue
        try:
            found[asset_id(text)] = None
        except ValueError as error:
            fail(f"{text!r} is not an asset ID: {error}")
    return tuple(found)


def _write(line: str) -> None:
    click.echo(f"asset-worker: {visible(line)}", err=True)
