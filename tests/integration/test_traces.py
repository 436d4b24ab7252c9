"""Traces as a collector receives them by OTLP, from the real command."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from random import Random

import pytest
from aiohttp import web

from asset_worker.domain.events import timestamp
from asset_worker.simulator.lifecycles import Lifecycle
from asset_worker.simulator.signatures import secret_text
from tests.doubles.collector import answering, collecting, hanging, rejecting
from tests.integration.kills import survive
from tests.integration.processes import KEY, eventually

DONE = Lifecycle()
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.fixture
async def collector(monkeypatch):
    async with collecting() as it:
        monkeypatch.setenv(ENDPOINT, it.url)
        yield it


def within(collector, span):
    """The names of the spans within a span."""
    return sorted(each.name for each in collector.spans if (each.ids[0], each.parent) == span.ids)


async def serve_until(worker, simulator, condition, **options):
    """Run the worker as a service until the condition holds; returns the run, which has ended in order."""
    run = worker.run(base_url=simulator.base_url, **options)
    await eventually(condition, otherwise=lambda: run.stderr)
    run.send(signal.SIGTERM)
    assert await run.end() == 0
    return run


async def test_an_asset_has_one_span_within_which_its_requests_and_deliveries_are(
    serve, worker, collector, monkeypatch
):
    """The submission's span is its parent, or else it begins a trace. Its event passes the context on."""
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20t")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    simulator = await serve()
    alone, child = simulator.store.add(DONE), simulator.store.add(Lifecycle(0, "failed"))
    worker.submit(alone, json.dumps({"asset_id": child, "traceparent": TRACEPARENT}), "no asset")
    await serve_until(worker, simulator, lambda: len(collector.spans) >= 7, POLL__BATCH="off")

    assert {asset: len(spans) for asset, spans in collector.assets.items()} == {alone: 1, child: 1}
    [root], [inner] = collector.assets[alone], collector.assets[child]
    assert (root.parent, inner.parent, inner.ids[0]) == ("", PARENT, TRACE)
    assert (root.is_error, inner.is_error) == (False, True)
    assert inner.attributes["asset_worker.reason"] == "The file could not be processed."
    assert [name for name, _ in root.events] == ["asset.changed"]
    for each in (root, inner):
        assert within(collector, each) == ["GET /assets/{asset_id}", "deliver"]
    events = {event["data"]["asset_id"]: event for event in worker.events()}
    assert events[child]["traceparent"] == TRACEPARENT
    assert events[alone]["traceparent"] == f"00-{root.ids[0]}-{root.ids[1]}-01"
    assert "traceparent" not in events[None]
    times = {"submitted_at": root.span.start_time_unix_nano, "completed_at": root.span.end_time_unix_nano}
    assert {name: events[alone]["data"][name] for name in times} == {
        name: timestamp(at / 1e9) for name, at in times.items()
    }
    assert root.resource["service.name"] == "asset-worker"
    assert root.resource["deployment.environment"] == "test"
    assert {each["Authorization"] for each in collector.headers} == {"Bearer t"}


async def test_a_list_is_linked_to_the_assets_that_it_is_about(serve, worker, collector, monkeypatch):
    monkeypatch.setenv("OTEL_SERVICE_NAME", "encoder")
    simulator = await serve()
    assets = [simulator.store.add(DONE) for _ in range(20)]
    worker.submit(*assets)
    await serve_until(worker, simulator, lambda: len(collector.assets) == 20 and collector.named("GET /assets"))
    ids = {collector.assets[each][0].ids for each in assets}
    assert len(ids) == 20
    lists = collector.named("GET /assets")
    assert {link for each in lists for link in each.links} <= ids
    assert max(len(each.links) for each in lists) > 1
    assert {each.parent for each in lists} == {""}
    assert lists[0].resource["service.name"] == "encoder"


async def test_a_webhook_gets_the_context_of_its_delivery_and_no_secret_is_in_a_span(
    serve, worker, collector, aiohttp_server_of
):
    received = []

    async def receive(request):
        received.append(request.headers["traceparent"])
        return web.Response(status=204 if len(received) > 1 else 500, text=KEY)

    url = await aiohttp_server_of(web.post("/v1.3/hook", receive))
    secret = worker.folder / "secret"
    secret.write_text(secret_text(b"the first secret of all!"))
    secret.chmod(0o600)
    simulator = await serve()
    asset = simulator.store.add(DONE)
    worker.submit(asset)
    hook = {
        "url": f"{url.replace('//', '//user:hunter2hunter2@')}/hook?token=tokentokentoken",
        "name": "hook",
        "secret_file": str(secret),
        "headers": {"x-extra": "abracadabracadabra"},
        "retry": ["0.1s"] * 9,
    }
    await serve_until(worker, simulator, lambda: len(collector.named("POST")) == 2, webhooks=[hook])
    [span] = collector.assets[asset]
    attempts = collector.named("POST")
    assert [f"00-{each.ids[0]}-{each.ids[1]}-01" for each in attempts] == received
    assert [each.attributes["http.response.status_code"] for each in attempts] == [500, 204]
    assert [each.is_error for each in attempts] == [True, False]
    assert {(each.ids[0], each.parent) for each in attempts} == {span.ids}
    assert attempts[0].attributes["url.full"] == f"{url}/hook"
    sent = b"".join(collector.bodies)
    for each in (KEY, "hunter2", "tokentoken", "abracadabra", secret.read_text().strip()):
        assert each.encode() not in sent


