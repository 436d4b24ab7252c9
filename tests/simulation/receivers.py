"""Receivers of webhooks in a simulated world, below `asset_worker/sinks/webhook/sink.py`, one for each host."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from random import Random
from types import TracebackType
from typing import Any, Final, Literal, TypeAlias

import msgspec
from multidict import CIMultiDict
from yarl import URL

from asset_worker.simulator.signatures import find_problem
from tests.simulation.answers import CONNECTION_ERRORS, Answer, Response, connection_error, pass_time

_decode = msgspec.json.Decoder().decode


class Unreachable(msgspec.Struct, frozen=True):
    """Nothing arrives: requests end in one of `CONNECTION_ERRORS`."""

    how: str = "refused"
    share: float = 1.0


class Hangs(msgspec.Struct, frozen=True):
    """Requests arrive, are not taken, and are never answered."""

    share: float = 1.0


class Answers(msgspec.Struct, frozen=True):
    """Requests are answered with this status: 410, 429, 503, 400, 307 and the like. They are not taken."""

    status: int = 503
    retry_after: int | None = None
    share: float = 1.0


class AnswersLate(msgspec.Struct, frozen=True):
    """Requests are taken, and answered up to so many seconds later."""

    seconds: float = 10.0
    share: float = 1.0


class LosesAnswer(msgspec.Struct, frozen=True):
    """Requests are taken, and the answer is lost: it never comes, or not to its end."""

    how: Literal["silence", "reset", "cut", "endless"] = "reset"
    share: float = 1.0


ReceiverFault: TypeAlias = Unreachable | Hangs | Answers | AnswersLate | LosesAnswer
LOST: Final[tuple[Literal["silence", "reset", "cut", "endless"], ...]] = ("silence", "reset", "cut", "endless")


def draw_receiver_fault(random: Random) -> ReceiverFault:
    """Return a random fault."""
    share = random.choice((0.1, 0.4, 1.0, 1.0))
    match random.choices(range(5), [3, 2, 5, 2, 4])[0]:
        case 0:
            return Unreachable(random.choice([*CONNECTION_ERRORS]), share)
        case 1:
            return Hangs(share)
        case 2:
            status = random.choice((500, 502, 503, 503, 429, 429, 400, 401, 404, 307, 410))
            wait = random.choice((None, 2, 30, 600)) if status in {429, 503} else None
            return Answers(status, wait, share)
        case 3:
            return AnswersLate(random.choice((3.0, 14.0, 20.0)), share)
        case _:
            return LosesAnswer(random.choice(LOST), share)


class Received(msgspec.Struct, frozen=True):
    """A request that arrived."""

    at: float
    """In the loop's time."""
    event_id: str
    """`webhook-id`."""
    event: Any
    """The body, decoded; None: it is not JSON."""
    body: bytes
    path: str
    headers: Mapping[str, str]
    """Their names in any case."""
    timestamp: int
    """`webhook-timestamp`, in seconds since the epoch; 0: there is none."""
    problem: str | None
    """Why the request is not genuine, by the rules of docs/webhooks.md; None: it is, or there are no secrets."""
    is_taken: bool
    """Whether the receiver keeps the event."""
    status: int | None
    """What was answered; None: nothing that arrived."""
    taken_before: int
    """How often the event was taken before."""


