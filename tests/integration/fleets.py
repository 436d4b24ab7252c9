"""A fleet as users run it: workers in processes of their own, one database, and what both have seen."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg

from tests.integration.processes import Run, Worker, eventually

LEASE = 2.0
Members = Callable[[str], Worker]
LEFT = "SELECT " + ", ".join(
    f"(SELECT count(*) FROM asset_worker.{table})" for table in ("inbox", "pending", "deliveries", "dead_letters")
)
"""What nobody has accepted, what is pending, what sinks are owed, and what they have refused."""


class Fleet:
    """Workers by name, one database and what it holds."""

    def __init__(self, url: str, base_url: str, make: Members, folder: Path) -> None:
        self.events_file = folder / "events.jsonl"
        """All write to one file: on one machine, each would have a sink of another name."""
        self.url = url
        self.base_url = base_url
        self.make = make
        self.workers: dict[str, Worker] = {}
        self.runs: list[Run] = []
        self.simulator: Any = None
        self.store: Any = None

    def worker(self, name: str) -> Worker:
        if name not in self.workers:
            self.workers[name] = self.make(name)
        return self.workers[name]

    def settings(self, name: str) -> dict[str, str]:
        return {
            "QUEUE__ENGINE": "postgres",
            "POSTGRES__URL": self.url,
            "FLEET__NAME": name,
            "FLEET__LEASE": str(LEASE),
        }

    def start(self, name: str, *arguments: str, webhooks: Sequence[Mapping[str, Any]] = (), **settings: str) -> Run:
        """Start a worker. `webhooks` are further sinks, as tables of the setting `events.sinks`."""
        worker = self.worker(name)
        chosen = self.settings(name) | {"EVENTS__SINKS": json.dumps([str(self.events_file), *webhooks])} | settings
        run = worker.start("run", "--state-dir", worker.state, *arguments, base_url=self.base_url, **chosen)
        self.runs.append(run)
        return run

    def run(self, *arguments: str) -> Run:
        worker = self.worker("command")
        return worker.start(*arguments, **self.settings("command"))

    def sql(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(query, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def submit(self, *asset_ids: str) -> None:
        self.sql("SELECT asset_worker.submit(id) FROM unnest(%s::text[]) AS id", list(asset_ids))

    def events(self) -> list[dict[str, Any]]:
        lines = self.events_file.read_bytes().splitlines(keepends=True) if self.events_file.exists() else []
        return [json.loads(line) for line in lines if line.endswith(b"\n")]

    async def init(self) -> None:
        """Make the tables anew."""
        self.sql("DROP SCHEMA IF EXISTS asset_worker CASCADE")
        run = self.run("fleet", "init")
        assert await run.end() == 0, run.stderr

    async def settles_once(self, *asset_ids: str) -> None:
        """Wait until all that was submitted is settled; each asset has one event, which the sink has received."""
        await eventually(
            lambda: len({event["id"] for event in self.events()}) >= len(asset_ids),
            otherwise=lambda: "".join(run.stderr[-2000:] for run in self.runs),
        )
        await eventually(lambda: self.sql(LEFT) == [(0, 0, 0, 0)], otherwise=lambda: self.sql(LEFT))
        assert self.counts() == {f"{asset_id}.1": 1 for asset_id in asset_ids}
        settled = self.sql("SELECT asset_id, completion FROM asset_worker.settled")
        assert sorted(settled) == [(asset_id, 1) for asset_id in sorted(asset_ids)]

    def counts(self) -> dict[str, int]:
        """Return how many different events there are of each ID. What a dead worker owed may be written again."""
        different: dict[str, set[str]] = {}
        for event in self.events():
            different.setdefault(event["id"], set()).add(json.dumps(event))
        return {each: len(events) for each, events in different.items()}
