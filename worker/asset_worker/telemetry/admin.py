"""The admin endpoints: /metrics, /healthz and /readyz, the status page, and those of others that need a token."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from multidict import CIMultiDict
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.aiohttp import make_aiohttp_handler

from asset_worker.runtime.hosts import can_not_be_rebound, is_loopback
from asset_worker.runtime.log import get_logger
from asset_worker.runtime.os_errors import may_pass
from asset_worker.runtime.threads import DaemonThread
from asset_worker.telemetry.admin_port import Connection, Refusals, listening
from asset_worker.telemetry.bearer import BearerTokens
from asset_worker.telemetry.errors import AdminAddressError, AdminAddressInUseError
from asset_worker.telemetry.metrics import SnapshotCollector
from asset_worker.telemetry.problems import shown_problem
from asset_worker.telemetry.snapshot import Snapshot

_log = get_logger()

SHUTDOWN_SECONDS = 1.0
"""How long shutting down waits for requests that are still being answered."""
PUBLIC = frozenset({"/metrics", "/healthz", "/readyz"})
"""The paths that never need a token."""
REFRESH_FIELD = "X-Refresh"
"""The header field by which the page's own requests for news are known: nobody wants a dialog every five seconds."""
BUSY_RETRY_SECONDS = 1
"""`Retry-After` when too many clients with a token are connected."""


class Guarded(NamedTuple):
    """Endpoints that need a token."""

    routes: Sequence[web.RouteDef]
    tokens: BearerTokens
    """With them, the status page needs one as well, also on this machine."""


@asynccontextmanager
async def serving(
    read: Callable[[], Snapshot],
    *,
    host: str,
    port: int,
    redact: Callable[[str], str] = str,
    routes: Sequence[web.RouteDef] = (),
    guarded: Guarded | None = None,
    page: Sequence[web.RouteDef] = (),
) -> AsyncIterator[None]:
    """Serve the admin endpoints while the context lasts. `read` returns the worker as it is now.

    `redact` removes secrets from what is shown. `routes` are served as well, without a token, and those of
    `guarded` with one. Beyond this machine, everything that is not `PUBLIC` needs one, if there are any. `page` are the
    routes of the status page: they need a token if there are any, and there the token may be a password, so that a
    browser asks for it.

    Raises:
        AdminAddressInUseError: the address can't be bound now: another process listens there, for example.
        AdminAddressError: the address can't be bound.
    """

    async def healthz(_request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readyz(_request: web.Request) -> web.Response:
        now = read()
        shown = [{name: redact(text) for name, text in shown_problem(each).items()} for each in now.problems]
        document = {
            "status": "ready" if now.is_ready else "not ready",
            "problems": [each["problem"] for each in shown],
            "problem_details": shown,
        }
        return web.json_response(document, status=200 if now.is_ready else 503)

    registry = CollectorRegistry()
    registry.register(SnapshotCollector(read, redact=redact))
    ProcessCollector(registry=registry)
    refusals, names = Refusals(), {host, socket.gethostname()}
    app = web.Application(middlewares=[_only_from(names, refusals)])
    app.router.add_routes(routes)
    pages = _resources(app.router.add_routes(page))
    if guarded is not None:
        found = _resources(app.router.add_routes(guarded.routes))
        only = found | pages if is_loopback(host) else None
        app.middlewares.append(_only_with_token(guarded.tokens, only, pages, refusals))
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


Resources = frozenset[web.AbstractResource | None]


def _resources(routes: Iterable[web.AbstractRoute]) -> Resources:
    return frozenset(route.resource for route in routes)


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


def _only_with_token(tokens: BearerTokens, only: Resources | None, pages: Resources, refusals: Refusals) -> Middleware:
    """Return what refuses requests without a token, for the resources in `only`; None: for all that are not public.

    A request that a browser sends for a page of another site has an `Origin` (Fetch, section 3.2), and is refused, too:
    no page has business here. `pages` are what people look at: there, the token may be a password, and asking for it is
    the usual beginning, which is not logged.
    """

    @web.middleware
    async def check_token(request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        needs_token = request.path not in PUBLIC if only is None else resource in only
        if not needs_token:
            return await handler(request)
        connection = request.protocol
        assert isinstance(connection, Connection)
        connection.linger()
        if "Origin" in request.headers:
            refusals.log("request of a web page", request.remote, request.headers["Origin"])
            return _refusal(403, "requests of web pages are refused: send no Origin")
        presented, is_page = request.headers.getall("Authorization", []), resource in pages
        if not tokens.accepts(presented, as_password=is_page):
            if presented or not is_page:
                refusals.log("no valid token", request.remote, f"{request.method} {request.path}")
            return _challenge(of_person=is_page and REFRESH_FIELD not in request.headers)
        if not connection.trust():
            return _refusal(503, "too many clients are connected: try again", {"Retry-After": str(BUSY_RETRY_SECONDS)})
        return await handler(request)

    return check_token


def _challenge(*, of_person: bool) -> web.Response:
    """Return the answer that asks for a token: of a person, as a password, for which a browser opens a dialog."""
    if not of_person:
        text = "send Authorization: Bearer TOKEN, with a token of admin.token_file"
        return _refusal(401, text, {"WWW-Authenticate": "Bearer"})
    text = "Give a token of admin.token_file: as the password, with any user name, or as Authorization: Bearer TOKEN.\n"
    headers = CIMultiDict([("WWW-Authenticate", 'Basic realm="asset-worker", charset="UTF-8"')])
    headers.add("WWW-Authenticate", "Bearer")
    headers["Cache-Control"] = "no-store"
    return web.Response(status=401, text=text, headers=headers)


def _refusal(status: int, text: str, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.json_response({"error": text}, status=status, headers=headers)


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
