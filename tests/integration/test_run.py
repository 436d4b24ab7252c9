"""`asset-worker run` on a queue file, from outside."""

from __future__ import annotations

import math
import signal
from collections import Counter

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_structured
from cloudevents.core.formats.json import JSONFormat

from asset_worker.simulator.lifecycles import KINDS, Lifecycle, Rendition
from tests.integration.holding import change, waiting
from tests.integration.processes import KEY, eventually

HOSTILE = [
    b"../../../etc/passwd",
    b"..%2f..%2fadmin",
    b"6298d673f1090f1100476d4c/../../indexes",
    b"6298d673f1090f1100476d4c?x=y",
    b"6298d673f1090f1100476d4c#x",
    b"http://elsewhere.example/6298d673f1090f1100476d4c",
    b"a" * 65,
    b"a" * 300_000,
    b"two words",
    b"tab\there",
    b"nul\0nul",
    b"\x1b[31mred",
    b"\xff\xfe\x00binary\x80\x81",
    "６２９８ｄ６７３".encode(),
    "asset\u202eid".encode(),
    b"{",
    b"{}",
    b"[]",
    b'["6298d673f1090f1100476d4c"]',
    b'"6298d673f1090f1100476d4c"',
    b"null {",
    b'{"asset_id": null}',
    b'{"asset_id": 7}',
    b'{"asset_id": ["a"]}',
    b'{"asset_id": "../x"}',
    b'{"asset_id": "a", "deadline": "soon"}',
    b'{"asset_id": "a", "deadline": -1}',
    b'{"asset_id": "a", "deadline": 1e999}',
    b'{"asset_id": "a", "wait_for": {"hls": "perhaps"}}',
    b'{"asset_id": "a", "wait_for": {"subtitles": "required"}}',
    b'{"asset_id": "a", "metadata": "m"}',
    b'{"asset_id": "a"} trailing',
    b"[" * 50_000,
    b'{"a":' * 10_000,
]


def every_lifecycle(store, count):
    """IDs with the outcomes to expect; times are simulated seconds."""

    def rendition(ends_after, ends_in="ready"):
        return Rendition(ends_after, ends_in)

    lifecycles = [
        (Lifecycle(), "ready"),
        (Lifecycle(30, hls=rendition(30), thumbnail=rendition(5)), "ready"),
        (Lifecycle(5, thumbnail=rendition(40)), "ready"),
        (Lifecycle(40, hls=rendition(0)), "ready"),
        (Lifecycle(10, visible_after=20), "ready"),
        (Lifecycle(20, "failed", "no frames", hls=rendition(5)), "failed"),
        (Lifecycle(0, "failed", "damaged"), "failed"),
        (Lifecycle(10, hls=rendition(20, "error"), thumbnail=rendition(5)), "degraded"),
        (Lifecycle(10, hls=rendition(5, "error"), thumbnail=rendition(30, "error")), "degraded"),
        (Lifecycle(10, hls=rendition(math.inf)), "degraded"),
        (Lifecycle(math.inf), "timed_out"),
        (Lifecycle(5, "archived"), "timed_out"),
        (None, "not_found"),
        (Lifecycle(visible_after=math.inf), "not_found"),
    ]
    for number in range(count):
        lifecycle, expected = lifecycles[number % len(lifecycles)]
        yield (f"{number:024x}" if lifecycle is None else store.add(lifecycle, kind=KINDS["clip"])), expected


async def test_four_hundred_assets_of_every_lifecycle_become_one_right_event_each(serve, worker):
    simulator = await serve(time_scale=20)
    expected = dict(every_lifecycle(simulator.store, 400))
    # Only assets that shall time out have a deadline: a slow machine might look at the others too late.
    worker.submit(
        *(
            f'{{"asset_id": "{asset_id}", "deadline": 6}}' if outcome == "timed_out" else asset_id
            for asset_id, outcome in expected.items()
        )
    )
    run = worker.run("--once", base_url=simulator.base_url, POLL__RENDITION_DEADLINE="5", POLL__NOT_FOUND_GRACE="4")
    assert await run.end() == 1
    events = worker.events()
    assert {event["subject"]: event["data"]["outcome"] for event in events} == expected
    assert len(events) == 400
    for line in worker.events_file.read_bytes().splitlines():
        message = HTTPMessage({"content-type": "application/cloudevents+json"}, line)
        event = from_structured(message, JSONFormat())
        assert event.get_type() == f"dev.asset-worker.asset.{expected[event.get_subject()]}"
        assert event.get_id() == f"{event.get_subject()}.1"
        assert event.get_source() == f"{simulator.base_url}/assets"
    assert {event["data"]["reason"] for event in events if event["data"]["outcome"] == "failed"} == {
        "no frames",
        "damaged",
    }
    [stopped] = run.logs("worker.stopped")
    assert stopped["completions"] == dict(Counter(expected.values()))
    assert [line["value"] for line in run.logs("api.unknown_status")] == ["archived"]
    assert KEY.encode() not in worker.written()


