"""The header `traceparent` of a webhook's requests, and what those who watch the attempts see."""

from __future__ import annotations

from contextlib import contextmanager

import msgspec
import pytest
from aiohttp import web

from asset_worker.domain.events import Stored
from asset_worker.runtime.clock import SystemClock
from asset_worker.runtime.redaction import Secrets
from asset_worker.sinks.ports import Delivered, Failed, SinkContext
from asset_worker.sinks.registry import open_sink
from tests.doubles.webhooks import BODY, EVENT, ONE, receiving, target_of

EVENTS, DELIVERY = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", f"00-{'a' * 32}-{'b' * 16}-01"
TRACED = Stored(1, "a1.1", BODY.replace(b'"data"', f'"traceparent":"{EVENTS}","data"'.encode()))


class Watcher:
    """Records what it is told of each attempt."""

    traceparent = DELIVERY

    def __init__(self):
        self.seen = []

    @contextmanager
    def watch(self, sink, url, event):
        self.seen.append((sink, str(url), event.id))
        yield self
        self.seen.append("ended")

    def answered(self, status):
        self.seen.append(status)

    def failed(self, why):
        self.seen.append(why)


async def sent(event, *, watcher=None, answer=None, **table):
    """The request that arrives, and the result of the attempt."""
    async with receiving(answer) as receiver:
        target = target_of(f"http://ada:secret@127.0.0.1:{receiver.port}/in?token=x", name="hook", **table)
        context = SinkContext(SystemClock(), Secrets())
        if watcher is not None:
            context = msgspec.structs.replace(context, watch=watcher.watch)
        sink = open_sink(target, context)
        assert sink.kind == "independent"
        result = await sink.attempt(event)
        await sink.close()
    [request] = receiver.received
    return request, result, receiver.port


@pytest.mark.parametrize("mode", ["structured", "binary"])
async def test_a_request_passes_on_the_context_of_its_event(mode, secret_file):
    """What is signed is the same with it and without it."""
    request, result, _ = await sent(TRACED, mode=mode, secret_file=secret_file)
    assert result == Delivered()
    assert request.headers.getall("traceparent") == [EVENTS]
    request.verify(ONE)


@pytest.mark.parametrize(
    "event",
    [
        EVENT,
        Stored(1, "a1.1", TRACED.body.replace(EVENTS.encode(), b"x\\r\\nX-Evil: 1")),
        Stored(1, "a1.1", TRACED.body.replace(EVENTS.encode(), b"\\u00e4")),
    ],
    ids=["none", "another header", "no ASCII"],
)
async def test_without_a_context_that_can_be_sent_there_is_no_header(event):
    request, result, _ = await sent(event)
    assert result == Delivered()
    assert not {"traceparent", "X-Evil"} & request.headers.keys()


async def test_a_header_of_the_settings_comes_first():
    for watcher in (None, Watcher()):
        request, _, _ = await sent(TRACED, watcher=watcher, headers={"Traceparent": "mine"})
        assert request.headers.getall("traceparent") == ["mine"]


async def test_while_attempts_are_watched_the_header_is_the_context_of_the_attempt():
    """The watcher gets no secret of the URL."""
    watcher = Watcher()
    request, _, port = await sent(TRACED, watcher=watcher)
    assert request.headers["traceparent"] == DELIVERY
    assert watcher.seen == [("hook", f"http://127.0.0.1:{port}/in", "a1.1"), 204, "ended"]


async def test_a_watcher_sees_why_an_attempt_failed():
    async def answer(_):
        return web.Response(status=503)

    watcher = Watcher()
    _, result, _ = await sent(EVENT, watcher=watcher, answer=answer)
    assert isinstance(result, Failed)
    assert watcher.seen[1:] == [503, result.reason, "ended"]
