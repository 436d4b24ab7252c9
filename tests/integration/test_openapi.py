"""The document of the endpoints, docs/openapi.yaml, is true: the real command answers as it says, whatever is sent."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode, checks

from tests.integration.admin import admin_of
from tests.integration.processes import ROOT, Worker

TOKEN = "one-token-of-tests-0123456789"
OPERATIONS = [("/submissions", "POST"), ("/submissions/{asset_id}", "GET")]
MODES = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
AGREES = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
"""The checks of each answer. No check asks for an error after a bad submission: it is refused within a 202."""
OUT_OF_BOUNDS = "must be more than 0 seconds, and at most"
"""The only reason to refuse what the document describes: text with units that is too little or too much, as `0s`."""


@pytest.fixture
def url(worker: Worker, request: pytest.FixtureRequest) -> str:
    """The admin port of a worker whose API is down, so that what is submitted stays pending."""
    file = worker.folder / "token"
    file.write_text(TOKEN)
    file.chmod(0o600)
    where = ("--state-dir", worker.state, "--events", worker.events_file, "--admin-port", "0")
    limit = {"QUEUE__MAX_PENDING": "30"} if "no room" in request.node.name else {}
    run = worker.start("run", *where, base_url="http://127.0.0.1:1/v1.3", ADMIN__TOKEN_FILE=str(file), **limit)
    return asyncio.run(admin_of(run))


def document() -> Any:
    return schemathesis.openapi.from_path(ROOT / "docs" / "openapi.yaml")


def test_the_document_is_valid():
    document().validate()
    assert sorted((path, method.upper()) for path, found in document().items() for method in found) == OPERATIONS


@pytest.mark.parametrize("mode", MODES, ids=[each.value for each in MODES])
@pytest.mark.parametrize(("path", "method"), OPERATIONS, ids=[method for _, method in OPERATIONS])
def test_every_answer_is_one_that_the_document_describes(url: str, path: str, method: str, mode: GenerationMode):
    seen: dict[int, int] = {}

    @settings(max_examples=40)
    @given(st.data())
    def explore(data: st.DataObject) -> None:
        case = data.draw(document_of_test[path][method].as_strategy(generation_mode=mode))
        answer = case.call(base_url=url, headers={"Authorization": f"Bearer {TOKEN}"})
        seen[answer.status_code] = seen.get(answer.status_code, 0) + 1
        case.validate_response(answer, checks=AGREES)
        if mode is GenerationMode.POSITIVE and method == "POST" and case.media_type == "application/json":
            assert answer.status_code == 202
            reasons = [each["reason"] for each in answer.json()["items"] if each["state"] == "refused"]
            assert all(OUT_OF_BOUNDS in each for each in reasons), reasons

    document_of_test = document()
    explore()
    assert max(seen) < 500
    if mode is GenerationMode.POSITIVE:
        assert set(seen) <= ({202, 400} if method == "POST" else {404})


@pytest.mark.parametrize("authorization", [None, "Bearer another-token-0123456", f"Basic {TOKEN}", "Bearer"])
def test_without_a_valid_token_the_answer_is_401_as_described(url: str, authorization: str | None):
    headers = {} if authorization is None else {"Authorization": authorization}
    submit, show = (document()[path][method] for path, method in OPERATIONS)
    for case in (
        submit.Case(body=["a1"], media_type="application/json"),
        show.Case(path_parameters={"asset_id": "a1"}),
    ):
        answer = case.call(base_url=url, headers=headers)
        assert answer.status_code == 401
        case.validate_response(answer, checks=AGREES)


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        pytest.param({"Content-Type": "application/x-www-form-urlencoded"}, b"a1", 415, id="a form"),
        pytest.param({"Content-Type": "text/plain"}, b"a1\n" * 1001, 413, id="more than a thousand"),
        pytest.param({"Content-Type": "text/plain"}, b"#" * (9 << 20), 413, id="more than 8 MiB"),
        pytest.param({"Content-Type": "text/plain", "Origin": "https://evil.example"}, b"a1", 403, id="a web page"),
        pytest.param({"Content-Type": "text/plain", "Host": "evil.example"}, b"a1", 403, id="another host"),
        pytest.param({"Content-Type": "text/plain"}, b"\n".join(b"a%d" % n for n in range(31)), 429, id="no room"),
    ],
)
def test_what_is_refused_is_answered_as_described(url: str, headers: dict[str, str], body: bytes, status: int):
    case = document()["/submissions"]["POST"].Case(media_type="text/plain")
    answer = requests.post(
        f"{url}/submissions", data=body, headers={"Authorization": f"Bearer {TOKEN}"} | headers, timeout=60
    )
    assert answer.status_code == status
    case.validate_response(answer, checks=AGREES)


def test_an_asset_that_is_pending_is_shown_as_described(url: str):
    operation = document()["/submissions/{asset_id}"]["GET"]
    headers = {"Authorization": f"Bearer {TOKEN}"}
    answer = requests.post(f"{url}/submissions", json="an-asset", headers=headers, timeout=60)
    assert answer.status_code == 202
    case = operation.Case(path_parameters={"asset_id": "an-asset"})
    shown = case.call(base_url=url, headers=headers)
    assert (shown.status_code, shown.json()["state"]) == (200, "pending")
    case.validate_response(shown, checks=AGREES)
