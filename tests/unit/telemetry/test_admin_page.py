"""The status page on the admin port: who may see it, and what is sent with it."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from asset_worker.telemetry.admin import Guarded, serving
from asset_worker.telemetry.bearer import BearerTokens, has_token
from asset_worker.telemetry.page.endpoints import FRESH_SECONDS, PATHS, StatusPage, refusing_routes
from asset_worker.telemetry.snapshot import Snapshot
from tests.doubles.facts import facts

TOKEN = "0123456789abcdef-token"


def basic(password: str, name: str = "ada") -> str:
    return "Basic " + b64encode(f"{name}:{password}".encode()).decode()


class Page:
    """The page of a worker whose `pending` a test sets, at a time that a test sets."""

    def __init__(self) -> None:
        self.pending = 0
        self.now = 0.0
        self.made = 0
        self.status_page = StatusPage(self.read, redact=lambda value: value, now=lambda: self.now)

    def read(self) -> Any:
        self.made += 1
        return facts(pending=self.pending)


def tokens_in(path: Path) -> BearerTokens:
    path.write_text(TOKEN)
    path.chmod(0o600)
    return BearerTokens(path, now=lambda: 0.0, on_read=lambda _: None)


async def submit(_request: web.Request) -> web.Response:
    return web.json_response({}, status=202)


async def answers(
    requests: list[tuple[str, str, dict[str, str]]], *, host: str = "127.0.0.1", token_file: Path | None = None
) -> tuple[list[tuple[int, Any, str]], list[Any]]:
    """Status, headers and body of the answer to each request (method, path, headers), and the log."""
    is_shown = token_file is not None or host == "127.0.0.1"
    routes = Page().status_page.routes() if is_shown else refusing_routes()
    guarded = None
    if token_file is not None:
        guarded = Guarded([web.post("/submissions", submit)], tokens_in(token_file))
    found = []
    with capture_logs() as logs:
        async with (
            serving(Snapshot, host=host, port=0, guarded=guarded, page=routes),
            aiohttp.ClientSession() as client,
        ):
            port = logs.pop(0)["addresses"][0].rpartition(":")[2]
            for method, path, headers in requests:
                async with client.request(method, f"http://127.0.0.1:{port}{path}", headers=headers) as response:
                    found.append((response.status, response.headers.copy(), await response.text()))
    return found, logs


BEARER, BASIC = {"Authorization": f"Bearer {TOKEN}"}, {"Authorization": basic(TOKEN)}
WRONG = {"Authorization": basic("another-token-0000")}
NONE: dict[str, str] = {}


@pytest.mark.parametrize(
    ("host", "has_tokens", "headers", "expected"),
    [
        pytest.param("127.0.0.1", False, NONE, 200, id="this machine"),
        pytest.param("127.0.0.1", False, BEARER, 200, id="this machine, a token that nobody asked for"),
        pytest.param("127.0.0.1", True, NONE, 401, id="this machine, with a token file"),
        pytest.param("127.0.0.1", True, BEARER, 200, id="this machine, with a token file, bearer"),
        pytest.param("127.0.0.1", True, BASIC, 200, id="this machine, with a token file, password"),
        pytest.param("127.0.0.1", True, WRONG, 401, id="this machine, with a token file, wrong"),
        pytest.param("0.0.0.0", False, NONE, 403, id="a network"),
        pytest.param("0.0.0.0", False, BEARER, 403, id="a network, a token that nobody asked for"),
        pytest.param("0.0.0.0", True, NONE, 401, id="a network, with a token file"),
        pytest.param("0.0.0.0", True, BEARER, 200, id="a network, with a token file, bearer"),
        pytest.param("0.0.0.0", True, BASIC, 200, id="a network, with a token file, password"),
        pytest.param("0.0.0.0", True, WRONG, 401, id="a network, with a token file, wrong"),
    ],
)
async def test_the_page_and_its_files_are_shown_to_whom_they_may_be(tmp_path, host, has_tokens, headers, expected):
    token_file = tmp_path / "token" if has_tokens else None
    found, _ = await answers([("GET", path, headers) for path in PATHS], host=host, token_file=token_file)
    wanted = {path: 204 if (expected, path) == (200, "/favicon.ico") else expected for path in PATHS}
    assert dict(zip(PATHS, (status for status, _, _ in found), strict=True)) == wanted
    if expected == 403:
        assert all("admin.token_file" in body for _, _, body in found)


async def test_a_browser_is_asked_for_the_token_as_a_password(tmp_path):
    [(status, headers, body)], logs = await answers([("GET", "/", NONE)], token_file=tmp_path / "token")
    assert status == 401
    assert headers.getall("WWW-Authenticate") == ['Basic realm="asset-worker", charset="UTF-8"', "Bearer"]
    assert "admin.token_file" in body
    assert logs == []  # it is how a browser begins


async def test_the_news_of_a_page_whose_token_was_replaced_open_no_dialog(tmp_path):
    [(status, headers, _)], _ = await answers(
        [("GET", "/", {**WRONG, "X-Refresh": "1"})], token_file=tmp_path / "token"
    )
    assert (status, headers.getall("WWW-Authenticate")) == (401, ["Bearer"])


async def test_a_wrong_password_is_logged(tmp_path):
    _, logs = await answers([("GET", "/", WRONG)], token_file=tmp_path / "token")
    assert [(each["event"], each["what"], each["detail"]) for each in logs] == [
        ("admin.refused", "no valid token", "GET /")
    ]


async def test_a_password_is_for_the_page_alone(tmp_path):
    """A browser sends it with every request, also with those that another site's page makes it send."""
    requests = [("POST", "/submissions", BASIC), ("POST", "/submissions", BEARER), ("POST", "/", BASIC)]
    found, _ = await answers(requests, token_file=tmp_path / "token")
    assert [status for status, _, _ in found] == [401, 202, 405]
    assert found[0][1].getall("WWW-Authenticate") == ["Bearer"]


