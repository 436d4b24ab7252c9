"""Webhooks of a worker in another process, to the simulator's receiver: a third of the attempts fail."""

from __future__ import annotations

import random
import signal
from pathlib import Path
from typing import Any

from asset_worker.simulator.receiver import Receiver, ReceiverOptions
from asset_worker.simulator.server import Simulator
from asset_worker.simulator.signatures import secret_text
from tests.integration.fleets import Fleet
from tests.integration.processes import Run, Worker

FAULTS = (
    "status=500:0.1",
    "hang:0.05",
    "reset:0.08",
    "slow=30:0.04",
    "drip=0.1:0.04",
    "cut:0.04",
    "retry-after=1:0.02",
)
"""One attempt in three fails; of some, the receiver has accepted the event all the same."""
SECRET = b"the first secret of all!"
TIMEOUT = "1s"
"""For receivers that hang. Others get the usual one: a busy machine may delay an answer by seconds."""
RETRY = ["0.1s", "0.2s", "0.4s", *["0.5s"] * 30]
"""So many that chance makes no dead letter: they all fail once in 10^16."""


def receiving(**options: Any) -> ReceiverOptions:
    """The options of a receiver that knows the first secret."""
    return ReceiverOptions(secrets=(SECRET,), **options)


def receiver_of(simulator: Simulator) -> Receiver:
    assert simulator.receiver is not None
    return simulator.receiver


class Hooks:
    """The sink of a worker, its secrets, and the receiver that it sends to."""

    def __init__(self, simulator: Simulator, folder: Path, *, name: str = "hooks") -> None:
        self.receiver = receiver_of(simulator)
        self.file = folder / f"secrets of {name}"
        self._url, self._name = simulator.hooks_url, name
        self._secrets = [SECRET]
        self._steps = 0
        self.write(SECRET)

    def write(self, *secrets: bytes) -> None:
        """Replace the worker's secrets."""
        new = self.file.with_suffix(".new")
        new.touch(mode=0o600)
        new.write_text("".join(f"{secret_text(each)}\n" for each in secrets))
        new.replace(self.file)

    def table(self, **changes: Any) -> dict[str, Any]:
        """The sink as the settings name it."""
        usual = {
            "url": self._url,
            "name": self._name,
            "secret_file": str(self.file),
            "retry": RETRY,
        }
        return usual | changes

    def rotate(self) -> None:
        """Take the next of the three steps in which a secret is replaced, as the documentation has them."""
        match self._steps % 3:
            case 0:
                self._secrets = [self._secrets[-1], random.randbytes(24)]
                self.write(*self._secrets)
            case 1:
                self.receiver.secrets = (self._secrets[-1],)
            case 2:
                self.write(self._secrets[-1])
        self._steps += 1

    async def refuse_once(self, run: Run) -> None:
        """Answer 410 until the worker has paused the sink; then take events again, and have the worker resume."""
        faults = self.receiver.faults.current
        self.receiver.faults.replace("gone")
        await run.until("sink.paused")
        self.receiver.faults.replace(*faults)
        run.send(signal.SIGHUP)

    def accepted(self) -> list[str]:
        """The IDs of the events that the receiver has accepted, each once, in order."""
        return [event.id for event in self.receiver.deliveries.events()]

    def wrong(self, worker: Worker | Fleet) -> list[str]:
        """Broken promises: every event of the events file was received, signed, under one ID."""
        deliveries, events = self.receiver.deliveries, {event["id"]: event for event in worker.events()}
        received = {event.id: event for event in deliveries.events()}
        wrong = [f"{each}: not received" for each in events.keys() - received.keys()]
        wrong += [f"{each}: received, and never settled" for each in received.keys() - events.keys()]
        wrong += [
            f"{each.id}: {each.type}, {each.subject}"
            for each in received.values()
            if each.id in events
            and (each.type, each.subject) != (events[each.id]["type"], events[each.id].get("subject"))
        ]
        if deliveries.bad_signatures or deliveries.malformed:
            wrong.append(
                f"{deliveries.bad_signatures} bad signatures, {deliveries.malformed} requests without an event"
            )
        return wrong