@pytest.mark.timeout(400)
async def test_kills_lose_no_span_of_an_asset_and_double_none(serve, worker, collector):
    """A span that is sent again has the same IDs. The collector fails in between."""
    random = Random(1)

    async def answer():
        if random.random() < 0.3:
            return web.Response(status=503)
        collector.answer = None
        return web.Response(status=429)

    async def fail_at_times():
        while True:
            await asyncio.sleep(random.uniform(0, 1))
            collector.answer = answer

    failing = asyncio.create_task(fail_at_times())
    simulator = await serve(time_scale=300, seed=1)
    survived = await survive(simulator, worker, kills=5, random=random)
    failing.cancel()
    collector.answer = None
    assert survived.wrong == []
    completed = {event["data"]["asset_id"]: event["id"] for event in worker.events() if event["data"]["asset_id"]}
    # What the last stop has left is sent by the next run.
    await serve_until(worker, simulator, lambda: collector.assets.keys() >= completed.keys())
    for asset, spans in collector.assets.items():
        assert len({each.ids for each in spans}) == 1, asset
        assert {each.attributes["cloudevents.event_id"] for each in spans} == {completed[asset]}
    assert len({spans[0].ids for spans in collector.assets.values()}) == len(completed) == survived.assets


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_crash_between_a_completion_and_its_span_loses_none(serve, worker, collector, when):
    """The span was not sent, or that was not recorded: then the same one is sent again."""
    simulator = await serve()
    asset = simulator.store.add(DONE)
    worker.submit(asset)
    program = ("tests.integration.failpoints", f"spans:{when}:1")
    assert await worker.run(base_url=simulator.base_url, program=program).end() == -signal.SIGKILL
    assert len(worker.events()) == 1
    await serve_until(worker, simulator, lambda: len(collector.assets.get(asset, ())) == (1 if when == "before" else 2))
    assert len({each.ids for each in collector.assets[asset]}) == 1
    assert len(worker.events()) == 1


def closed_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.parametrize("trouble", ["refused", "503", "hangs"])
async def test_a_collector_that_is_away_costs_a_second_and_no_span_of_an_asset(
    serve, worker, collector, monkeypatch, trouble
):
    """It is logged once. The next run sends what the first one could not."""
    if trouble == "refused":
        monkeypatch.setenv(ENDPOINT, f"http://127.0.0.1:{closed_port()}")
    else:
        collector.answer = answering(503) if trouble == "503" else hanging
    simulator = await serve()
    asset = simulator.store.add(DONE)
    worker.submit(asset)
    run = worker.run(base_url=simulator.base_url)
    if trouble != "hangs":
        await run.until("traces.failed")
    await run.until("asset.completed")
    await eventually(worker.events)
    run.send(signal.SIGTERM)
    assert await run.end() == 0
    assert run.seconds("worker.stopping", "worker.stopped") < 3  # a slow machine included
    assert len(run.logs("traces.failed")) == (trouble != "hangs")
    assert all(line.startswith("{") for line in run.stderr.splitlines())

    collector.answer = None
    monkeypatch.setenv(ENDPOINT, collector.url)
    await serve_until(worker, simulator, lambda: asset in collector.assets)
    [span] = collector.assets[asset]
    assert worker.events()[0]["traceparent"] == f"00-{span.ids[0]}-{span.ids[1]}-01"


@pytest.mark.parametrize("answer", [answering(400), rejecting(1)], ids=["400", "partial success"])
async def test_spans_that_the_collector_refuses_are_given_up_and_reported_once(serve, worker, collector, answer):
    collector.answer = answer
    simulator = await serve()
    worker.submit(*(simulator.store.add(DONE) for _ in range(3)))
    run = worker.run(base_url=simulator.base_url)
    await run.until("traces.dropped")
    await eventually(lambda: len(worker.events()) == 3)
    run.send(signal.SIGTERM)
    assert await run.end() == 0
    assert (len(run.logs("traces.dropped")), len(run.logs("traces.failed"))) == (1, 0)
    requests = collector.requests
    assert await worker.run("--once", base_url=simulator.base_url).end() == 0
    assert collector.requests == requests


async def test_wait_sends_the_spans_of_its_run_before_it_ends(serve, worker, collector):
    """Each such run has a trace of its own for the same asset, which it completes once more."""
    simulator = await serve()
    asset = simulator.store.add(DONE)
    for _ in range(2):
        simulator.store.change(asset, Lifecycle(1.5))  # meanwhile, even a busy machine has loaded OpenTelemetry
        assert await worker.start("wait", asset, base_url=simulator.base_url).end() == 0
    first, second = collector.assets[asset]
    assert first.ids != second.ids
    for each in (first, second):
        assert set(within(collector, each)) == {"GET /assets/{asset_id}", "deliver"}


@pytest.mark.parametrize(
    ("settings", "is_on"),
    [
        ({}, False),
        ({ENDPOINT: "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"}, False),
        ({ENDPOINT: "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, False),
        ({ENDPOINT: "http://127.0.0.1:9"}, True),
    ],
    ids=["off", "disabled", "grpc", "on"],
)
async def test_opentelemetry_is_loaded_only_for_traces(serve, worker, monkeypatch, settings, is_on):
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    simulator = await serve()
    worker.submit(simulator.store.add(DONE))
    run = worker.run("--once", base_url=simulator.base_url, before="export PYTHONPROFILEIMPORTTIME=1;")
    assert await run.end() == 0
    imported = {line.rsplit("|", 1)[-1].strip() for line in run.stderr.splitlines() if line.startswith("import time:")}
    assert "asset_worker.wiring" in imported
    assert any(name.split(".")[0] in {"opentelemetry", "requests", "google"} for name in imported) == is_on
    assert len(run.logs("traces.off")) == ("grpc" in settings.values())
