"""The admin endpoints: /metrics, /healthz and /readyz."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.aiohttp import make_aiohttp_handler

from asset_worker.runtime.os_errors import may_pass
from asset_worker.telemetry.errors import AdminAddressError, AdminAddressInUseError
from asset_worker.telemetry.metrics import SnapshotCollector
from asset_worker.telemetry.snapshot import Snapshot, shown_problem

_log = structlog.get_logger()

SHUTDOWN_SECONDS = 1.0
"""How long shutting down waits for requests that are still being answered."""


@asynccontextmanager
async def serving(read: Callable[[], Snapshot], *, host: str, port: int) -> AsyncIterator[None]:
    """Serve the admin endpoints while the context lasts. `read` returns the worker as it is now.

    Raises:
        AdminAddressInUseError: the address can't be bound now: another process listens there, for example.
        AdminAddressError: the address can't be bound.
    """

    async def healthz(_request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readyz(_request: web.Request) -> web.Response:
        now = read()
        document = {
            "status": "not ready" if now.problems else "ready",
            "problems": list(now.problems),
            "problem_details": [shown_problem(each) for each in now.problem_details],
        }
        return web.json_response(document, status=503 if now.problems else 200)

    registry = CollectorRegistry()
    registry.register(SnapshotCollector(read))
    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", make_aiohttp_handler(registry))
    # A client that sends half a request, or doesn't read the answer, must not delay shutting down.
    runner = web.AppRunner(
        app, access_log=None, handler_cancellation=True, shutdown_timeout=SHUTDOWN_SECONDS, lingering_time=0
    )
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except (OSError, UnicodeError) as error:  # UnicodeError: the text can't be a host name
            why = getattr(error, "strerror", None) or error
            is_temporary = isinstance(error, OSError) and may_pass(error)
            kind = AdminAddressInUseError if is_temporary else AdminAddressError
            raise kind(
                f"the admin endpoints can't be served at {host}:{port} ({why}): give another admin.host or admin.port"
            ) from error
        _log.info("admin.serving", addresses=[f"{each[0]}:{each[1]}" for each in runner.addresses])
        yield
    finally:
        await runner.cleanup()
