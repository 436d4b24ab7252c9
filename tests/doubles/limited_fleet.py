"""Several clients of one limited server, each with a `RateLimiter` and a portion of the limits: in virtual time."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from asset_worker.api.limits.limiter import RateLimiter
from asset_worker.api.limits.server_clock import ServerClock, parse_by_clocks
from tests.doubles.limited_server import EPOCH, Server

RENEWAL_SECONDS = 10 / 3


@dataclass
class Client:
    """One worker, which always has a backlog."""

    limiter: RateLimiter
    clock: ServerClock = field(default_factory=ServerClock)
    in_flight: int = 0
    woken_at: float = math.inf


@dataclass
class Outcome:
    sent: int = 0
    accepted: int = 0
    refused: int = 0

    @property
    def refused_share(self) -> float:
        return self.refused / self.sent


def run_fleet(
    server: Server,
    limiters: Sequence[RateLimiter],
    *,
    seconds: float,
    since: float = 0.0,
    seed: int = 1,
    concurrency: int = 20,
    latency: tuple[float, float] = (0.02, 0.2),
    at_renewals: Callable[[float, Sequence[RateLimiter]], None] = lambda now, limiters: None,
) -> Outcome:
    """Let all clients work for so many seconds. What happens before `since` is not counted."""
    random = Random(seed)
    clients = [Client(limiter) for limiter in limiters]
    events: list[tuple[float, int, str, int, tuple[float, int, dict[str, str]]]] = []
    order, outcome = 0, Outcome()

    def push(
        instant: float, what: str, place: int = 0, facts: tuple[float, int, dict[str, str]] = (0.0, 0, {})
    ) -> None:
        nonlocal order
        order += 1
        heapq.heappush(events, (instant, order, what, place, facts))

    def send(place: int, now: float) -> None:
        client = clients[place]
        while client.in_flight < concurrency:
            if (delay := client.limiter.delay(now)) > 0:
                if now + delay < client.woken_at:
                    client.woken_at = now + delay
                    push(client.woken_at, "wake", place)
                return
            client.limiter.sent(now)
            client.in_flight += 1
            outcome.sent += now >= since
            push(now + random.uniform(*latency) / 2, "arrive", place, (now, 0, {}))

    for place in range(len(clients)):
        push(0.4 + place / 100, "wake", place)
    push(RENEWAL_SECONDS, "renew")
    while events[0][0] < seconds:
        now, _, what, place, facts = heapq.heappop(events)
        client = clients[place]
        match what:
            case "renew":
                at_renewals(now, limiters)
                push(now + RENEWAL_SECONDS, "renew")
                for each in range(len(clients)):
                    send(each, now)
            case "arrive":
                status, headers = server.request(now, is_ours=True)
                push(now + random.uniform(*latency) / 2, "answer", place, (facts[0], status, headers))
            case "answer":
                sent_at, status, headers = facts
                client.in_flight -= 1
                clocks = client.clock.read(headers.get("Date"), now=now, own=EPOCH + now, took=now - sent_at)
                report = parse_by_clocks(headers, clocks)
                client.limiter.answered(now, sent_at=sent_at, status=status, report=report)
                outcome.accepted += status == 200 and sent_at >= since
                outcome.refused += status != 200 and sent_at >= since
                send(place, now)
            case _ if now == client.woken_at:
                client.woken_at = math.inf
                send(place, now)
    return outcome


def limiters(portions: list[float], *, own: float = 0.0, share: float = 0.8) -> list[RateLimiter]:
    """A limiter for each of these portions, with this own rate and this share of a quota."""
    made = [RateLimiter(requests_per_second=own, share=share) for _ in portions]
    for limiter, portion in zip(made, portions, strict=True):
        limiter.use_portion(portion)
    return made


def adopt_the_latest(_now: float, limiters: Sequence[RateLimiter]) -> None:
    """What one has learned from a refusal reaches the others."""
    learned = [each.learned for each in limiters if each.learned is not None]
    if learned:
        rate, at = max(learned, key=lambda each: each[1])
        for each in limiters:
            each.adopt(rate, at=at)
