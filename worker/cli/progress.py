"""The live display on a terminal: how many wait, for what, what finished, the rate."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from worker.service import Service
from worker.telemetry import Snapshot

REFRESH_SECONDS = 0.25
WALK_LIMIT = 20_000
"""What is waited for is counted by walking all that is pending: not for more than this."""

COLOURS = {
    "ready": "green",
    "degraded": "yellow",
    "failed": "red",
    "not_found": "red",
    "timed_out": "magenta",
    "rejected": "red",
}


async def shown(service: Service, *, title: str) -> int:
    """Run the service under a live display on stderr; its exit code."""
    console = Console(file=sys.stderr)
    started = asyncio.get_running_loop().time()

    def render() -> Group:
        now = service.snapshot()
        waiting = service.waiting_on() if now.pending <= WALK_LIMIT else {}
        return _picture(title, now, waiting, asyncio.get_running_loop().time() - started)

    with Live(console=console, auto_refresh=False, transient=False, redirect_stdout=False) as live:

        async def refresh() -> None:
            while True:
                await asyncio.sleep(REFRESH_SECONDS)
                live.update(render(), refresh=True)

        refreshing = asyncio.create_task(refresh())
        try:
            return await service.run()
        finally:
            refreshing.cancel()
            live.update(render(), refresh=True)


def _picture(title: str, now: Snapshot, waiting: Mapping[str, int], elapsed: float) -> Group:
    done = sum(now.completions.values())
    head = Table.grid(padding=(0, 2))
    head.add_row(
        Text(title, style="bold"),
        ProgressBar(total=max(1, done + now.pending), completed=done, width=30),
        f"{done}/{done + now.pending} done",
        f"{done / elapsed:.1f}/s" if elapsed else "",
        f"{now.requests} requests",
        f"{int(elapsed)} s",
    )
    rows = [head]
    if waiting:
        rows.append(Table.grid(padding=(0, 2)))
        rows[-1].add_row("waiting for", *(f"{what} {count}" for what, count in sorted(waiting.items())))
    if done:
        rows.append(Table.grid(padding=(0, 2)))
        outcomes = (Text(f"{name} {count}", style=COLOURS[name]) for name, count in sorted(now.completions.items()))
        rows[-1].add_row("finished", *outcomes)
    if now.troubles:
        rows.append(Table.grid())
        rows[-1].add_row(Text(f"trouble: {'; '.join(now.troubles)}", style="bold red"))
    return Group(*rows)
