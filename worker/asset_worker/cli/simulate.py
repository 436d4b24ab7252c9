"""The command `asset-worker simulate`: serves the simulator."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from asset_worker.cli.usage import PathOption, fail
from asset_worker.domain.run_plan import Exit
from asset_worker.runtime.durations import seconds_of
from asset_worker.runtime.ending import STOPPING
from asset_worker.runtime.line_stream import LineStream
from asset_worker.runtime.os_errors import may_pass
from asset_worker.runtime.redaction import Secrets
from asset_worker.runtime.stop import Stop
from asset_worker.runtime.text import visible
from asset_worker.runtime.threads import DaemonThread
from asset_worker.settings.variables import KEY_VARIABLE
from asset_worker.simulator.controls import MOST_ASSETS
from asset_worker.simulator.faults import OF_API, OF_RECEIVER, Fault
from asset_worker.simulator.limits import Limit, Style
from asset_worker.simulator.receiver import PATH, ReceiverOptions
from asset_worker.simulator.server import Options, Simulator
from asset_worker.simulator.signatures import SECRET_BYTES, secret_text, secrets_of
from asset_worker.telemetry.logs import configure

SIGNING_KEY_VARIABLE = "WEBHOOK_SECRET"
MOST_SKEW = 1e8
"""Seconds, some three years."""
SIGNING_KEY_SETTING = "ASSET_WORKER_EVENTS__SECRET_FILE"


class _Text(click.ParamType[Any]):
    """The type of an option that has its own parser, whose errors say what is wrong."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self._parse(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(str(error), param, ctx)


def skew(text: str) -> float:
    """Return the seconds of a duration that may be negative.

    Raises:
        ValueError: it is none, or too long.
    """
    try:
        seconds = float(text)
    except ValueError:
        seconds = seconds_of(text.removeprefix("-")) * (-1 if text.startswith("-") else 1)
    if not -MOST_SKEW <= seconds <= MOST_SKEW:
        raise ValueError(f"it must be {MOST_SKEW:.0f} seconds at most")
    return seconds


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8123, show_default=True, help="0: any free port.")
@click.option(
    "--assets", type=click.IntRange(0, MOST_ASSETS), default=0, help="Create this many; their IDs go to stdout."
)
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed makes the same lifecycles.")
@click.option(
    "--time-scale",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="Simulated seconds per second: with 60, minutes become seconds.",
)
@click.option(
    "--clock-skew",
    type=_Text("duration", skew),
    metavar="T",
    default=0.0,
    help="How far the server's clock (Date, created_at) is ahead of ours: 90, 1h, -10m.",
)
@click.option(
    "--key",
    envvar=KEY_VARIABLE,
    help=f"The API key that is accepted. Better set {KEY_VARIABLE}: other users see flags in `ps`. Default: any.",
)
@click.option(
    "--limit",
    type=_Text("requests/seconds[:style]", Limit.parse),
    help=f"A rate limit, as in 60/60:vendor. Styles: {', '.join(Style)}.",
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    type=_Text("kind[=argument][:probability][@from-to]", Fault.parse),
    help=f"A fault, as in status=503:0.1; may be repeated. Kinds: {', '.join(OF_API)}.",
)
@click.option("--receiver", is_flag=True, help=f"Also receive webhooks, at {PATH}; their signatures are verified.")
@click.option(
    "--receiver-fault",
    "receiver_faults",
    multiple=True,
    type=_Text("kind[=argument][:probability][@from-to]", partial(Fault.parse, kinds=OF_RECEIVER)),
    help=f"A fault of the receiver, as in hang:0.1; may be repeated. Kinds: {', '.join(OF_RECEIVER)}.",
)
@click.option(
    "--receiver-secret-file",
    type=PathOption(dir_okay=False),
    help=f"The secrets of webhooks, one whsec_… a line. Default: {SIGNING_KEY_VARIABLE}, else a new one is shown.",
)
def simulate(
    port: int,
    assets: int,
    seed: int,
    time_scale: float,
    clock_skew: float,
    key: str | None,
    limit: Limit | None,
    faults: tuple[Fault, ...],
    receiver: bool,
    receiver_faults: tuple[Fault, ...],
    receiver_secret_file: Path | None,
) -> None:
    """Serve a stand-in for the assets API on 127.0.0.1, until a signal comes.

    \b
    Examples:
      asset-worker simulate --assets 20 --time-scale 10 > queue.txt
      asset-worker simulate --limit 60/60 --fault status=503:0.1 --fault hang:0.1
      asset-worker simulate --receiver --receiver-fault status=500:0.3

    \b
    While it runs:
      AT=localhost:8123/_simulator
      curl -X POST $AT/assets -d '{"count": 5, "kind": "clip"}'
      curl -X POST $AT/assets -d '{"count": 9, "age": 86400, "spread": 80000}'
      curl -X PUT  $AT/faults -d '["html=502:0.5"]'
      curl $AT/stats
      curl -X PUT  $AT/receiver/faults -d '["gone"]'
      curl $AT/receiver
    """
    if not receiver and (receiver_faults or receiver_secret_file):
        fail("--receiver-fault and --receiver-secret-file need --receiver")
    # Errors of the server go to the log once a spell: a client can cause as many as it likes.
    secrets = Secrets()
    secrets.add(key or "")
    configure("console", "info", secrets)
    hooks: ReceiverOptions | None = None
    set_secret: list[str] = []
    if receiver:
        written, set_secret = _secrets(receiver_secret_file)
        for secret in written:
            secrets.add(secret_text(secret))
        hooks = ReceiverOptions(secrets=written, faults=receiver_faults, seed=seed, report=_report)
    options = Options(
        port=port,
        seed=seed,
        time_scale=time_scale,
        clock_skew=clock_skew,
        key=key,
        limit=limit,
        faults=faults,
        receiver=hooks,
    )
    try:
        asyncio.run(_serve(options, assets, _how_to_set_the_key(key), set_secret))
    except BrokenPipeError:
        sys.exit(1)  # nobody reads the IDs any more
    except OSError as error:
        code = Exit.TEMPORARY if may_pass(error) else Exit.USAGE
        fail(
            f"port {port} can't be served ({error.strerror}): give another --port, or 0 for any that is free", code=code
        )


