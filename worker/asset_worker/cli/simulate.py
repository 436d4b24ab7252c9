"""The command `asset-worker simulate`: serves the simulator."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import click
from click.core import ParameterSource

from asset_worker.cli.usage import fail
from asset_worker.domain.run_plan import Exit
from asset_worker.runtime.ending import STOPPING
from asset_worker.runtime.line_stream import LineStream
from asset_worker.runtime.os_errors import may_pass
from asset_worker.runtime.redaction import Secrets
from asset_worker.runtime.stop import Stop
from asset_worker.runtime.threads import DaemonThread
from asset_worker.simulator.controls import MOST_ASSETS
from asset_worker.simulator.faults import Fault, FaultKind
from asset_worker.simulator.limits import Limit, Style
from asset_worker.simulator.server import Options, Simulator
from asset_worker.telemetry.logs import configure

KEY_VARIABLE = "TWELVE_LABS_API_KEY"


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
    help=f"A fault, as in status=503:0.1; may be repeated. Kinds: {', '.join(FaultKind)}.",
)
def simulate(
    port: int,
    assets: int,
    seed: int,
    time_scale: float,
    key: str | None,
    limit: Limit | None,
    faults: tuple[Fault, ...],
) -> None:
    """Serve a stand-in for the assets API on 127.0.0.1, until a signal comes.

    \b
    Examples:
      asset-worker simulate --assets 20 --time-scale 10 > queue.txt
      asset-worker simulate --port 9000 --limit 60/60 --fault status=503:0.1 --fault hang@30-40

    \b
    While it runs:
      curl -X POST localhost:8123/_simulator/assets -d '{"count": 5, "kind": "clip"}'
      curl -X PUT  localhost:8123/_simulator/faults -d '["html=502:0.5"]'
      curl localhost:8123/_simulator/stats
    """
    # Errors of the server go to the log once a spell: a client can cause as many as it likes.
    secrets = Secrets()
    secrets.add(key or "")
    configure("console", "info", secrets)
    options = Options(port=port, seed=seed, time_scale=time_scale, key=key, limit=limit, faults=faults)
    try:
        asyncio.run(_serve(options, assets, _how_to_set_the_key(key)))
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


async def _serve(options: Options, assets: int, set_key: str) -> None:
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
        await stop.wait()
