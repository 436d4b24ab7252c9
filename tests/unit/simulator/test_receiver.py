"""The receiver of webhooks: which requests are genuine, what it remembers, and what a sender sees of faults."""

from __future__ import annotations

import base64
import io
import time
from datetime import UTC, datetime

import aiohttp
import msgspec
import pytest
from cloudevents.core.bindings import http as cloudevents_http
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from asset_worker.simulator import deliveries as deliveries_module
from asset_worker.simulator.deliveries import Deliveries, Delivery, delivery_of
from asset_worker.simulator.faults import OF_API, OF_RECEIVER, Fault, FaultKind
from asset_worker.simulator.receiver import ReceiverOptions
from asset_worker.simulator.server import Options, Simulator
from asset_worker.simulator.signatures import find_problem, secret_text, secrets_of, signature

SECRETS = (b"first secret of 24 bytes", b"other secret of 24 bytes")
ID = "6298d673f1090f1100476d4c.1"
TYPE = "dev.asset-worker.asset.ready"
EVENT = {
    "specversion": "1.0",
    "id": ID,
    "source": "https://api.twelvelabs.io/v1.3/assets",
    "type": TYPE,
    "subject": "6298d673f1090f1100476d4c",
    "time": "2026-11-23T14:00:00.123Z",
    "datacontenttype": "application/json",
    "data": {"asset_id": "6298d673f1090f1100476d4c", "outcome": "ready"},
}


def signed(body, *, identity=ID, secret=SECRETS[0], at=None):
    """The headers of a genuine request, signed by the reference implementation."""
    moment = datetime.fromtimestamp(int(time.time() if at is None else at), UTC)
    return {
        "webhook-id": identity,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": Webhook(secret_text(secret)).sign(identity, moment, body.decode()),
    }


def structured(**changes):
    """The body and the headers of a request in structured mode."""
    event = EVENT | changes
    body = msgspec.json.encode(event)
    return body, signed(body, identity=event["id"]) | {"Content-Type": "application/cloudevents+json; charset=utf-8"}


def binary(**changes):
    """The same in binary mode, as the CloudEvents SDK writes it."""
    event = EVENT | changes
    attributes = {name: value for name, value in event.items() if name != "data"}
    attributes["time"] = datetime.fromisoformat(str(attributes["time"]))
    message = cloudevents_http.to_binary(CloudEvent(attributes, event["data"]), JSONFormat())
    body = message.body
    return body, signed(body, identity=event["id"]) | dict(message.headers)


@given(st.binary(min_size=1, max_size=80), st.text(st.characters(codec="utf-8"), max_size=80))
def test_a_signature_is_that_of_the_reference_implementation(secret, text):
    body = text.encode()
    headers = signed(body, secret=secret, at=1_000_000)
    assert headers["webhook-signature"] == f"v1,{signature(secret, ID, '1000000', body)}"
    assert find_problem(headers, body, [secret], now=1_000_000) is None
    assert secrets_of(f"\n# the new one\n{secret_text(secret)}\r\n") == (secret,)


def test_one_signature_that_matches_one_secret_is_enough():
    """While secrets are rotated, the sender signs with several, and the receiver may know several."""
    old, new = signed(b"{}", secret=SECRETS[0], at=1), signed(b"{}", secret=SECRETS[1], at=1)
    both = old | {"webhook-signature": f"v1a,x {old['webhook-signature']} {new['webhook-signature']}"}
    for headers, secrets, is_genuine in (
        (both, SECRETS[:1], True),
        (both, SECRETS[1:], True),
        (old, SECRETS, True),
        (new, SECRETS[:1], False),
        (both, [b"another"], False),
    ):
        assert (find_problem(headers, b"{}", secrets, now=1) is None) == is_genuine


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        *(({f"webhook-{name}": ""}, "missing") for name in ("id", "timestamp", "signature")),
        ({"webhook-id": "another"}, "no signature matches"),
        *(
            ({"webhook-timestamp": text}, "within 300 s")
            for text in ("699", "1301", "-1", "1000.5", "nan", "1e3", "\u0661", "9" * 5000, " 1000")
        ),
        ({"webhook-timestamp": "1001"}, "no signature matches"),
        *(
            ({"webhook-signature": text}, "no signature matches")
            for text in ("v1", "v1,", "v2,abc", ",", "v1,\udcff", "v1,\u00e4", "v1," + "A" * 44)
        ),
    ],
)
def test_a_request_that_is_not_genuine_is_refused(changes, says):
    headers = signed(b"{}", at=1000)
    assert find_problem(headers, b"{}", SECRETS, now=1000) is None
    assert find_problem(headers, b"{ }", SECRETS, now=1000) == "no signature matches"
    assert says in (find_problem(headers | changes, b"{}", SECRETS, now=1000) or "")


