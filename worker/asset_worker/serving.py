"""Serves the admin port of a run: metrics, health, the status page, and submissions over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from asset_worker.runtime.clock import Clock
from asset_worker.runtime.hosts import is_loopback
from asset_worker.runtime.redaction import Secrets
from asset_worker.runtime.stop import Stop
from asset_worker.settings import tree
from asset_worker.telemetry.bearer import BearerTokens
from asset_worker.telemetry.snapshot import Snapshot
from asset_worker.wiring import Parts

if TYPE_CHECKING:
    from asset_worker.overview import Overview


@asynccontextmanager
async def serve_admin(
    admin: tree.Admin,
    parts: Parts,
    tokens: BearerTokens | None,
    *,
    read: Callable[[], Snapshot],
    overview: Overview | None,
    secrets: Secrets,
    clock: Clock,
    stop: Stop,
) -> AsyncIterator[None]:
    """Serve the admin endpoints, if they have a port, while the context lasts.

    `read` returns the worker as it is now, and `overview` what the status page is made from; None: there is no port.

    Raises:
        AdminAddressError: they can't be served at their address.
    """
    if admin.port is None or overview is None:
        yield
        return
    # Most runs serve nothing, and need not load an HTTP server and templates.
    from asset_worker.intake.http.endpoints import Endpoints, routes_without_token  # noqa: PLC0415
    from asset_worker.telemetry.admin import Guarded, serving  # noqa: PLC0415
    from asset_worker.telemetry.page.endpoints import StatusPage, refusing_routes  # noqa: PLC0415

    routes, guarded = routes_without_token(), None
    if parts.http is not None and tokens is not None:
        endpoints = Endpoints(parts.http, parts.queue, clock, stop, redact=secrets.redact, time_left=parts.time_left)
        routes, guarded = (), Guarded(endpoints.routes(), tokens)
    page = refusing_routes()
    if guarded is not None or is_loopback(admin.host):
        page = StatusPage(overview.read, redact=secrets.redact, now=clock.monotonic).routes()
    async with serving(
        read, host=admin.host, port=admin.port, redact=secrets.redact_text, routes=routes, guarded=guarded, page=page
    ):
        yield
