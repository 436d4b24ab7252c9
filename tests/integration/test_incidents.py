"""Three incidents, rehearsed: what page, metrics and log show to somebody who is woken at 3 a.m.

Each is understood from these alone, at its onset, while it lasts and when it is over.
"""

from __future__ import annotations

import asyncio
import html
import re
import signal
import time
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from asset_worker.simulator import receiver
from asset_worker.simulator.lifecycles import Lifecycle
from asset_worker.simulator.limits import Limit
from asset_worker.telemetry.problems import Reason
from tests.integration.admin import admin_of
from tests.integration.processes import KEY, Run, Worker, eventually
from tests.integration.webhooks import Hooks, receiving

NEVER = Lifecycle(100_000)
HEARTBEAT = "heartbeat:0.3"
"""The heartbeat comes more often than once a minute, so that a test need not wait for it."""
SIX_HOURS = 21_600
NEW_KEY = "tlk_9876543210abcdefSECRET"


class Operator:
    """Somebody who looks at a worker from outside."""

    def __init__(self, worker: Worker, *arguments: str, failpoints: str = HEARTBEAT, **options: Any) -> None:
        self.run: Run = worker.run(
            "--admin-port", "0", *arguments, program=("tests.integration.failpoints", failpoints), **options
        )
        self.seen = ""
        """All that was shown to him, besides the log."""

    async def get(self, path: str) -> tuple[int, str]:
        async with aiohttp.ClientSession() as session, session.get(f"{await admin_of(self.run)}{path}") as response:
            text = await response.text()
            self.seen += text
            return response.status, text

    async def page(self, part: str = "body") -> str:
        """The text of an element of the page, found by its name or ID; empty: there is none."""
        _, page = await self.get("/")
        opening = re.search(rf'<(\w+)(?=[^>]* id="{part}")[^>]*>|<({part})>', page)
        if opening is None:
            return ""
        name = opening[1] or opening[2]
        inner = page[opening.end() : page.index(f"</{name}>", opening.end())]
        return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", inner)).split())

    async def shown(self, part: str, *texts: str) -> str:
        """The text of an element of the page, once it holds all of these: a page may be a second old."""
        deadline = asyncio.get_running_loop().time() + 10
        found = await self.page(part)
        while not all(text in found for text in texts):
            assert asyncio.get_running_loop().time() < deadline, found
            await asyncio.sleep(0.05)
            found = await self.page(part)
        return found

    async def metrics(self) -> dict[str, float]:
        """The samples by name and labels, as in `problem{reason="key_refused"}`; the prefix is left out."""
        _, text = await self.get("/metrics")
        found = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
                found[sample.name.removeprefix("asset_worker_") + (f"{{{labels}}}" if labels else "")] = sample.value
        return found

    async def reasons(self) -> set[str]:
        """The reasons of present problems in the metrics, which have a sample for each reason there is."""
        metrics = await self.metrics()
        found = {each.value: metrics[f'problem{{reason="{each.value}"}}'] for each in Reason}
        assert metrics["ready"] == (1.0 if (await self.get("/readyz"))[0] == 200 else 0.0)
        return {reason for reason, value in found.items() if value}

    async def heartbeat(self) -> dict[str, Any]:
        """The next one."""
        before = len(self.run.logs("worker.heartbeat"))
        await eventually(lambda: len(self.run.logs("worker.heartbeat")) > before, otherwise=lambda: self.run.stderr)
        return self.run.logs("worker.heartbeat")[-1]

    async def until(self, *reasons: str) -> dict[str, Any]:
        """Wait for a heartbeat with exactly these problems, which is a warning if there are any; return it."""
        deadline = asyncio.get_running_loop().time() + 60
        beat = await self.heartbeat()
        while [each["reason"] for each in beat["problems"]] != list(reasons):
            assert asyncio.get_running_loop().time() < deadline, f"{beat} {self.run.stderr[-4000:]}"
            beat = await self.heartbeat()
        assert beat["level"] == ("warning" if reasons else "info")
        return beat

    async def sees_that_all_is_well(self) -> None:
        """Everywhere."""
        await self.until()
        await self.shown("h1", "✓ All is well")
        assert await self.page("problems") == ""
        assert await self.reasons() == set()


