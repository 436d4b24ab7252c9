"""A server with a fixed window of requests, other callers, and a client of a `RateLimiter`: all in virtual time."""

import heapq
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from random import Random

from asset_worker.api.limits.limiter import RateLimiter
from asset_worker.api.limits.server_clock import ServerClock, parse_by_clocks

EPOCH = 1_800_000_000.0


@dataclass
class Server:
    """`limit` requests in `window` seconds. `aligned`: windows begin at multiples of it, else with a request.

    Resets are reported in whole seconds, rounded up, or down with `rounds_down`.
    """

    limit: int
    window: float
    style: str
    aligned: bool = True
    clock_off: float = 0.0
    rounds_down: bool = False
    begins: float = -math.inf
    used: int = 0
    ours: int = 0
    most_of_ours: int = 0
    refused: int = 0
    others_refused: int = 0

    def request(self, now: float, *, is_ours: bool) -> tuple[int, dict[str, str]]:
        if now >= self.begins + self.window:
            self.begins = math.floor(now / self.window) * self.window if self.aligned else now
            self.used = self.ours = 0
        if accepted := self.used < self.limit:
            self.used += 1
            self.ours += is_ours
            self.most_of_ours = max(self.most_of_ours, self.ours)
        else:
            self.refused += is_ours
            self.others_refused += not is_ours
        return (200 if accepted else 429), self.headers(now, accepted=accepted)

    def headers(self, now: float, *, accepted: bool) -> dict[str, str]:
        reset, cut = self.begins + self.window, math.floor if self.rounds_down else math.ceil
        left, wait = self.limit - self.used, cut(reset - now)
        server_now = EPOCH + now + self.clock_off
        reset_at = cut(EPOCH + reset + self.clock_off)
        match self.style:
            case "vendor":
                return {
                    "Date": formatdate(server_now, usegmt=True),
                    "X-Ratelimit-Limit": str(self.limit),
                    "X-Ratelimit-Remaining": str(left),
                    "X-Ratelimit-Used": str(self.used),
                    "X-Ratelimit-Reset": str(reset_at),
                }
            case "ietf counted":
                return {
                    "RateLimit-Limit": str(self.limit),
                    "RateLimit-Remaining": str(left),
                    "RateLimit-Reset": str(wait),
                }
            case "ietf structured":
                return {
                    "RateLimit": f'"default";r={left};t={wait}',
                    "RateLimit-Policy": f'"default";q={self.limit};w={self.window:.0f}',
                }
            case "retry-after" if not accepted:
                return {"Retry-After": str(wait)}
            case "retry-after date" if not accepted:
                return {
                    "Date": formatdate(server_now, usegmt=True),
                    "Retry-After": formatdate(reset_at, usegmt=True),
                }
        return {}


@dataclass
class SlidingServer(Server):
    """`limit` requests in any `window` seconds; the reset is when the first of them no longer counts."""

    accepted: deque[tuple[float, bool]] = field(default_factory=deque)

    def request(self, now: float, *, is_ours: bool) -> tuple[int, dict[str, str]]:
        while self.accepted and self.accepted[0][0] + self.window <= now:
            _, was_ours = self.accepted.popleft()
            self.used -= 1
            self.ours -= was_ours
        self.begins = self.accepted[0][0] if self.accepted else now
        status, headers = super().request(now, is_ours=is_ours)
        if status == 200:
            self.accepted.append((now, is_ours))
        return status, headers


@dataclass
class Outcome:
    """What became of one run."""

    seconds: float
    sent: int
    refused: int
    most_in_a_window: int
    accepted_at: list[float] = field(default_factory=list)

    @property
    def refused_share(self) -> float:
        return self.refused / self.sent

    def accepted_between(self, start: float, end: float) -> int:
        return sum(start <= instant < end for instant in self.accepted_at)


def run(
    server: Server,
    limiter: RateLimiter,
    *,
    backlog: int,
    seed: int = 1,
    concurrency: int = 20,
    latency: tuple[float, float] = (0.02, 0.2),
    others_rate: float = 0.0,
    until: float = math.inf,
    at: dict[float, Callable[[Server], None]] | None = None,
    started: float = 0.4,
) -> Outcome:
    """Work off a backlog: a refused request goes back to it. `at` changes the server at some instants."""
    random = Random(seed)
    events: list[tuple[float, int, str, tuple[float, int, dict[str, str]]]] = []
    order = 0

    def push(instant: float, what: str, facts: tuple[float, int, dict[str, str]] = (0.0, 0, {})) -> None:
        nonlocal order
        order += 1
        heapq.heappush(events, (instant, order, what, facts))

    now, in_flight, woken_at = started, 0, started
    outcome, clock = Outcome(0.0, 0, 0, 0), ServerClock()
    for instant in at or {}:
        push(instant, "change")
    if others_rate:
        push(now, "other")
    push(now, "wake")
    while events and (len(outcome.accepted_at) < backlog) and now < until:
        now, _, what, facts = heapq.heappop(events)
        match what:
            case "change":
                (at or {})[now](server)
            case "other":
                server.request(now, is_ours=False)
                push(now + random.expovariate(others_rate), "other")
            case "arrive":
                status, headers = server.request(now, is_ours=True)
                push(now + random.uniform(*latency) / 2, "answer", (facts[0], status, headers))
            case "answer":
                sent_at, status, headers = facts
                in_flight -= 1
                clocks = clock.read(headers.get("Date"), now=now, own=EPOCH + now, took=now - sent_at)
                report = parse_by_clocks(headers, clocks)
                limiter.answered(now, sent_at=sent_at, status=status, report=report)
                if status == 200:
                    outcome.accepted_at.append(now - started)
            case "wake" if now == woken_at:
                woken_at = math.inf
            case "wake":
                continue
        while in_flight < concurrency and len(outcome.accepted_at) + in_flight < backlog:
            if (delay := limiter.delay(now)) > 0:
                if now + delay < woken_at:
                    woken_at = now + delay
                    push(woken_at, "wake")
                break
            limiter.sent(now)
            in_flight += 1
            outcome.sent += 1
            push(now + random.uniform(*latency) / 2, "arrive", (now, 0, {}))
    outcome.seconds = now - started
    outcome.refused = server.refused
    outcome.most_in_a_window = server.most_of_ours
    return outcome
