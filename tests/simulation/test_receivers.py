"""Simulated receivers of webhooks, as the worker's own sink meets them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from asset_worker.domain.events import Stored
from asset_worker.runtime.redaction import Secrets
from asset_worker.simulator.signatures import secrets_of
from asset_worker.sinks.ports import Attempt, Delivered, Failed, Gone, SinkContext
from asset_worker.sinks.webhook.sink import WebhookSink
from tests.doubles.clocks import LoopClock
from tests.doubles.virtual_time import run_virtually
from tests.doubles.webhooks import BODY, EVENT, ONE, OTHER, target_of
from tests.simulation import receivers as r
from tests.simulation.answers import CONNECTION_ERRORS
from tests.simulation.receivers import Received, ReceiverFault, SimulatedReceiver, draw_receiver_fault

TIMEOUT = 15.0


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text(f"{ONE}\n")
    path.chmod(0o600)
    return path


@contextmanager
def opened(receiver: SimulatedReceiver) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WebhookSink, "_opened", lambda _: receiver.open_session())
        yield


def attempts(
    secret_file: Path, *faults: ReceiverFault, count: int = 1, seed: int = 1, secret: str = ONE, **table: Any
) -> tuple[list[Attempt], list[Received], list[float]]:
    """What so many attempts at an event come to, what the receiver has got, and when each attempt ended."""

    async def main() -> tuple[list[Attempt], list[Received], list[float]]:
        loop = asyncio.get_running_loop()
        clock = LoopClock(loop)
        receiver = SimulatedReceiver(Random(seed), loop.time, clock.now)
        receiver.faults, receiver.secrets = faults, secrets_of(secret)
        target = target_of("https://app.example/hooks", secret_file=secret_file, **{"timeout": TIMEOUT, **table})
        sink = WebhookSink(target, SinkContext(clock, Secrets()))
        results, ended_at = [], []
        with opened(receiver):
            for number in range(count):
                results.append(await sink.attempt(Stored(number, EVENT.id, BODY)))
                ended_at.append(loop.time())
            await sink.close()
        return results, receiver.received, ended_at

    found: tuple[list[Attempt], list[Received], list[float]] = run_virtually(main())
    return found


@pytest.mark.parametrize("mode", ["structured", "binary"])
def test_an_event_arrives_with_its_signature_and_is_taken(secret_file, mode):
    results, [first, second], _ = attempts(secret_file, count=2, mode=mode)
    assert results == [Delivered(), Delivered()]
    assert (first.event_id, first.path, first.body) == (
        EVENT.id,
        "/hooks",
        BODY if mode == "structured" else first.body,
    )
    assert first.event["asset_id" if mode == "binary" else "id"] == ("a1" if mode == "binary" else EVENT.id)
    assert (first.is_taken, first.status, first.problem, first.taken_before) == (True, 204, None, 0)
    assert first.timestamp == 1_000_000
    assert first.headers["Webhook-Signature"].startswith("v1,")
    assert second.taken_before == 1


def test_a_request_that_is_not_genuine_is_refused(secret_file):
    [result], [received], _ = attempts(secret_file, secret=OTHER)
    assert isinstance(result, Failed)
    assert (received.problem, received.status, received.is_taken) == ("no signature matches", 401, False)


@pytest.mark.parametrize("how", CONNECTION_ERRORS)
def test_each_error_of_a_connection_is_a_failed_attempt_and_nothing_arrives(secret_file, how):
    [result], received, _ = attempts(secret_file, r.Unreachable(how))
    assert isinstance(result, Failed)
    assert not received


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (r.Answers(503), Failed("HTTP 503: Ordered.")),
        (r.Answers(429, 30), Failed("HTTP 429: Ordered.", 30.0)),
        (r.Answers(400), Failed("HTTP 400: Ordered.")),
        (r.Answers(410), Gone("HTTP 410: Ordered.")),
        (r.Answers(307), Failed("HTTP 307: redirects are not followed: give the URL that it leads to")),
        (r.Hangs(), Failed("no answer within 15 s")),
    ],
    ids=repr,
)
def test_a_receiver_that_fails_takes_nothing(secret_file, fault, expected):
    [result], [received], [ended_at] = attempts(secret_file, fault)
    assert result == expected
    assert not received.is_taken
    assert received.status == (None if isinstance(fault, r.Hangs) else fault.status)
    assert isinstance(fault, r.Hangs) == (ended_at >= TIMEOUT)


@pytest.mark.parametrize("how", r.LOST)
def test_an_answer_that_is_lost_fails_the_attempt_although_the_event_was_taken(secret_file, how):
    [first, second], [taken, again], ended_at = attempts(secret_file, r.LosesAnswer(how), count=2)
    assert isinstance(first, Failed)
    assert isinstance(second, Failed)
    assert (taken.is_taken, taken.status, taken.taken_before, again.taken_before) == (True, None, 0, 1)
    assert (how in {"silence", "endless"}) == (ended_at[0] >= TIMEOUT)


def test_an_answer_may_come_late_or_too_late(secret_file):
    results, received, ended_at = attempts(secret_file, r.AnswersLate(60.0), count=20)
    assert {type(each) for each in results} == {Delivered, Failed}
    assert all(each.is_taken for each in received)
    assert max(ended_at) > TIMEOUT


def test_a_share_of_requests_meets_the_fault(secret_file):
    results, _, _ = attempts(secret_file, r.Answers(503, share=0.3), count=200)
    assert 30 <= sum(isinstance(each, Failed) for each in results) <= 90


def test_the_same_seed_makes_the_same_record(secret_file):
    def record(seed: int) -> Any:
        faults = [draw_receiver_fault(Random(seed)), r.AnswersLate(20.0, 0.5)]
        return attempts(secret_file, *faults, count=10, seed=seed)

    assert record(3) == record(3) != record(4)


def test_a_fault_can_be_made_again_from_its_repr():
    random = Random(1)
    names = {name: value for name, value in vars(r).items() if isinstance(value, type)}
    drawn = {repr(draw_receiver_fault(random)) for _ in range(300)}
    assert {each.partition("(")[0] for each in drawn} == {each.__name__ for each in r.ReceiverFault.__args__}
    for text in drawn:
        assert repr(eval(text, names)) == text
