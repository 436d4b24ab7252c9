"""/metrics, /healthz and /readyz."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.aiohttp import make_aiohttp_handler
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from asset_worker.telemetry.snapshot import AdminAddressError, Snapshot

_log = structlog.get_logger()

SHUTDOWN_SECONDS = 1.0


class SnapshotCollector(Collector):
    """The snapshot as Prometheus metrics, read when they are asked for."""

    def __init__(self, read: Callable[[], Snapshot]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        now = self._read()
        yield _gauge("pending_assets", "Assets accepted and not settled.", now.pending)
        yield _gauge(
            "due_assets", "Pending assets that are due and not looked at yet (at most 1000 are counted).", now.due
        )
        yield _gauge(
            "oldest_pending_age_seconds", "Age of the asset that has been pending longest.", now.oldest_pending_age
        )
        yield _gauge("outbox_events", "Events that at least one sink does not have yet.", now.outbox_depth)
        yield _gauge("ready", "1 while nothing keeps the worker from its job.", 0 if now.problems else 1)
        yield _counter("looks", "Looks made, those without an answer included.", now.looks)
        yield _counter("requests", "Requests sent to the assets API.", now.requests)
        yield _counter("rate_limited", "Requests refused with 429.", now.refusals)
        yield _counter("retries", "Attempts of a request made again.", now.retries)
        completions = CounterMetricFamily("asset_worker_completions", "Assets settled.", labels=["outcome"])
        for outcome, count in now.completions.items():
            completions.add_metric([outcome], count)
        yield completions


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"asset_worker_{name}", text, value)


def _counter(name: str, text: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(f"asset_worker_{name}", text, value)


@asynccontextmanager
async def serving(read: Callable[[], Snapshot], *, host: str, port: int) -> AsyncIterator[None]:
    """Serve the admin endpoints while the context lasts.

    Raises:
        AdminAddressError: the address can't be bound.
    """

    async def healthz(_request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readyz(_request: web.Request) -> web.Response:
        problems = list(read().problems)
        return web.json_response(
            {"status": "not ready" if problems else "ready", "problems": problems}, status=503 if problems else 200
        )

    registry = CollectorRegistry()
    registry.register(SnapshotCollector(read))
    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", make_aiohttp_handler(registry))
    # A client that sends half a request or reads no answer must not hold up the end.
    runner = web.AppRunner(
        app, access_log=None, handler_cancellation=True, shutdown_timeout=SHUTDOWN_SECONDS, lingering_time=0
    )
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except (OSError, UnicodeError) as error:  # a UnicodeError is of what can be no host's name
            why = getattr(error, "strerror", None) or error
            raise AdminAddressError(
                f"the admin endpoints can't be served at {host}:{port} ({why}): give another admin.host or admin.port"
            ) from error
        _log.info("admin.serving", addresses=[f"{each[0]}:{each[1]}" for each in runner.addresses])
        yield
    finally:
        await runner.cleanup()
