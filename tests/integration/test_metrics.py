"""The metrics of a real worker: clean by promtool's rules, and true."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Callable

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from asset_worker.simulator.lifecycles import Lifecycle
from asset_worker.simulator.server import Simulator
from tests.integration.admin import admin_of
from tests.integration.processes import KEY, Run, Worker, eventually
from tests.integration.test_submissions import TOKEN, Client
from tests.integration.webhooks import Hooks, receiving
from tests.programs import program

SOON, LATER = Lifecycle(), Lifecycle(ends_after=60.0)


async def scrape(run: Run) -> str:
    async with aiohttp.ClientSession() as session, session.get(f"{await admin_of(run)}/metrics") as response:
        return await response.text()


def samples(text: str) -> dict[str, float]:
    """The samples by name and the values of their labels, in the order of the labels' names."""
    return {
        " ".join([each.name, *(value for _, value in sorted(each.labels.items()))]): each.value
        for family in text_string_to_metric_families(text)
        for each in family.samples
    }


async def until(run: Run, condition: Callable[[dict[str, float]], bool]) -> None:
    """Wait until the samples are as wanted."""
    while True:
        found = samples(await scrape(run))
        if condition(found):
            return
        await asyncio.sleep(0.05)


def linted(text: str) -> tuple[int, bytes, bytes]:
    """What promtool says of the metrics."""
    found = subprocess.run(
        [program("promtool"), "check", "metrics"], input=text.encode(), capture_output=True, check=False
    )
    return found.returncode, found.stdout, found.stderr


def start(worker: Worker, simulator: Simulator, *sinks: dict[str, object]) -> Run:
    """A worker with every input and both kinds of sinks."""
    token = worker.folder / "token"
    token.touch(mode=0o600)
    token.write_text(f"{TOKEN}\n")
    return worker.run(
        "--stdin",
        "--account",
        "--admin-port",
        "0",
        base_url=simulator.base_url,
        webhooks=sinks,
        stdin=subprocess.PIPE,
        ADMIN__TOKEN_FILE=str(token),
        ACCOUNT__INTERVAL="0.2",
    )


async def test_a_worker_that_has_seen_everything_has_clean_metrics(serve, worker):
    simulator = await serve(time_scale=60, seed=1, receiver=receiving(seed=1))
    hooks = Hooks(simulator, worker.folder)
    # A third of the attempts fails, and there is one for each event: some are accepted, some become dead letters.
    hooks.receiver.faults.replace("status=500:0.3")
    run = start(worker, simulator, hooks.table(retry=[]))
    await run.until("account.following")
    async with asyncio.timeout(60):
        simulator.set_faults("status=429:0.2", "status=503:0.2")
        from_file = [simulator.store.add(each) for each in (SOON, LATER) for _ in range(15)]
        worker.submit(*from_file, "no {line", from_file[0])
        assert run.process.stdin is not None
        run.process.stdin.write(f"{simulator.store.add(LATER)}\n".encode())
        run.process.stdin.flush()
        await Client(await admin_of(run)).post(simulator.store.add(LATER))
        simulator.store.add(LATER)  # the account shows it
        await until(run, lambda now: now["asset_worker_retries_total"] > 0 < now["asset_worker_rate_limited_total"])
        simulator.set_faults()
        await eventually(lambda: len(worker.events()) == 34, otherwise=lambda: run.stderr)
        await until(run, lambda now: now["asset_worker_outbox_events"] == 0)
        text = await scrape(run)
    assert linted(text) == (0, b"", b"")
    found = samples(text)

    def shown(name: str) -> dict[str, float]:
        start = f"asset_worker_{name} "
        return {each.removeprefix(start): value for each, value in found.items() if each.startswith(start)}

    events, requests = worker.events(), sum(shown("api_requests_total").values())
    outcomes = [event["data"]["outcome"] for event in events]
    assert shown("completions_total") == {each: outcomes.count(each) for each in set(outcomes)}
    assert sum(shown("settlements_total").values()) == len(events) - outcomes.count("rejected")
    waited = [event for event in events if event["data"]["last_seen_waiting_at"] is not None]
    assert found["asset_worker_detection_lag_seconds_count"] == len(waited) > 0
    assert sum(shown("asset_duration_seconds_count").values()) > 0
    assert requests == found["asset_worker_requests_total"] - found["asset_worker_requests_in_flight"]
    assert requests == sum(shown("api_request_duration_seconds_count").values())
    assert {f"{endpoint} {status}" for endpoint in ("list", "retrieve") for status in ("200", "429", "503")} >= {
        *shown("api_requests_total")
    }
    assert sum(shown("looks_by_kind_total").values()) == found["asset_worker_looks_total"]
    lines = shown("intake_lines_total")
    assert [lines[f"accepted {source}"] for source in ("stdin", "http")] == [1, 1]
    assert lines["accepted file"] + lines["repeat file"] == 31, "the account may show some of them sooner"
    assert lines["accepted account"] >= 1
    assert lines["rejected file"] == 1
    delivered, dead = (shown("deliveries_total")[f"{each} hooks"] for each in ("delivered", "dead_letter"))
    assert delivered + dead == len(events)
    assert min(delivered, dead) > 0
    assert (delivered, dead) == (len(hooks.accepted()), found["asset_worker_dead_letters"])
    assert shown("deliveries_total")[f"delivered file:{worker.events_file}"] == len(events)
    assert {"api", "journal", "intake:file", "intake:stdin", "intake:http", "intake:account", "sink:hooks"} < {
        *shown("last_success_timestamp_seconds")
    }
    assert found["asset_worker_journal_commits_total"] > 0
    assert found["process_resident_memory_bytes"] > 0
    assert KEY not in text
    assert TOKEN not in text
    assert json.dumps(from_file[0]) not in text