def test_a_timestamp_may_differ_by_five_minutes():
    headers = signed(b"{}", at=1000)
    assert [find_problem(headers, b"{}", SECRETS, now=now) is None for now in (699, 700, 1300, 1301)] == [
        False,
        True,
        True,
        False,
    ]


@given(st.dictionaries(st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"]), st.text()))
def test_no_headers_break_the_verification(headers):
    assert find_problem(headers, b"{}", SECRETS, now=0) is not None


@pytest.mark.parametrize(
    "text", ["", "\n \n", "whsec_", "whsec_???", "c2VjcmV0", "whsec_c2VjcmV0\nsecret", "whsec_\u00e4"]
)
def test_text_that_is_no_secret_is_refused_and_not_repeated(text):
    with pytest.raises(ValueError, match="whsec_ and 24 random bytes in base64") as refused:
        secrets_of(text)
    assert "c2VjcmV0" not in str(refused.value)


@pytest.mark.parametrize("write", [structured, binary])
@pytest.mark.parametrize("subject", ["6298d673f1090f1100476d4c", "\u20ac 100 % \u201cé\u201d"])
def test_an_event_is_read_in_both_modes(write, subject):
    body, headers = write(subject=subject)
    delivery = delivery_of({name.title(): value for name, value in headers.items()} | headers, body)
    assert (delivery.id, delivery.type, delivery.subject, delivery.mode) == (ID, TYPE, subject, write.__name__)
    assert datetime.fromisoformat(delivery.time or "") == datetime.fromisoformat(str(EVENT["time"]))


@pytest.mark.parametrize(
    ("body", "changes"),
    [
        (b"junk", {}),
        (b"[]", {}),
        (b"\xff", {}),
        (msgspec.json.encode(EVENT | {"id": "another"}), {}),
        (msgspec.json.encode(EVENT | {"specversion": "2.0"}), {}),
        (msgspec.json.encode({name: value for name, value in EVENT.items() if name != "type"}), {}),
        (b"{}", {"Content-Type": "application/json"}),
        (b"{", binary()[1]),
        (b"{}", binary()[1] | {"ce-id": "\udcff"}),
    ],
)
def test_a_body_that_is_no_event_is_refused(body, changes):
    with pytest.raises(ValueError):
        delivery_of(structured()[1] | changes, body)


def test_an_id_that_is_too_long_is_refused():
    body, headers = structured(id="x" * 257)
    with pytest.raises(ValueError, match="longer than 256"):
        delivery_of(headers, body)


@pytest.mark.parametrize(
    ("subject", "title"),
    [("6298d673f1090f1100476d4c", "ready 6298…6d4c"), ("short", "ready short"), (None, "ready 6298…4c.1")],
)
def test_an_event_is_shown_on_few_columns(subject, title):
    assert Delivery(ID, TYPE, subject, None, "binary").title == title


def delivery(number):
    return Delivery(f"id-{number}", TYPE, None, None, "binary")


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(deliveries_module, "MOST_EVENTS", 10)
    known = Deliveries()
    for number in range(1, 101):
        known.count_attempt(f"id-{number}")
        assert not known.accept(delivery(number), at=0)
        known.count_attempt(f"not accepted {number}")
    assert (len(known._accepted), len(known._attempts)) == (10, 10)
    assert known.accept(delivery(100), at=0)
    assert not known.accept(delivery(1), at=0), "it is forgotten"
    assert [event.number for event in known.events()] == [*range(92, 102)]
    assert [event.number for event in known.events(after=95, limit=2)] == [96, 97]
    report = known.report(after=0, limit=3)
    assert (report["accepted"], report["repeats"], report["next"]) == (101, 1, 94)
    assert known.report(after=100, limit=3)["next"] is None


def test_faults_of_the_receiver_are_its_own():
    assert Fault.parse("gone:0.1", OF_RECEIVER) == Fault(FaultKind.GONE, "", 0.1)
    assert Fault.parse("retry-after=7@1-2", OF_RECEIVER) == Fault(FaultKind.RETRY_AFTER, "7", 1.0, 1.0, 2.0)
    assert set(OF_API) | set(OF_RECEIVER) == set(FaultKind)
    for text, kinds in (("gone", OF_API), ("retry-after=1", OF_API), ("omit", OF_RECEIVER), ("stale", OF_RECEIVER)):
        with pytest.raises(ValueError, match="is not a kind of fault"):
            Fault.parse(text, kinds)


@pytest.fixture
def lines():
    return []


@pytest.fixture
async def simulator(lines):
    async with Simulator(Options(receiver=ReceiverOptions(secrets=SECRETS, report=lines.append))) as it:
        yield it


@pytest.fixture
async def session():
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as it:
        yield it


async def posted(session, simulator, message, **options):
    body, headers = message
    async with session.post(
        simulator.hooks_url, data=body, headers=headers, allow_redirects=False, **options
    ) as response:
        return response.status, await response.read(), response.headers


async def shown(session, simulator, query=""):
    async with session.get(simulator.hooks_url.replace("/hooks", f"/_simulator/receiver{query}")) as response:
        assert response.status == 200
        return await response.json()


async def test_it_shows_what_it_accepted_and_what_came_again(simulator, session, lines):
    """Counts, and the events in the order of acceptance."""
    simulator.receiver.faults.replace("status=500")
    assert (await posted(session, simulator, structured()))[0] == 500
    simulator.receiver.faults.replace()
    assert (await posted(session, simulator, structured()))[0] == 204
    assert (await posted(session, simulator, binary()))[0] == 204
    assert (await posted(session, simulator, binary(id="b.1", subject="b", type=f"{TYPE}.failed")))[0] == 204
    assert (await posted(session, simulator, (b"{}", {})))[0] == 401
    assert (await posted(session, simulator, (structured()[0], signed(b"junk"))))[0] == 401
    assert (await posted(session, simulator, (b"{}", signed(b"{}"))))[0] == 400
    report = await shown(session, simulator)
    assert {name: report[name] for name in report if name not in {"events", "by_answer", "next"}} == {
        "requests": 7,
        "accepted": 2,
        "repeats": 1,
        "bad_signatures": 2,
        "malformed": 1,
    }
    assert report["by_answer"] == {"500": 1, "204": 3, "401": 2, "400": 1}
    keys = ("number", "id", "type", "subject", "mode", "attempts")
    assert [[event[key] for key in keys] for event in report["events"]] == [
        [1, ID, TYPE, EVENT["subject"], "structured", 3],
        [2, "b.1", f"{TYPE}.failed", "b", "binary", 1],
    ]
    first = report["events"][0]
    assert first["time"] == EVENT["time"]
    assert abs(datetime.fromisoformat(first["at"]).timestamp() - time.time()) < 60
    assert lines == [
        "ready 6298…6d4c attempt 1 -> 500",
        "ready 6298…6d4c attempt 2 -> 204",
        "ready 6298…6d4c attempt 3 -> 204, a repeat",
        "failed b attempt 1 -> 204",
        "webhook-id, webhook-timestamp or webhook-signature is missing -> 401",
        "no signature matches -> 401",
        "not an event: Object missing required field `specversion` -> 400",
    ]
    assert [event["id"] for event in (await shown(session, simulator, "?after=1"))["events"]] == ["b.1"]
    assert (await shown(session, simulator, "?limit=1"))["next"] == 1
    at = simulator.hooks_url.replace("/hooks", "/_simulator/receiver")
    for query in ("?after=-1", "?limit=x", "?after=" + "9" * 5000):
        async with session.get(at + query) as response:
            assert response.status == 400
    async with session.delete(at) as response:
        assert response.status == 200
    report = await shown(session, simulator)
    assert (report["requests"], report["accepted"], report["events"], report["by_answer"]) == (0, 0, [], {})


async def test_each_fault_is_what_a_sender_sees(simulator, session):
    quick = {"timeout": aiohttp.ClientTimeout(total=0.3)}
    receiver = simulator.receiver
    for number, (text, expected, is_accepted) in enumerate(
        (
            ("status", 503, False),
            ("status=410", 410, False),
            ("html=502", 502, False),
            ("gone", 410, False),
            ("retry-after=7", 503, False),
            ("redirect=https://elsewhere.example/", 307, False),
            ("hang", TimeoutError, False),
            ("reset", aiohttp.ClientConnectionError, False),
            ("slow=2", TimeoutError, True),
            ("drip=0.01", TimeoutError, True),
            ("cut", aiohttp.ClientPayloadError, True),
            ("huge=200000", 200, True),
        )
    ):
        receiver.faults.replace(text)
        before = receiver.deliveries.accepted
        message = structured(id=f"{number}.1")
        if not isinstance(expected, type):
            status, body, headers = await posted(session, simulator, message)
            assert status == expected, text
            assert text != "retry-after=7" or headers["Retry-After"] == "7"
            assert text != "huge=200000" or len(body) >= 200_000
        else:
            with pytest.raises(expected):
                await posted(session, simulator, message, **quick)
        assert (receiver.deliveries.accepted - before == 1) == is_accepted, text
        receiver.faults.replace()
        assert (await posted(session, simulator, message))[0] == 204
        assert (receiver.deliveries.repeats > 0) == is_accepted, text


async def test_it_is_controlled_like_the_rest_of_the_stand_in(simulator, session):
    at = simulator.hooks_url.replace("/hooks", "/_simulator/receiver")
    for method, path, body, status in (
        ("PUT", "/faults", ["gone"], 200),
        ("PUT", "/faults", ["omit"], 400),
        ("PUT", "/faults", "gone", 400),
        ("PUT", "/secrets", [], 400),
        ("PUT", "/secrets", ["junk"], 400),
    ):
        async with session.request(method, at + path, json=body) as response:
            assert response.status == status, (path, body)
    assert (await posted(session, simulator, structured()))[0] == 410
    new = secret_text(b"a new secret of 24 bytes")
    async with session.put(f"{at}/secrets", json=[new]) as response:
        assert response.status == 200
    assert (await posted(session, simulator, structured()))[0] == 401
    for method, path in (("GET", ""), ("DELETE", ""), ("PUT", "/faults"), ("PUT", "/secrets")):
        async with session.request(method, at + path, json=[], headers={"Origin": "https://evil.example"}) as response:
            assert response.status == 403
    assert simulator.receiver.deliveries.requests == 2


async def test_a_body_that_is_too_long_is_refused(simulator, session):
    assert (await posted(session, simulator, (io.BytesIO(b" " * (9 << 20)), {})))[0] == 413


async def test_webhooks_are_not_received_unless_they_are_to_be(session):
    async with Simulator() as simulator:
        assert simulator.receiver is None
        assert (await posted(session, simulator, structured()))[0] == 401
        async with session.get(simulator.hooks_url.replace("/hooks", "/_simulator/receiver")) as response:
            assert response.status == 401


def test_a_secret_is_base64_after_its_prefix():
    assert base64.b64decode(secret_text(SECRETS[0]).removeprefix("whsec_")) == SECRETS[0]
