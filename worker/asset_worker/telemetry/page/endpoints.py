"""The endpoints of the status page. The port that serves them checks hosts and tokens first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from aiohttp import web

from asset_worker.telemetry.page.facts import Facts
from asset_worker.telemetry.page.rendering import make_renderer, read
from asset_worker.telemetry.page.view import view_of

FRESH_SECONDS: Final = 1.0
"""A page that was made so recently is sent again: however many look, the work of making it stays the same."""
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What the page may load and do: its own files alone, nothing inline, in no frame (CSP level 3)."""
HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_FILES: Final[Mapping[str, tuple[str, str]]] = {
    "/page/page.css": ("page.css", "text/css"),
    "/page/page.js": ("page.js", "text/javascript"),
    "/page/well.svg": ("well.svg", "image/svg+xml"),
    "/page/attention.svg": ("attention.svg", "image/svg+xml"),
    "/page/problem.svg": ("problem.svg", "image/svg+xml"),
    "/docs/runbook.md": ("runbook.html", "text/html"),
}
"""What the page loads or links to, with its media type. The runbook is at the path that it has in the repository."""
PATHS: Final = ("/", *_FILES, "/favicon.ico")


class StatusPage:
    """Answers requests for the page and its files."""

    def __init__(
        self, read_facts: Callable[[], Facts], *, redact: Callable[[Any], Any], now: Callable[[], float]
    ) -> None:
        """Load the template and the files.

        Args:
            read_facts: returns the worker as it is now.
            redact: redacts secrets in decoded JSON.
            now: returns monotonic seconds.
        """
        self._read_facts = read_facts
        self._render = make_renderer(redact)
        self._now = now
        self._files = {path: read(name) for path, (name, _) in _FILES.items()}
        self._body = b""
        self._made_at = float("-inf")

    def routes(self) -> Sequence[web.RouteDef]:
        """Return the routes to serve."""
        files = [web.get(path, self.show_file) for path in _FILES]
        return (web.get("/", self.show), *files, web.get("/favicon.ico", self.show_no_icon))

    async def show(self, _request: web.Request) -> web.Response:
        """Answer the page as it is now, or was a moment ago."""
        if (now := self._now()) - self._made_at >= FRESH_SECONDS:
            self._body, self._made_at = self._render(view_of(self._read_facts())), now
        return web.Response(body=self._body, content_type="text/html", charset="utf-8", headers=HEADERS)

    async def show_file(self, request: web.Request) -> web.Response:
        """Answer a file that the page loads or links to."""
        _, media_type = _FILES[request.path]
        return web.Response(body=self._files[request.path], content_type=media_type, charset="utf-8", headers=HEADERS)

    async def show_no_icon(self, _request: web.Request) -> web.Response:
        """Answer that there is no other icon than the one that the page names: some browsers ask anyway."""
        return web.Response(status=204, headers=HEADERS)


def refusing_routes() -> Sequence[web.RouteDef]:
    """Return routes that answer why the page is not shown."""

    async def refuse(_request: web.Request) -> web.Response:
        text = (
            "The status page needs a token here, because the admin port can be reached from other machines: "
            "set admin.token_file, and give a token of it as the password. Or ask on the machine itself, with "
            "admin.host = 127.0.0.1.\n"
        )
        return web.Response(status=403, text=text, headers=HEADERS)

    return [web.get(path, refuse) for path in PATHS]
