"""Soak tests: one long run, or a thousand killed ones. Exit code 1 if a promise is broken.

`python -m tests.integration.soak --assets 100000 --seconds 200`: one worker processes assets of the simulator at an
even rate, while its memory, file descriptors, journal and the lag of its event loop are sampled. What does not grow in
the second half of the run never grows.

`python -m tests.integration.soak --kills 1000`: kill -9 at random moments while assets are processed (`kills.survive`).
With `--webhooks`, their events also go to a receiver that fails a third of the time. With `--account`, nobody submits
them: the worker follows an account of 100,000 older assets, whose list changes while it is read (`accounts.Storm`).
With `--fleet`, up to four workers share a queue in PostgreSQL (`fleet_kills.Storm`).

`python -m tests.integration.soak --fleet`: a worker of a fleet starts while a million assets wait, and a fleet works
for a minute while a snapshot of its database is held open.
"""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from random import Random

import click
import msgspec
import psutil

from asset_worker.queue.local.journal import CHECKPOINT_PAGES, FILE_NAME
from asset_worker.simulator.faults import Fault
from asset_worker.simulator.lifecycles import KINDS, FailureRates, draw
from asset_worker.simulator.server import Options, Simulator
from tests.doubles import postgres
from tests.integration import fleet_kills, fleet_load
from tests.integration.accounts import Storm, Weathered, add_older
from tests.integration.fleets import Fleet
from tests.integration.kills import Survived, survive
from tests.integration.processes import Worker
from tests.integration.webhooks import FAULTS, Hooks, receiving

SAMPLE_SECONDS = 2.0
AHEAD_SECONDS = 5.0
"""Assets submitted in this many seconds may be without their events; usually it is about two."""
PATIENCE_SECONDS = 60.0
"""Seconds without an event after which the run ends."""
OLDER_ASSETS = 100_000
ASSETS_PER_KILL_OF_FLEET = 90
WAITING = 1_000_000
"""Assets that wait while a worker of a fleet starts."""
MEMORY_FOR_EACH = 2_000
"""Bytes that each of them may take in the worker."""
SNAPSHOT_SECONDS = 60.0
BURST = 500
"""Assets that are uploaded within one interval of the account."""
FAILURE_RATES = FailureRates(late_visible=0.01)
PAGE_BYTES = 4096
MAX_LOG_BYTES = 2 * CHECKPOINT_PAGES * PAGE_BYTES
"""The largest size of the journal's write-ahead log, which grows until a checkpoint and is then overwritten."""


class Bounds(msgspec.Struct, frozen=True):
    """The largest growth allowed in the second half of a run.

    100,000 assets in 200 s added less than a byte of memory per asset, no descriptor and no page of the journal. The
    smallest leak would be the ID of each asset in a set: about 150 bytes.
    """

    memory: float = 100.0
    """Bytes per asset."""
    descriptors: int = 3
    """The highest count minus the lowest."""
    journal: float = 60.0
    """Bytes per asset."""


class Sample(msgspec.Struct, frozen=True):
    """Sizes at one moment, in bytes."""

    assets: int
    """Assets submitted so far."""
    memory: int
    descriptors: int
    journal: int
    """All pages, whether they are in the database or still in its log."""
    log: int


class SoakResult(msgspec.Struct):
    """The result of a long run."""

    lines: list[str]
    """A summary for people."""
    samples: list[Sample]
    wrong: list[str]
    """Broken promises."""


