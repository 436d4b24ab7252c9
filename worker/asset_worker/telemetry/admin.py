"""The admin endpoints: /metrics, /healthz and /readyz."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client import CollectorRegistry
from prometheus_client.aiohttp import make_aiohttp_handler

from asset_worker.runtime.hosts import can_not_be_rebound
from asset_worker.runtime.os_errors import may_pass
from asset_worker.runtime.threads import DaemonThread
from asset_worker.telemetry.admin_port import Refusals, listening
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
            "status": "ready" if now.is_ready else "not ready",
            "problems": list(now.problems),
            "problem_details": [shown_problem(each) for each in now.problem_details],
        }
        return web.json_response(document, status=200 if now.is_ready else 503)

    registry = CollectorRegistry()
    registry.register(SnapshotCollector(read))
    refusals, names = Refusals(), {host, socket.gethostname()}
    app = web.Application(middlewares=[_only_from(names, refusals)])
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", make_aiohttp_handler(registry))
    # A client that sends half a request, or doesn't read the answer, must not delay shutting down.
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    assert runner.server is not None
    async with AsyncExitStack() as stack:
        stack.push_async_callback(runner.cleanup)
        try:
            addresses = await stack.enter_async_context(listening(runner.server, refusals, host=host, port=port))
        except (OSError, UnicodeError) as error:  # UnicodeError: the text can't be a host name
            why = getattr(error, "strerror", None) or error
            is_temporary = isinstance(error, OSError) and may_pass(error)
            kind = AdminAddressInUseError if is_temporary else AdminAddressError
            raise kind(
                f"the admin endpoints can't be served at {host}:{port} ({why}): give another admin.host or admin.port"
            ) from error
        _log.info("admin.serving", addresses=addresses)
        looking_up = asyncio.create_task(_add_full_name(names), name="host name")
        stack.callback(looking_up.cancel)
        yield


def _only_from(names: Collection[str], refusals: Refusals) -> Middleware:
    """Return what refuses requests whose `Host` may be that of a web page: DNS rebinding. `names` are our own."""

    @web.middleware
    async def check_host(request: web.Request, handler: Handler) -> web.StreamResponse:
        if can_not_be_rebound(request.host, names):
            return await handler(request)
        refusals.log("unknown host", request.remote, request.host)
        return web.Response(
            status=403, text="This host name is not known here: use an IP address, or set admin.host to the name.\n"
        )

    return check_host


async def _add_full_name(names: set[str]) -> None:
    """Add the machine's full name, with its domain, once it is known: a name server may take its time."""
    thread = DaemonThread("host name")
    try:
        names.add(await thread.run(_full_name))
    except (OSError, UnicodeError):
        return
    finally:
        thread.close()


def _full_name() -> str:
    """Return the machine's name as it is found in /etc/hosts or DNS.

    Raises:
        OSError: it is not found.
    """
    return socket.getaddrinfo(socket.gethostname(), None, flags=socket.AI_CANONNAME)[0][3]