class SimulatedReceiver:
    """The receiver at one host. `now` is the loop's time, `wall` the receiver's clock in seconds since the epoch."""

    def __init__(self, random: Random, now: Callable[[], float], wall: Callable[[], float]) -> None:
        self.random = random
        self.now = now
        self.wall = wall
        self.faults: Sequence[ReceiverFault] = ()
        """What goes wrong now: the first fault that a request meets."""
        self.secrets: Sequence[bytes] = ()
        """One of them must have signed; none: signatures are not looked at."""
        self.latency = (0.01, 0.3)
        """The least and the most seconds that an answer takes."""
        self.received: list[Received] = []
        """The requests that arrived, in order."""
        self._taken: dict[str, int] = {}

    def open_session(self, *, check: Callable[[], None] = lambda: None) -> ReceiverSession:
        """Return what stands in for an aiohttp session. `check`: see `SimulatedApi.open_pool`."""
        return ReceiverSession(self, check)

    def met(self) -> ReceiverFault | None:
        """Return the fault that a request meets now; None: it meets none."""
        for each in self.faults:
            if each.share >= 1.0 or self.random.random() < each.share:
                return each
        return None

    def take(self, url: URL, headers: Mapping[str, str], body: bytes, fault: ReceiverFault | None) -> Answer | None:
        """Note a request that arrives now, and return its answer; None: there is none."""
        written = CIMultiDict(headers)
        problem = find_problem(written, body, self.secrets, now=self.wall()) if self.secrets else None
        answer: Answer | None
        match fault:
            case Hangs():
                answer = None
            case Answers(status, retry_after):
                wait = {} if retry_after is None else {"Retry-After": str(retry_after)}
                answer = Answer(status, b"Ordered.\n", wait)
            case _ if problem is not None:
                answer = Answer(401, problem.encode())
            case LosesAnswer("silence"):
                answer = None
            case LosesAnswer("cut"):
                answer = Answer(200, b"{}", is_cut=True)
            case LosesAnswer("endless"):
                answer = Answer(200, body_takes=math.inf)
            case _:
                answer = Answer(204)
        event_id = written.get("webhook-id", "")
        is_taken = problem is None and not isinstance(fault, Hangs | Answers)
        is_lost = answer is None or isinstance(fault, LosesAnswer)
        taken_before = self._taken.get(event_id, 0)
        self._taken[event_id] = taken_before + is_taken
        timestamp = written.get("webhook-timestamp", "")
        self.received.append(
            Received(
                self.now(),
                event_id,
                _decoded(body),
                body,
                url.path,
                written,
                int(timestamp) if timestamp.isdigit() else 0,
                problem,
                is_taken,
                None if is_lost or answer is None else answer.status,
                taken_before,
            )
        )
        return answer


class ReceiverSession:
    """What stands in for the aiohttp session of a webhook."""

    def __init__(self, receiver: SimulatedReceiver, check: Callable[[], None]) -> None:
        self.receiver = receiver
        self.check = check

    def post(
        self, url: URL, *, data: BytesIO, headers: Mapping[str, str], allow_redirects: bool = False, ssl: object = True
    ) -> _Post:
        """Return the request, which is sent when its context is entered."""
        assert not allow_redirects
        return _Post(self, url, headers, data.getvalue())

    async def close(self) -> None:
        """Nothing: there are no connections."""


class _Post:
    """One request and its answer."""

    def __init__(self, session: ReceiverSession, url: URL, headers: Mapping[str, str], body: bytes) -> None:
        self._session = session
        self._url = url
        self._headers = headers
        self._body = body

    async def __aenter__(self) -> Response:
        self._session.check()
        receiver = self._session.receiver
        latency = receiver.random.uniform(*receiver.latency)
        await asyncio.sleep(latency / 2)
        self._session.check()
        fault = receiver.met()
        if isinstance(fault, Unreachable):
            raise connection_error(fault.how)
        answer = receiver.take(self._url, self._headers, self._body, fault)
        if isinstance(fault, LosesAnswer) and fault.how == "reset":
            raise connection_error("reset")
        late = receiver.random.uniform(0, fault.seconds) if isinstance(fault, AnswersLate) else 0.0
        await pass_time(_NEVER if answer is None else latency / 2 + late, until=math.inf)
        assert answer is not None
        return Response(answer, until=math.inf, ended=lambda _: None)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


_NEVER: Final = 1e9
"""Seconds: the client gives up long before."""


def _decoded(body: bytes) -> Any:
    try:
        return _decode(body)
    except msgspec.DecodeError:
        return None