async def test_a_request_of_another_sites_page_is_refused(tmp_path):
    headers = {**BASIC, "Origin": "https://evil.example"}
    [(status, _, _)], logs = await answers([("GET", "/", headers)], token_file=tmp_path / "token")
    assert (status, logs[0]["what"]) == (403, "request of a web page")


async def test_the_name_of_a_web_page_is_refused():
    [(status, _, _)], _ = await answers([("GET", "/", {"Host": "evil.example"})])
    assert status == 403


async def test_what_is_sent_with_the_page_and_its_files_keeps_others_out():
    found, _ = await answers([("GET", path, NONE) for path in PATHS])
    for _, headers, _ in found:
        policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
        assert policy == {
            "default-src": "'none'",
            "script-src": "'self'",
            "style-src": "'self'",
            "img-src": "'self'",
            "connect-src": "'self'",
            "base-uri": "'none'",
            "form-action": "'none'",
            "frame-ancestors": "'none'",
        }
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store"
    assert [headers.get("Content-Type") for _, headers, _ in found] == [
        "text/html; charset=utf-8",
        "text/css; charset=utf-8",
        "text/javascript; charset=utf-8",
        *["image/svg+xml; charset=utf-8"] * 3,
        "text/html; charset=utf-8",
        None,
    ]


async def test_a_query_and_head_are_answered_and_other_paths_are_not_found():
    requests = [("GET", "/?from=chat", NONE), ("HEAD", "/", NONE), ("GET", "/page/", NONE), ("GET", "/page/x", NONE)]
    found, logs = await answers([*requests, ("GET", "/page/../page.html.j2", NONE), ("POST", "/", NONE)])
    assert [status for status, _, _ in found] == [200, 200, 404, 404, 404, 405]
    assert found[1][2] == ""
    assert int(found[1][1]["Content-Length"]) == int(found[0][1]["Content-Length"])
    assert logs == []


async def test_the_page_is_made_at_most_once_a_second_however_many_look():
    page = Page()

    async def shown() -> str:
        answer = await page.status_page.show(web.Request.__new__(web.Request))
        assert isinstance(answer.body, bytes)
        return answer.body.decode()

    assert "0 assets pending" in await shown()
    page.pending, page.now = 5, FRESH_SECONDS - 0.01
    assert "0 assets pending" in await shown()
    page.now = FRESH_SECONDS
    assert "5 assets pending" in await shown()
    assert page.made == 2


@pytest.mark.parametrize(
    ("authorization", "expected"),
    [
        (basic(TOKEN), True),
        (basic(TOKEN, name=""), True),
        (basic(TOKEN, name="ä"), True),
        ("basic   " + basic(TOKEN)[6:] + " ", True),
        (f"Bearer {TOKEN}", True),
        (basic(TOKEN + "x"), False),
        (basic(TOKEN[:-1]), False),
        (basic("x", name=TOKEN), False),
        ("Basic " + b64encode(TOKEN.encode()).decode(), False),
        ("Basic " + b64encode(b"\xff:" + TOKEN.encode()).decode(), False),
        ("Basic ####", False),
        ("Basic a", False),
        ("Basic", False),
        ("", False),
    ],
)
def test_a_token_may_be_the_password_of_any_name(authorization, expected):
    assert has_token([authorization], [TOKEN], as_password=True) is expected


def test_a_password_is_no_token_where_none_is_allowed():
    assert not has_token([basic(TOKEN)], [TOKEN])
    assert not has_token([basic(TOKEN), basic(TOKEN)], [TOKEN], as_password=True)
