"""The command `asset-worker demo`: runs the simulator and the worker end to end, with a webhook that fails at times."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from asset_worker.cli.form import Form
from asset_worker.cli.running import run_to_the_end
from asset_worker.cli.showing import Showing
from asset_worker.cli.usage import end_with, fail, log_format
from asset_worker.domain.run_plan import RunPlan
from asset_worker.runtime.ending import SIGNAL_BASE
from asset_worker.runtime.redaction import Secrets
from asset_worker.service import Service
from asset_worker.settings.loading import load
from asset_worker.simulator.deliveries import Deliveries
from asset_worker.simulator.faults import OF_RECEIVER, Fault
from asset_worker.simulator.lifecycles import KINDS, FailureRates, Lifecycle, Rendition, draw
from asset_worker.simulator.receiver import ReceiverOptions
from asset_worker.simulator.server import Options, Simulator
from asset_worker.simulator.signatures import SECRET_BYTES, secret_text
from asset_worker.telemetry.logs import configure

COUNTS = {"image": 8, "document": 3, "text": 2, "audio": 4, "clip": 11}
FOLLOWED = 5
"""Assets that nobody submits: the worker finds them in the account."""
FOLLOWED_NAME = "unsubmitted.mp4"
TIME_SCALE = 8.0
KEY = "tlk_for_the_demo"
RECEIVER_FAULTS = ("status=503:0.2", "reset:0.15")
"""A third of the attempts to deliver a webhook fail."""
RETRY = (0.2, 0.4, 0.8, *[1.0] * 17)
"""Seconds from each failed attempt to the next: so many that no event becomes a dead letter by chance."""


class _Line(msgspec.Struct, frozen=True):
    """A line of the demo's queue file, and its expected outcome."""

    text: str
    """Empty: there is no line, as nobody submits the asset."""
    outcome: str
    """The expected outcome; empty: the line is skipped."""
    asset_id: str | None = None


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Events are JSON also on a terminal.")
@click.option("--plain", is_flag=True, help="Progress is plain lines, without colours, as for a screen reader.")
def demo(as_json: bool, plain: bool) -> None:
    """Run simulator and worker end to end: a few dozen assets of every kind, no key, no network, in a few seconds.

    Completion events go to stdout (as JSON unless it is a terminal), everything else to stderr. They are also sent as
    webhooks, to a receiver that fails a third of the time. Exit code 0 if every asset had the
    expected outcome, and every event was received.

    \b
    Examples:
      asset-worker demo
      asset-worker demo | jq -c '[.subject, .data.outcome, .data.reason]'
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix="asset-worker-demo-")
    except OSError as error:
        fail(f"the demo needs a temporary directory ({error.strerror}): set TMPDIR to one that can be written")
    with folder as path:
        code = run_to_the_end(_demo(Path(path), Form(json=as_json, plain=plain)))
    end_with(code)


async def _demo(folder: Path, form: Form) -> int:
    secret = os.urandom(SECRET_BYTES)
    faults = tuple(Fault.parse(text, OF_RECEIVER) for text in RECEIVER_FAULTS)
    receiver = ReceiverOptions(secrets=(secret,), faults=faults, seed=3)
    async with Simulator(Options(time_scale=TIME_SCALE, seed=7, key=KEY, receiver=receiver)) as simulator:
        lines = list(_lines(simulator))
        queue, events = folder / "queue", folder / "events.jsonl"
        submitted = [line.text for line in lines if line.text]
        queue.write_text("".join(f"{text}\n" for text in submitted))
        secret_file = folder / "webhook-secret"
        secret_file.touch(mode=0o600)
        secret_file.write_text(f"{secret_text(secret)}\n")
        click.echo(f"simulator at {simulator.base_url}; {len(submitted)} lines in {queue}", err=True)
        click.echo(f"{FOLLOWED} more assets are submitted by nobody: the worker follows the account", err=True)
        click.echo(f"webhooks to {simulator.hooks_url}, where a third of the attempts fail", err=True)
        started = time.time()
        webhook = {"url": simulator.hooks_url, "name": "webhook", "secret_file": str(secret_file), "retry": RETRY}
        code = await _run_worker(simulator, queue, [str(events), webhook], form)
        if code > SIGNAL_BASE:
            return code
        took = time.time() - started
        return _summarize(simulator, lines, events.read_bytes(), took)


async def _run_worker(simulator: Simulator, queue: Path, sinks: list[Any], form: Form) -> int:
    settings = load(
        config=None,
        environ={},
        overrides={
            "api": {"base_url": simulator.base_url, "key": KEY},
            "poll": {"initial": 0.4, "max": 1.5, "not_found_grace": 4, "rendition_deadline": 5},
            "limits": {"requests_per_second": 0},
            "queue": {"file": queue},
            "account": {"follow": True, "since": "all", "filename": FOLLOWED_NAME, "interval": 1},
            "events": {"sinks": ["-", *sinks]},
            "state": {"dir": queue.with_name("state")},
            "log": {"level": "error"},  # the events show the faulty lines, about which there are warnings
        },
    )
    secrets = Secrets()
    configure(log_format(settings), settings.log.level, secrets, colours=not form.plain)
    # Its assets are made up: nobody wants them in a collector.
    plan = RunPlan(once=True, ends_by_itself=True, may_be_traced=False)
    showing = Showing(settings, plan, title="demo", form=form)
    service = Service(settings, plan, secrets=secrets, observe=showing.observe, lines_on_stdout=showing.lines_of)
    return await showing.run(service)


def _lines(simulator: Simulator) -> Iterator[_Line]:
    """Yield lines with every kind of file and every outcome, and lines without an asset."""
    store, random = simulator.store, simulator.random

    def line(kind: str, lifecycle: Lifecycle, outcome: str, options: str = "") -> _Line:
        asset_id = store.add(lifecycle, kind=KINDS[kind])
        text = f'{{"asset_id": "{asset_id}", {options}}}' if options else asset_id
        return _Line(text, outcome, asset_id)

    def rendition(ends_after: float = 10, ends_in: str = "ready") -> Rendition:
        return msgspec.convert({"ends_after": ends_after, "ends_in": ends_in}, Rendition)

    yield _Line("# lines like this one, and blank ones, are skipped", "")
    for kind, count in COUNTS.items():
        for number in range(count):
            lifecycle = draw(
                KINDS[kind],
                random,
                failure_rates=FailureRates(failed=0, hls_error=0, thumbnail_error=0, late_visible=0.1),
            )
            yield line(kind, lifecycle, "ready", f'"metadata": {{"upload": "{kind}-{number}"}}')
    for reason in ("The video has no frames.", "The file is damaged.", "The resolution is too low."):
        yield line("clip", Lifecycle(random.uniform(8, 30), "failed", reason, hls=rendition()), "failed")
    yield line("clip", Lifecycle(10, hls=rendition(15, "error"), thumbnail=rendition()), "degraded")
    yield line("image", Lifecycle(5, thumbnail=rendition(8, "error")), "degraded")
    yield line("clip", Lifecycle(10, hls=rendition(math.inf), thumbnail=rendition()), "degraded")
    yield line("clip", Lifecycle(10, hls=rendition(math.inf)), "ready", '"wait_for": {"hls": "ignore"}')
    yield line("video", Lifecycle(math.inf), "timed_out", '"deadline": 6')
    yield _Line(f"{random.getrandbits(96):024x}", "not_found")
    yield _Line(f"{random.getrandbits(96):024x}", "not_found")
    for text in ("../../etc/passwd", '{"asset_id": 7}', '{"asset_id": "6298d673f1090f', "two words"):
        yield _Line(text, "rejected")
    for number in range(FOLLOWED):
        clip = Lifecycle(10 + 5 * number, hls=rendition(), thumbnail=rendition())
        yield _Line("", "ready", store.add(clip, kind=KINDS["clip"], filename=FOLLOWED_NAME))


def _summarize(simulator: Simulator, lines: list[_Line], events: bytes, took: float) -> int:
    """Print the outcomes and the costs to stderr. Return the exit code."""
    completions = [msgspec.json.decode(event)["data"] for event in events.splitlines()]
    actual = Counter(event["outcome"] for event in completions)
    expected = Counter(line.outcome for line in lines if line.outcome)
    outcomes = {event["asset_id"]: event["outcome"] for event in completions if event.get("asset_id")}
    wrong = [line for line in lines if line.asset_id and outcomes.get(line.asset_id) != line.outcome]
    click.echo("", err=True)
    for outcome, count in sorted(expected.items()):
        click.echo(f"{outcome:<12}{actual[outcome]:>4} of {count}", err=True)
    lags = [
        lag for event in completions if event["outcome"] in {"ready", "failed"} and (lag := _lag(simulator, event)) >= 0
    ]
    click.echo(
        f"{len(completions)} events in {took:.1f} s; {simulator.stats.requests} requests; "
        f"known {sum(lags) / max(1, len(lags)):.1f} s after each was done, on average",
        err=True,
    )
    assert simulator.receiver is not None
    all_received = describe_webhooks(
        simulator.receiver.deliveries, {msgspec.json.decode(event)["id"] for event in events.splitlines()}
    )
    return 0 if actual == expected and not wrong and all_received else 1


def describe_webhooks(deliveries: Deliveries, sent: set[str]) -> bool:
    """Print how the webhooks were delivered. Return whether exactly the events with these IDs were, all signed."""
    received = {event.id for event in deliveries.events()}
    failures = [f"{count} × {answer}" for answer, count in sorted(deliveries.by_answer.items()) if answer != "204"]
    click.echo(
        f"webhook: {len(received & sent)} of {len(sent)} events delivered in {deliveries.requests} attempts "
        f"(failed: {', '.join(failures) or 'none'}), {'NOT ' if deliveries.bad_signatures else ''}each signed, "
        f"{f'{deliveries.repeats} came again' if deliveries.repeats else 'none twice'}",
        err=True,
    )
    return received == sent and not deliveries.bad_signatures


def _lag(simulator: Simulator, event: dict[str, str]) -> float:
    """Return the seconds from the end of an asset and its renditions to its event; negative: they have not ended."""
    completed = datetime.fromisoformat(event["completed_at"]).timestamp()
    return simulator.store.seconds_since_done(event["asset_id"]) / TIME_SCALE - (time.time() - completed)
