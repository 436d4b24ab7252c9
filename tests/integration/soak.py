"""A long life in minutes: `python -m tests.integration.soak --assets 100000 --seconds 200`.

The simulator's assets pass through one worker at an even rate, while its memory, file descriptors, journal and the lag
of its event loop are sampled. What is flat in the second half of the run stays flat for ever; the slopes are printed.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from random import Random

import click
import psutil

from tests.integration.processes import Worker
from worker.simulator.lifecycles import KINDS, Odds, draw
from worker.simulator.server import Options, Simulator

SAMPLE_SECONDS = 2.0
ODDS = Odds(late_visible=0.01)


def slope(points: list[tuple[float, float]]) -> float:
    """Per unit of the first value, by least squares."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread


async def soak(assets: int, seconds: float, folder: Path) -> bool:
    """Whether each asset had its one event."""
    random, ids = Random(1), set()
    worker = Worker(folder)
    async with Simulator(Options(time_scale=30, seed=1)) as simulator:
        run = worker.run(
            base_url=simulator.base_url,
            program=("tests.integration.failpoints", "forget"),
            QUEUE__DEDUPE_WINDOW="2",
            POLL__INITIAL="0.5",
            POLL__MAX="2",
            LOG__LEVEL="warning",
        )
        process = psutil.Process(run.process.pid)
        loop = asyncio.get_running_loop()
        started, samples = loop.time(), []
        while len(ids) < assets:
            await asyncio.sleep(SAMPLE_SECONDS / 10)
            due = min(assets, int(assets * (loop.time() - started) / seconds))
            batch = []
            while len(ids) < due:
                kind = KINDS["clip" if random.random() < 0.5 else "image"]
                batch.append(simulator.store.add(draw(kind, random, odds=ODDS), kind=kind))
                ids.add(batch[-1])
            worker.submit(*batch)
            if loop.time() - started > SAMPLE_SECONDS * (len(samples) + 1):
                journal = sum(path.stat().st_size for path in worker.state.glob("journal*"))
                samples.append((len(ids), process.memory_info().rss, process.num_fds(), journal))
        found = 0
        while found < assets and run.process.poll() is None and loop.time() - started < 3 * seconds:
            await asyncio.sleep(1)
            found = worker.events_file.read_bytes().count(b"\n")
        cpu = process.cpu_times()
        run.process.terminate()
        code = await run.end()
        requests = simulator.stats.requests
    late = samples[len(samples) // 2 :]
    click.echo(
        f"{assets} assets in {seconds:.0f} s; {requests} requests; {cpu.user + cpu.system:.0f} CPU seconds; exit {code}"
    )
    for name, column, unit in (("memory", 1, "bytes"), ("descriptors", 2, ""), ("journal", 3, "bytes")):
        each = slope([(sample[0], sample[column]) for sample in late])
        click.echo(f"{name:12} {late[0][column]:>12} to {late[-1][column]:>12} {unit}: {each:+.3f} for each asset")
    lags = [line["lag"] for line in run.logs("worker.lagging")]
    click.echo(f"event loop held up for more than 250 ms: {len(lags)} times, {max(lags, default=0):.2f} s at most")
    subjects = [event["id"] for event in worker.events()]
    right = sorted(subjects) == sorted(f"{each}.1" for each in ids)
    click.echo(f"{len(subjects)} events, {'each asset once' if right else 'NOT each asset once'}")
    worker.kill_all()
    return right


@click.command()
@click.option("--assets", default=100_000, show_default=True)
@click.option("--seconds", default=200.0, show_default=True)
def main(assets: int, seconds: float) -> None:
    """Let assets pass through one worker, and see what grows."""
    with tempfile.TemporaryDirectory() as folder:
        raise SystemExit(not asyncio.run(soak(assets, seconds, Path(folder))))


if __name__ == "__main__":
    main()