def _how_to_set_the_key(key: str | None) -> str:
    """Return the line for the other terminal. A key from the environment may be a real one, and is not shown."""
    if click.get_current_context().get_parameter_source("key") is ParameterSource.ENVIRONMENT:
        return f"# and set {KEY_VARIABLE} as it is here: no other key is accepted"
    return f"export {KEY_VARIABLE}={key or 'any'}"


def _report(line: str) -> None:
    click.echo(visible(line), err=True)


def _secrets(path: Path | None) -> tuple[tuple[bytes, ...], list[str]]:
    """Return the secrets of the receiver, and the lines for the other terminal that have the worker sign with them.

    Only a new secret is shown. If the given ones can't be used, say why and end the process.
    """
    given, where = os.environ.get(SIGNING_KEY_VARIABLE, ""), SIGNING_KEY_VARIABLE
    if path is not None:
        where = str(path)
        try:
            given = path.read_text()
        except (OSError, ValueError) as error:
            fail(f"the secrets of the receiver can't be read from {path}: {getattr(error, 'strerror', 'not UTF-8')}")
    if not given and path is None:
        new = os.urandom(SECRET_BYTES)
        return (new,), [
            f"(umask 077; echo {secret_text(new)} > webhook-secret)",
            f"export {SIGNING_KEY_SETTING}=$PWD/webhook-secret",
        ]
    try:
        found = secrets_of(given)
    except ValueError as error:
        fail(f"the secrets of the receiver in {where} can't be used: {error}")
    if path is None:
        return found, [
            f"# and sign with the secret that {SIGNING_KEY_VARIABLE} has here: {SIGNING_KEY_SETTING} names its file"
        ]
    return found, [f"export {SIGNING_KEY_SETTING}={shlex.quote(str(path.absolute()))}"]


async def _serve(options: Options, assets: int, set_key: str, set_secret: list[str]) -> None:
    stop = Stop()
    for number in STOPPING:
        asyncio.get_running_loop().add_signal_handler(number, stop.set, number.name)
    async with Simulator(options) as simulator:
        ids = [f"{simulator.store.add()}\n".encode() for _ in range(assets)]
        written = await stop.race(DaemonThread("stdout").run(LineStream(1).write, ids))  # its reader may stop reading
        if written is not None and written < assets:
            raise BrokenPipeError
        click.echo(f"the stand-in serves at {simulator.base_url}; in another terminal:", err=True)
        click.echo(f"  export TWELVELABS_BASE_URL={simulator.base_url}", err=True)
        click.echo(f"  {set_key}", err=True)
        if simulator.receiver is not None:
            click.echo(f"webhooks are received at {simulator.hooks_url}; in the other terminal:", err=True)
            watched = "--queue-file queue.txt" if assets else "--account"
            for line in (*set_secret, f"asset-worker run {watched} --events {simulator.hooks_url}"):
                click.echo(f"  {line}", err=True)
        await stop.wait()
