"""The page about webhooks is true: its code verifies and keeps events, and its tables have what the program has."""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import UTC, datetime
from itertools import accumulate
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook as Reference

from asset_worker.runtime.durations import seconds_of
from asset_worker.settings.webhook import Webhook
from asset_worker.simulator.faults import OF_RECEIVER
from asset_worker.simulator.signatures import secret_text
from tests.unit.test_docs import ROOT, blocks_of

PAGE = ROOT / "docs" / "webhooks.md"
PLAN = "| attempt | wait before it | since the first, at least |"
SECRET = secret_text(b"a secret of twenty bytes")
BODY = b'{"id": "a.1"}'


def code_with(text, **names):
    """The names that a block of the page defines, by a text in it."""
    [block] = [block for block in blocks_of(PAGE, "python") if text in block]
    exec(block, names)
    return SimpleNamespace(**names)


def headers(body=BODY, *, identity="a.1", age=0.0, secret=SECRET):
    at = datetime.fromtimestamp(int(time.time() - age), UTC)
    return {
        "webhook-id": identity,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": f"v1,b3RoZXI= {Reference(secret).sign(identity, at, body.decode())}",
    }


def rows_below(head):
    """The rows of the table with this head, as lists of cells."""
    below = PAGE.read_text().split(f"\n{head}\n", 1)[1].split("\n\n", 1)[0]
    return [line.strip("| ").split(" | ") for line in below.splitlines()[1:]]


def test_the_code_verifies_as_the_reference_implementation_does():
    is_genuine = code_with("def is_genuine").is_genuine
    assert is_genuine(headers(), BODY, SECRET)
    assert not is_genuine(headers(), BODY + b" ", SECRET)
    assert not is_genuine(headers(secret=secret_text(b"another secret")), BODY, SECRET)
    assert not is_genuine(headers() | {"webhook-id": "b.1"}, BODY, SECRET)
    assert not is_genuine({}, BODY, SECRET)
    assert [is_genuine(headers(age=age), BODY, SECRET) for age in (290, 302, -290, -302)] == [True, False, True, False]


@given(
    st.fixed_dictionaries(
        {},
        optional={"webhook-id": st.text(), "webhook-timestamp": st.text(), "webhook-signature": st.text()},
    ),
    st.booleans(),
)
def test_no_headers_break_the_code(sent, is_recent):
    is_genuine = code_with("def is_genuine").is_genuine
    assert not is_genuine(sent | ({"webhook-timestamp": str(int(time.time()))} if is_recent else {}), BODY, SECRET)


def test_the_library_is_called_as_the_page_shows():
    [block] = [block for block in blocks_of(PAGE, "python") if "Webhook(secret).verify" in block]
    exec(block, {"secret": SECRET, "body": BODY, "headers": headers()})


def test_the_code_keeps_an_event_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keep_once = code_with("def keep_once").keep_once
    assert [keep_once(each, BODY) for each in ("a.1", "b.1", "a.1")] == [True, True, False]


class Framework:
    """Stands for Flask and FastAPI, as far as the page uses them: a decorator that keeps the function of the route."""

    def __init__(self, *_):
        self.routes = {}

    def post(self, path):
        return lambda function: self.routes.setdefault(path, function)


@pytest.mark.parametrize("status", [204, 401])
@pytest.mark.parametrize("name", ["flask", "fastapi"])
def test_the_code_for_other_frameworks_verifies_and_keeps(monkeypatch, name, status):
    kept = []
    sent = headers() if status == 204 else {}

    async def body():
        return BODY

    request = SimpleNamespace(headers=sent, get_data=lambda: BODY, body=body)
    monkeypatch.setitem(
        sys.modules,
        name,
        SimpleNamespace(
            Flask=Framework,
            FastAPI=Framework,
            request=request,
            Request=object,
            Response=lambda *, status_code: ("", status_code),
        ),
    )
    names = {"is_genuine": code_with("def is_genuine").is_genuine, "keep_once": lambda *event: kept.append(event)}
    route = code_with(f"from {name} import", SECRET=SECRET, __name__=name, **names).app.routes["/hooks"]
    answer = route() if name == "flask" else asyncio.run(route(request))
    assert answer == ("", status)
    assert kept == [("a.1", BODY)] * (status == 204)


def test_the_table_of_faults_has_all_that_the_receiver_has():
    first = [row[0] for row in rows_below("| fault | the receiver |")]
    named = {word.strip("`").partition("=")[0] for cell in first for word in cell.strip("| ").split() if "`" in word}
    assert named == {kind.value for kind in OF_RECEIVER}


def test_the_table_of_the_retry_plan_is_the_default():
    waits = Webhook.model_fields["retry"].default
    rows = rows_below(PLAN)[1:]
    assert [seconds_of(row[1]) for row in rows] == [*waits]
    assert [seconds_of(row[2]) for row in rows] == pytest.approx([*accumulate(waits)], abs=5)


def test_the_table_of_settings_has_all_and_their_defaults():
    rows = {row[0].strip("`"): row[1] for row in rows_below("| key | default | meaning |")}
    assert [*rows] == [*Webhook.model_fields]
    for name in ("concurrency", "mode", "allow_private"):
        assert rows[name].strip('`"') == str(Webhook.model_fields[name].default).lower(), name
    assert seconds_of(rows["timeout"].strip('`"')) == Webhook.model_fields["timeout"].default