def seconds_between(first: str, last: str) -> float:
    return (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds()


async def test_a_key_is_revoked_at_night(serve, worker: Worker):
    """It is replaced in its file, without a restart. What has become ready meanwhile is then reported."""
    simulator = await serve(key=KEY)
    file = worker.folder / "key"
    write_key(file, KEY)
    first, second = simulator.store.add(Lifecycle()), simulator.store.add(NEVER, filename="talk.mp4")
    worker.submit(first, second)
    operator = Operator(worker, base_url=simulator.base_url, API__KEY_FILE=str(file))
    await eventually(lambda: len(worker.events()) == 1, otherwise=lambda: operator.run.stderr)
    await operator.sees_that_all_is_well()

    # Onset
    simulator.key = NEW_KEY
    simulator.store.change(second, Lifecycle())
    began = await operator.until("key_refused")
    [problem] = began["problems"]
    assert problem["problem"] == "the API refuses the key"
    assert problem["last_error"] == "401 The API key is invalid or has expired."
    assert seconds_between(problem["since"], began["timestamp"]) < 30
    card = await operator.shown("key_refused", "The API refuses the key. What to do: Replace the key.")
    assert f"since {problem['since'][11:18]}" in card
    assert "next try" in card
    assert problem["last_error"] in card
    await operator.shown("pending", "talk.mp4")
    before = await operator.metrics()
    assert before['api_requests_total{endpoint="retrieve",status="401"}'] >= 1
    assert (before["pending_assets"], before["ready"]) == (1.0, 0.0)
    [logged] = operator.run.logs("api.key_refused")
    assert logged["hint"].startswith("put a key that works into that file")

    # While it lasts, little is asked, nothing is settled, and everybody says since when.
    await asyncio.sleep(1)
    [now] = (await operator.until("key_refused"))["problems"]
    assert abs(seconds_between(problem["since"], now["since"])) < 0.1
    during = await operator.metrics()
    assert await operator.reasons() == {"key_refused"}
    assert during["requests_total"] - before["requests_total"] <= 3
    assert during["oldest_pending_age_seconds"] > before["oldest_pending_age_seconds"]
    last_success = 'last_success_timestamp_seconds{part="api"}'
    assert during[last_success] == before[last_success]
    assert len(worker.events()) == 1

    # Recovery
    write_key(file, NEW_KEY)
    await eventually(lambda: len(worker.events()) == 2, otherwise=lambda: operator.run.stderr)
    await operator.sees_that_all_is_well()
    after = await operator.metrics()
    assert after['completions_total{outcome="ready"}'] == 2.0
    assert after[last_success] > during[last_success]
    await operator.shown("finished", "talk.mp4")
    assert len(operator.run.logs("api.recovered")) == 1
    assert "SECRET" not in operator.seen + operator.run.stderr


def write_key(file: Path, key: str) -> None:
    new = file.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_text(key)
    new.replace(file)


async def test_a_receiver_is_down_for_six_hours(serve, worker: Worker, monkeypatch: pytest.MonkeyPatch):
    """Its events wait for it, each is accepted once, and the events file gets all of them at once."""
    simulator = await serve(receiver=receiving())
    hooks = Hooks(simulator, worker.folder)
    passed = worker.folder / "six hours have passed"
    later = SimpleNamespace(time=lambda: time.time() + SIX_HOURS * passed.exists())
    monkeypatch.setattr(receiver, "time", later)  # it refuses signatures of another time
    operator = Operator(
        worker,
        base_url=simulator.base_url,
        webhooks=[hooks.table()],
        failpoints=f"{HEARTBEAT}+suspend:{SIX_HOURS}:{passed}",
    )
    worker.submit(simulator.store.add(Lifecycle()))
    await eventually(lambda: len(hooks.accepted()) == 1, otherwise=lambda: operator.run.stderr)
    await operator.sees_that_all_is_well()

    # Onset
    hooks.receiver.faults.replace("status=503")
    ids = [simulator.store.add(Lifecycle()) for _ in range(10)]
    worker.submit(*ids)
    began = await operator.until("sink_down")
    [problem] = began["problems"]
    assert "hooks" in problem["problem"]
    assert "503" in problem["last_error"]
    advice = "What to do: Repair the receiver. Its events are kept, and sent when it answers."
    await operator.shown("sink_down", advice, "last error HTTP 503")
    await eventually(lambda: len(worker.events()) == 11, otherwise=lambda: operator.run.stderr)
    assert await operator.reasons() == {"sink_down"}
    before = await operator.metrics()
    file = f'sink="file:{worker.events_file}"'
    assert before['sink_backlog_events{sink="hooks"}'] == 10.0
    assert before['deliveries_total{result="failed",sink="hooks"}'] >= 10
    assert (before[f"sink_backlog_events{{{file}}}"], before["outbox_events"]) == (0.0, 10.0)
    [logged] = operator.run.logs("sink.failed")
    assert (logged["sink"], "503" in logged["error"]) == ("hooks", True)
    assert logged["runbook"] == problem["runbook"] == "docs/runbook.md#sink_down"

    # Six hours later
    passed.touch()
    await operator.heartbeat()
    beat = await operator.until("sink_down")
    assert SIX_HOURS < seconds_between(beat["problems"][0]["since"], beat["problems"][0]["next_try"]) < SIX_HOURS + 300
    await operator.shown("sink_down", "(for 6 h")
    await operator.shown("sinks", "hooks ✕ the sink hooks is down 10 6 h")
    during = await operator.metrics()
    assert SIX_HOURS < during['sink_oldest_event_age_seconds{sink="hooks"}'] < SIX_HOURS + 300
    last_success = 'last_success_timestamp_seconds{part="sink:hooks"}'
    assert during[last_success] == before[last_success]
    assert during['sink_dead_letters{sink="hooks"}'] == 0.0
    assert len(operator.run.logs("sink.failed")) == 1, "not for each attempt"

    # Recovery: it is tried at least once a minute, and at SIGHUP at once
    hooks.receiver.faults.replace()
    operator.run.send(signal.SIGHUP)
    await eventually(lambda: len(hooks.accepted()) == 11, otherwise=lambda: operator.run.stderr)
    assert hooks.wrong(worker) == []
    await operator.sees_that_all_is_well()
    after = await operator.metrics()
    assert (after['sink_backlog_events{sink="hooks"}'], after["dead_letters"]) == (0.0, 0.0)
    assert after['deliveries_total{result="delivered",sink="hooks"}'] == 11.0
    assert after[last_success] > during[last_success]
    [recovered] = operator.run.logs("sink.recovered")
    assert recovered["failed_for"] > SIX_HOURS


async def test_a_quota_is_eaten_by_another_team(serve, worker: Worker):
    """The worker waits for the next window, says who has used this one, and is ready all the while."""
    simulator = await serve()
    asset_id = simulator.store.add(NEVER, filename="talk.mp4")
    worker.submit(asset_id)
    operator = Operator(worker, base_url=simulator.base_url, failpoints=f"{HEARTBEAT}+shortage:2")
    await eventually(lambda: simulator.stats.requests > 1, otherwise=lambda: operator.run.stderr)
    await operator.sees_that_all_is_well()

    # Onset
    simulator.set_limit(ends_in(15.0, requests=60))
    simulator.use_up_limit()  # before the worker sends its next request
    began = await operator.until("rate_limited")
    [problem] = began["problems"]
    assert problem["problem"] == "the API's rate limit is used up"
    assert problem["last_error"] == "others have used 60 of 60 requests"
    await operator.shown(
        "rate_limited", "What to do: Find out who else uses the organisation's quota", problem["last_error"]
    )
    await operator.shown("quota", "0 of 60 requests left, renewed in")
    assert await operator.reasons() == {"rate_limited"}
    before = await operator.metrics()
    [remaining] = [value for name, value in before.items() if name.startswith("quota_remaining_requests")]
    [limit] = [value for name, value in before.items() if name.startswith("quota_limit_requests")]
    assert (limit, remaining, before["ready"]) == (60.0, 0.0, 1.0)

    [logged] = operator.run.logs("api.rate_limited")
    assert (logged["level"], logged["requested_by_server"]) == ("warning", True)

    # While it lasts, nothing is asked.
    simulator.store.change(asset_id, Lifecycle())
    await asyncio.sleep(0.5)
    during = await operator.metrics()
    assert during["requests_total"] == before["requests_total"]

    # Recovery
    await eventually(lambda: len(worker.events()) == 1, otherwise=lambda: operator.run.stderr)
    await operator.sees_that_all_is_well()
    assert (await operator.metrics())['completions_total{outcome="ready"}'] == 1.0


def ends_in(seconds: float, *, requests: int) -> Limit:
    """A limit of about a minute's windows, of which the present one ends in so many seconds."""
    ends = time.time() + seconds
    return Limit(requests, ends / int(ends / 60.0))