async def test_every_hostile_line_is_rejected_and_nothing_leaves_the_assets_path(serve, worker):
    """Each becomes an event with the number of its line; the assets in the lines between them are watched."""
    simulator = await serve()
    good = [simulator.store.add(Lifecycle()) for _ in HOSTILE]
    for asset_id, line in zip(good, HOSTILE, strict=True):
        worker.submit(asset_id, line)
    run = worker.run("--once", base_url=simulator.base_url)
    assert await run.end() == 1
    events = worker.events()
    rejected = [event["data"] for event in events if event["data"]["outcome"] == "rejected"]
    assert [event["submission"]["source"].rpartition(":")[2] for event in rejected] == [
        str(2 * number) for number in range(1, len(HOSTILE) + 1)
    ]
    assert all(len(event["line"].encode()) <= 1024 and event["reason"] for event in rejected)
    assert all("subject" not in event for event in events if event["type"].endswith("rejected"))
    assert {event["subject"] for event in events if event["type"].endswith("ready")} == set(good)
    assert simulator.stats.unknown_paths == []
    assert set(simulator.stats.looks) <= {*good}
    assert sum(line.get("count", 1) for line in run.logs("intake.rejected")) == len(HOSTILE)


async def test_an_asset_submitted_again_is_one_submission(serve, worker):
    """While it is pending, within the dedupe window after its completion, and after a restart."""
    simulator = await serve()
    asset_id = simulator.store.add(Lifecycle(1))
    worker.submit(asset_id, asset_id, f'{{"asset_id": "{asset_id}"}}')
    assert await worker.run("--once", base_url=simulator.base_url).end() == 0
    worker.submit(asset_id)
    assert await worker.run("--once", base_url=simulator.base_url).end() == 0
    assert [event["id"] for event in worker.events()] == [f"{asset_id}.1"]


async def test_after_the_dedupe_window_it_is_a_new_submission_and_its_event_has_a_new_id(serve, worker):
    simulator = await serve()
    asset_id = simulator.store.add(Lifecycle())
    for _ in range(3):
        worker.submit(asset_id)
        assert await worker.run("--once", base_url=simulator.base_url, QUEUE__DEDUPE_WINDOW="0").end() == 0
    assert [event["id"] for event in worker.events()] == [f"{asset_id}.{number}" for number in (1, 2, 3)]


async def test_rotation_while_it_runs_loses_nothing(serve, worker):
    """By rename with a late writer, by copy and truncate, by replacement, by deletion."""
    simulator = await serve()
    ids = [simulator.store.add(Lifecycle()) for _ in range(60)]
    run = worker.run(base_url=simulator.base_url)
    await run.until("worker.started")
    left = iter(ids)

    async def submit(count):
        worker.submit(*(next(left) for _ in range(count)))

    async def seen(count):
        await eventually(lambda: len(worker.events()) >= count, otherwise=lambda: run.stderr)

    await submit(10)
    await seen(10)
    with worker.queue_file.open("ab") as late:
        worker.queue_file.rename(worker.queue_file.with_suffix(".1"))
        late.write(b"".join(next(left).encode() + b"\n" for _ in range(5)))
        await submit(5)
    await seen(20)
    worker.queue_file.with_suffix(".2").write_bytes(worker.queue_file.read_bytes())
    with worker.queue_file.open("r+b") as file:
        file.truncate()
    await eventually(
        lambda: "truncated" in {line["what"] for line in run.logs("intake.rotated")}, otherwise=lambda: run.stderr
    )
    await submit(10)
    await seen(30)
    replacement = worker.queue_file.with_suffix(".new")
    replacement.write_bytes(b"".join(next(left).encode() + b"\n" for _ in range(10)))
    replacement.replace(worker.queue_file)
    await seen(40)
    worker.queue_file.unlink()
    await submit(20)
    await seen(60)
    assert sorted(event["subject"] for event in worker.events()) == sorted(ids)
    run.send(signal.SIGTERM)
    assert await run.end() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_is_an_orderly_stop_and_the_next_start_goes_on(serve, worker, number):
    """Pending assets keep their acceptance time; each completion has one event."""
    simulator = await serve()
    done, left = [simulator.store.add(Lifecycle()) for _ in range(2)], waiting(simulator, 2)
    worker.submit(*done, *left)
    run = worker.run(base_url=simulator.base_url)
    await eventually(lambda: len(worker.events()) == 2, otherwise=lambda: run.stderr)
    run.send(number)
    assert await run.end() == 0
    [stopping], [stopped] = run.logs("worker.stopping"), run.logs("worker.stopped")
    assert stopping["reason"] == number.name
    assert (stopped["pending"], stopped["exit_code"]) == (2, 0)
    accepted_by = run.logs("worker.stopped")[0]["timestamp"]

    change(simulator, *left)
    again = worker.run("--once", base_url=simulator.base_url)
    assert await again.end() == 0
    events = worker.events()
    assert sorted(event["subject"] for event in events) == sorted([*done, *left])
    assert all(event["data"]["submitted_at"] < accepted_by for event in events)


async def test_a_second_worker_on_the_same_state_directory_is_refused(serve, worker):
    simulator = await serve()
    first = worker.run(base_url=simulator.base_url)
    await first.until("worker.started")
    second = worker.run(base_url=simulator.base_url)
    assert await second.end() == 75
    assert str(first.process.pid) in second.stderr
    assert str(worker.state) in second.stderr