def slope(points: list[tuple[float, float]]) -> float:
    """The change of the second value per unit of the first, by least squares."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread


def check_growth(samples: list[Sample], bounds: Bounds) -> tuple[list[str], list[str]]:
    """The growth in the second half of the samples, as lines, and what of it is out of bounds."""
    late = samples[len(samples) // 2 :]
    lines, wrong = [], []
    for name, most in (("memory", bounds.memory), ("journal", bounds.journal)):
        each = slope([(sample.assets, getattr(sample, name)) for sample in late])
        first, last = getattr(late[0], name), getattr(late[-1], name)
        lines.append(f"{name:12} {first:>12} to {last:>12} bytes: {each:+.3f} for each asset (at most {most:g})")
        if each > most:
            wrong.append(f"{name} grows by {each:.1f} bytes for each asset")
    fewest, many = min(sample.descriptors for sample in late), max(sample.descriptors for sample in late)
    if (log := max(sample.log for sample in samples)) > MAX_LOG_BYTES:
        wrong.append(f"the journal's log grew to {log} bytes")
    lines.append(f"descriptors  {fewest:>12} to {many:>12} (at most {bounds.descriptors} more)")
    if many - fewest > bounds.descriptors:
        wrong.append(f"from {fewest} to {many} descriptors")
    return lines, wrong


class Delivered:
    """Counts the events in a growing file without reading it again."""

    def __init__(self, path: Path) -> None:
        self.count = 0
        self.idle_seconds = 0.0
        """Seconds since the last event."""
        self._path = path
        self._offset = 0
        self._grew_at: float | None = None

    def update(self, now: float) -> None:
        """Read what has been appended; `now` is in seconds."""
        more = b""
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._offset)
                more = file.read()
        self.count += more.count(b"\n")
        self._offset += len(more)
        if more or self._grew_at is None:
            self._grew_at = now
        self.idle_seconds = now - self._grew_at


def _sizes(journal: Path) -> tuple[int, int]:
    """The sizes of the journal and of its log, in bytes; 0 before they exist."""
    log = journal.with_name(f"{journal.name}-wal")
    if not log.exists():
        return 0, 0
    with closing(sqlite3.connect(f"{journal.as_uri()}?mode=ro", uri=True, timeout=60)) as connection:
        [pages] = connection.execute("PRAGMA page_count").fetchone()
    return pages * PAGE_BYTES, log.stat().st_size


async def soak(
    assets: int, seconds: float, worker: Worker, *, bounds: Bounds, every: float = SAMPLE_SECONDS
) -> SoakResult:
    """Let one worker process this many assets in this many seconds, with a sample every `every` seconds.

    On a slow machine they are submitted more slowly: a growing backlog would prove nothing.
    """
    random, ids = Random(1), set()
    async with Simulator(Options(time_scale=30, seed=1)) as simulator:
        run = worker.run(
            base_url=simulator.base_url,
            program=("tests.integration.failpoints", "forget"),
            LIMITS__CONCURRENCY="20",
            QUEUE__DEDUPE_WINDOW="2",
            POLL__INITIAL="0.5",
            POLL__MAX="2",
            LOG__LEVEL="warning",
        )
        process = psutil.Process(run.process.pid)
        loop = asyncio.get_running_loop()
        delivered = Delivered(worker.events_file)
        most_ahead = int(assets * AHEAD_SECONDS / seconds)
        started = sampled_at = loop.time()
        samples: list[Sample] = []
        while delivered.count < assets and run.process.poll() is None and delivered.idle_seconds < PATIENCE_SECONDS:
            await asyncio.sleep(every / 10)
            delivered.update(loop.time())
            due = min(assets, int(assets * (loop.time() - started) / seconds), delivered.count + most_ahead)
            batch = []
            while len(ids) < due:
                kind = KINDS["clip" if random.random() < 0.5 else "image"]
                batch.append(simulator.store.add(draw(kind, random, failure_rates=FAILURE_RATES), kind=kind))
                ids.add(batch[-1])
            worker.submit(*batch)
            if len(ids) < assets and loop.time() - sampled_at > every:
                sampled_at = loop.time()
                samples.append(
                    Sample(len(ids), process.memory_info().rss, process.num_fds(), *_sizes(worker.state / FILE_NAME))
                )
        cpu = process.cpu_times()
        run.process.terminate()
        code = await run.end()
        requests = simulator.stats.requests
    lines, wrong = check_growth(samples, bounds)
    lags = [line["lag"] for line in run.logs("worker.lagging")]
    subjects = [event["id"] for event in worker.events()]
    if code != 0:
        wrong.append(f"exit code {code}: {run.stderr[-2000:]}")
    if sorted(subjects) != sorted(f"{each}.1" for each in ids):
        wrong.append(f"{len(subjects)} events for {len(ids)} assets, NOT each asset once")
    return SoakResult(
        [
            f"{assets} assets in {seconds:.0f} s; {requests} requests; {cpu.user + cpu.system:.0f} CPU seconds",
            *lines,
            f"event loop held up for more than 250 ms: {len(lags)} times, {max(lags, default=0):.2f} s at most",
            f"{len(subjects)} events",
        ],
        samples,
        wrong,
    )


async def _survive(kills: int, seed: int, faults: tuple[str, ...], worker: Worker, *, webhooks: bool) -> Survived:
    parsed = tuple(map(Fault.parse, faults))
    receiver = receiving(seed=seed) if webhooks else None
    async with Simulator(Options(time_scale=300, seed=seed, faults=parsed, receiver=receiver)) as simulator:
        hooks = Hooks(simulator, worker.folder) if webhooks else None
        if hooks:
            hooks.receiver.faults.replace(*FAULTS)
        return await survive(simulator, worker, kills=kills, random=Random(seed), within=300, hooks=hooks)


async def _weather(kills: int, seed: int, faults: tuple[str, ...], worker: Worker) -> Weathered:
    parsed = tuple(map(Fault.parse, faults))
    async with Simulator(Options(time_scale=1000, seed=seed, faults=parsed)) as simulator:
        add_older(simulator, OLDER_ASSETS)
        return await Storm(simulator, worker, Random(seed)).rage(kills=kills, burst=BURST, within=300)


@asynccontextmanager
async def _fleet(simulator: Simulator, folder: Path, workers: list[Worker]) -> AsyncIterator[Fleet]:
    """A fleet on a server of its own; its workers are appended to `workers`."""

    def make(name: str) -> Worker:
        (folder / name).mkdir()
        workers.append(Worker(folder / name))
        return workers[-1]

    with postgres.running_server(options=postgres.SAFE) as url:
        fleet = Fleet(url, simulator.base_url, make, folder)
        fleet.store = simulator.store
        await fleet.init()
        try:
            yield fleet
        finally:
            for worker in workers:
                worker.kill_all()


async def _survive_together(kills: int, seed: int, faults: tuple[str, ...], folder: Path) -> Survived:
    parsed = tuple(map(Fault.parse, faults))
    options = Options(time_scale=300, seed=seed, faults=parsed, receiver=receiving(seed=seed))
    async with Simulator(options) as simulator, _fleet(simulator, folder, []) as fleet:
        hooks = Hooks(simulator, folder)
        hooks.receiver.faults.replace(*FAULTS)
        storm = fleet_kills.Storm(simulator, fleet, Random(seed), hooks)
        return await storm.rage(kills=kills, each=ASSETS_PER_KILL_OF_FLEET, within=300)


async def _bear(folder: Path) -> SoakResult:
    async with Simulator(Options()) as simulator, _fleet(simulator, folder, []) as fleet:
        fleet_load.let_wait(fleet, WAITING)
        restarted = await fleet_load.restarts_with(fleet, WAITING, within=300, LIMITS__REQUESTS_PER_SECOND="1")
    folder = folder / "second"
    folder.mkdir()
    async with Simulator(Options()) as simulator, _fleet(simulator, folder, []) as fleet:
        for name in "ab":
            await fleet.start(name).until("worker.started")
        with fleet_load.snapshot_of(fleet):
            tenths = await fleet_load.settles(fleet, 0, seconds=SNAPSHOT_SECONDS)
    waited = (
        f"{WAITING} assets wait: started after {restarted.started:.1f} s, all owned after {restarted.owned:.1f} s, "
        f"{restarted.memory:.0f} bytes for each (at most {MEMORY_FOR_EACH})"
    )
    lines = [waited, f"settled in each tenth of {SNAPSHOT_SECONDS:.0f} s with a snapshot held open: {tenths}"]
    wrong = ["too much memory"] * (restarted.memory > MEMORY_FOR_EACH)
    wrong += ["throughput collapses while a snapshot is held"] * (tenths[-1] < max(tenths) / 4)
    return SoakResult(lines, [], wrong)


@click.command()
@click.option("--assets", default=100_000, show_default=True)
@click.option("--seconds", default=200.0, show_default=True)
@click.option("--kills", default=0, help="Instead of one long run, this many killed ones.")
@click.option("--seed", default=1, show_default=True, help="The seed of the kills.")
@click.option(
    "--fault", "faults", multiple=True, help="A fault between the kills, as in status=503:0.1; may be repeated."
)
@click.option("--webhooks", is_flag=True, help="With --kills: also send webhooks, to a receiver that fails.")
@click.option("--account", is_flag=True, help="With --kills: follow an account instead of a queue file.")
@click.option(
    "--fleet", is_flag=True, help="With --kills: workers that share a queue. Alone: what a fleet has to bear."
)
def main(
    assets: int,
    seconds: float,
    kills: int,
    seed: int,
    faults: tuple[str, ...],
    webhooks: bool,
    account: bool,
    fleet: bool,
) -> None:
    """Run one worker for long and check what grows, or kill it again and again and check what is lost."""
    with tempfile.TemporaryDirectory() as folder:
        worker = Worker(Path(folder))
        try:
            if kills and account:
                weathered = asyncio.run(_weather(kills, seed, faults, worker))
                click.echo(weathered.summary)
                wrong = weathered.wrong
            elif kills:
                survived = asyncio.run(
                    _survive_together(kills, seed, faults, worker.folder)
                    if fleet
                    else _survive(kills, seed, faults, worker, webhooks=webhooks)
                )
                click.echo(
                    f"{survived.kills} kills survived, {survived.before_started} of them before the worker was ready; "
                    f"{survived.assets} assets, {survived.lines} events, {survived.seconds:.0f} s"
                )
                wrong = survived.wrong
            else:
                result = asyncio.run(_bear(worker.folder) if fleet else soak(assets, seconds, worker, bounds=Bounds()))
                click.echo("\n".join(result.lines))
                wrong = result.wrong
        finally:
            worker.kill_all()
    click.echo("\n".join(f"WRONG: {each}" for each in wrong) or "nothing lost, nothing repeated")
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
