"""Submissions without a connection: the endpoints answer as they do to aiohttp's own requests."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from asset_worker.domain.assets import AssetId
from asset_worker.domain.states import AssetState, SettledState
from asset_worker.intake.http.endpoints import Endpoints
from asset_worker.intake.http.intake import HttpIntake
from asset_worker.runtime.stop import Stop
from tests.doubles.clocks import LoopClock
from tests.simulation.submitting import ask, submit

pytestmark = pytest.mark.virtual_time

JSON, LINES = "application/json", "text/plain"


class Queue:
    """Accepts each asset once, at most two, and knows `a1` as settled."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def has_room_for(self, asset_ids) -> bool:
        return len({*self.ids, *asset_ids}) <= 2

    async def accept(self, batch):
        new = [each for each in batch.submissions if each.asset_id not in self.ids]
        self.ids += [each.asset_id for each in new]
        return new

    async def find(self, asset_id: AssetId) -> AssetState:
        if asset_id != "a1":
            return AssetState()
        return AssetState(settled=SettledState(1, "ready", 1.0, 2.0, b'{"id":"a1.1"}'))


def endpoints(stop: Stop | None = None) -> Endpoints:
    stop = stop or Stop()
    intake = HttpIntake(Queue(), stop, endless=True)
    return Endpoints(intake, Queue(), LoopClock(asyncio.get_running_loop()), stop, redact=lambda value: value)


async def test_what_became_of_each_submission_is_answered():
    served = endpoints()
    status, document = await submit(served, b'["a1", "a2", "a1", "no asset"]', JSON)
    assert (status, document["accepted"], document["repeated"], document["refused"]) == (202, 2, 1, 1)
    status, document = await submit(served, b"a1\n# comment\na2\n", LINES)
    assert (status, document["repeated"]) == (202, 2)
    assert (await submit(served, b"a3", LINES))[0] == 429, "there is no room"
    stop = Stop()
    stop.set("test")
    assert (await submit(endpoints(stop), b"a1", LINES))[0] == 503


async def test_what_is_known_of_an_asset_is_answered():
    status, document = await ask(endpoints(), "a1")
    assert (status, document["state"], document["outcome"]) == (200, "settled", "ready")
    assert [(await ask(endpoints(), each))[0] for each in ("a2", "no asset")] == [404, 400]


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'["a1", {"asset_id": "a2", "metadata": {"x": 1}}, 7]', JSON),
        (b"a1\na2", LINES),
        (b"a1\na2", "application/octet-stream"),
        (b"", JSON),
        (b"{", JSON),
    ],
)
async def test_the_answer_is_that_to_a_request_of_aiohttp(body, content_type):
    loop = asyncio.get_running_loop()
    reader = StreamReader(BaseProtocol(loop), 2**16, loop=loop)
    if body:
        reader.feed_data(body)
    reader.feed_eof()
    headers = CIMultiDict({"Content-Type": content_type, "Content-Length": str(len(body))})
    answer = await endpoints().submit(make_mocked_request("POST", "/submissions", headers=headers, payload=reader))
    assert isinstance(answer.body, bytes)
    assert await submit(endpoints(), body, content_type) == (answer.status, json.loads(answer.body))
