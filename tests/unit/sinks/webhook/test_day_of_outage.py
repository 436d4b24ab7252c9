"""A receiver that is away for a day, while its secrets are rotated: the real delivery and sink, in virtual time."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aioresponses import CallbackResult, aioresponses
from standardwebhooks import Webhook

from asset_worker.queue.local.journal import FILE_NAME
from asset_worker.runtime.stop import Stop
from asset_worker.sinks.independent import IndependentDelivery
from tests.doubles.clocks import LoopClock
from tests.doubles.independent import event
from tests.doubles.local_queue import open_local, put
from tests.doubles.webhooks import ONE, OTHER, webhook
from tests.doubles.webhooks import put as write

HOUR, DAY = 3_600.0, 86_400.0


@pytest.mark.virtual_time
async def test_after_a_day_all_events_arrive_signed_with_the_secrets_of_that_moment(tmp_path: Path, secret_file: Path):
    loop, accepted = asyncio.get_running_loop(), {}

    def answer(_url: Any, *, data: Any, headers: dict[str, str], **_: Any) -> CallbackResult:
        if loop.time() < DAY:
            return CallbackResult(status=503)
        accepted[headers["webhook-id"]] = (headers, data.getvalue())
        return CallbackResult(status=204)

    clock = LoopClock(loop)
    sink = webhook("https://app.example/hooks", clock=clock, secret_file=secret_file, name="hook")
    queue = open_local(tmp_path / FILE_NAME, clock, sinks=["hook"], independent=["hook"])
    await queue.begin(ends_by_itself=False)
    delivering = asyncio.create_task(IndependentDelivery(sink, queue.outbox, clock).run(Stop()))
    with aioresponses() as api:
        api.post(re.compile(".*"), callback=answer, repeat=True)
        for number in range(40):
            await put(queue, events=[event(f"a{number}")])
            await asyncio.sleep(HOUR / 2)
        write(secret_file, f"{ONE}\n{OTHER}\n")
        await asyncio.sleep(DAY - loop.time() + 120)
        write(secret_file, f"{OTHER}\n")
        await put(queue, events=[event("last")])
        await asyncio.sleep(10)
    delivering.cancel()
    await asyncio.wait([delivering])
    assert accepted.keys() == {*(f"a{number}.1" for number in range(40)), "last.1"}
    assert sum(queue.dead_letters_by_sink().values()) == 0
    for identity, (headers, body) in accepted.items():
        at = datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC)
        secrets = [OTHER] if identity == "last.1" else [ONE, OTHER]
        expected = [Webhook(secret).sign(identity, at, body.decode()) for secret in secrets]
        assert headers["webhook-signature"].split() == expected
    queue.crash()
