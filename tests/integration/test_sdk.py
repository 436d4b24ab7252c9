"""The vendor's own SDK against the simulator, so that it stays faithful; then a run of the worker on its uploads."""

from __future__ import annotations

import asyncio
import io
from contextlib import contextmanager

import httpx
import pytest
from twelvelabs import TwelveLabs
from twelvelabs.core.api_error import ApiError
from twelvelabs.errors import NotFoundError

from asset_worker.simulator.lifecycles import outcome
from tests.integration.processes import KEY, eventually

MIXED = ["photo.jpg", "talk.mp4", "song.mp3", "paper.pdf", "notes.txt", "film.mov", "drawing.png", "clip.webm"]


@contextmanager
def sdk(simulator, key=KEY):
    with httpx.Client(timeout=60) as connections:
        yield TwelveLabs(api_key=key, base_url=simulator.base_url, httpx_client=connections)


async def test_the_sdk_uploads_lists_retrieves_and_deletes(serve):
    """Every call of the assets API; the vendor's own types decode the answers."""
    simulator = await serve(time_scale=1000)

    def use():
        with sdk(simulator) as client:
            return upload(client)

    def upload(client):
        created = client.assets.create(
            method="direct", file=("talk.mp4", io.BytesIO(b"\0" * 1000), "video/mp4"), user_metadata='{"user": "ada"}'
        )
        assert (created.status, created.method, created.file_type) == ("processing", "direct", "video/mp4")
        linked = client.assets.create(method="url", url="https://media.example/a/photo.jpg", enable_thumbnail=False)
        assert (linked.filename, linked.file_type, linked.method) == ("photo.jpg", "image/jpeg", "url")
        return created.id, linked.id

    talk, photo = await asyncio.to_thread(use)
    await eventually(
        lambda: simulator.store.seconds_since_done(talk) > 0 and simulator.store.seconds_since_done(photo) > 0
    )

    def read(client):
        assert client.assets.retrieve(talk).user_metadata == {"user": "ada"}
        assert client.assets.retrieve(talk).hls.status in {"ready", "error", "pending"}
        assert client.assets.retrieve(photo).thumbnail is None
        assert [asset.id for asset in client.assets.list(page_limit=1)] == [photo, talk]
        assert [asset.id for asset in client.assets.list(asset_ids=[talk, "0" * 24])] == [talk]
        assert [asset.id for asset in client.assets.list(asset_types=["image"])] == [photo]
        assert [asset.id for asset in client.assets.list(filename="TALK")] == [talk]
        client.assets.delete(photo)
        with pytest.raises(NotFoundError):
            client.assets.retrieve(photo)

    def use_again():
        with sdk(simulator) as client:
            read(client)

    await asyncio.to_thread(use_again)
    assert simulator.stats.unknown_paths == []


async def test_the_sdk_is_refused_as_by_the_real_api(serve):
    """A wrong key, a malformed ID, too many requests."""
    simulator = await serve(key=KEY)

    def use():
        with sdk(simulator, key="another") as client, pytest.raises(ApiError) as refused:
            client.assets.retrieve("0" * 24)
        assert (refused.value.status_code, refused.value.body["code"]) == (401, "api_key_invalid")
        with sdk(simulator) as client, pytest.raises(ApiError) as malformed:
            client.assets.retrieve("no-id")
        assert (malformed.value.status_code, malformed.value.body["code"]) == (400, "parameter_invalid")

    await asyncio.to_thread(use)


async def test_fifty_uploads_by_the_sdk_become_fifty_right_events(serve, worker):
    """Each ID is appended as the asset is created, while the worker runs."""
    simulator = await serve(time_scale=30)
    run = worker.run(base_url=simulator.base_url)

    def upload():
        with sdk(simulator) as client:
            for number in range(50):
                name = MIXED[number % len(MIXED)]
                if number % 7 == 0:
                    asset = client.assets.create(method="url", url=f"https://media.example/{name}")
                else:
                    asset = client.assets.create(method="direct", file=(name, io.BytesIO(b"\0" * 5000)))
                worker.submit(asset.id)

    await asyncio.to_thread(upload)
    await eventually(lambda: len(worker.events()) >= 50, otherwise=lambda: run.stderr)
    events = {event["subject"]: event for event in worker.events()}
    assert len(worker.events()) == len(events) == 50
    for asset_id, event in events.items():
        assert event["data"]["outcome"] == outcome(simulator.store.lifecycle(asset_id))
        assert event["data"]["asset"] == simulator.store.view(asset_id)
    run.process.terminate()
    assert await run.end() == 0
