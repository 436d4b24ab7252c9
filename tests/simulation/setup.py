"""What a history begins with: the worker's settings, drawn from a seed."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec

from tests.fixtures.upgrades.manifest import LATE, REFUSING
from tests.simulation.earlier_state import draw_earlier_state

ROOT = "/simulated/work"
"""The directory of all files that the worker follows or writes."""
QUEUE_FILE = f"{ROOT}/queue"
EVENTS_FILE = f"{ROOT}/events.jsonl"
COPIES = f"{ROOT}/copies"
"""The directory of the second events file, which only those worlds have that an earlier version has left behind."""
COPIES_FILE = f"{COPIES}/events.jsonl"

KEYS = ("tlk_simulated_key_of_a_history", "tlk_another_key_of_a_history")
TOKEN = "a-token-of-the-simulated-clients"
SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
SECRETS = (*KEYS, TOKEN, SECRET)


class Setup(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The settings that differ from one history to the next. Durations are in seconds."""

    earlier: str = ""
    """The commit of the version that has left its state behind; empty: the state directory is new."""
    account: bool = False
    http: bool = False
    webhooks: int = 0
    transitions: bool = False
    batch: str = "auto"
    strategy: str = "adaptive"
    deadline: float = 600.0
    rendition_deadline: float = 240.0
    not_found_grace: float = 30.0
    requests_per_second: float = 10.0
    concurrency: int = 20
    max_pending: int = 1_000_000
    dedupe_window: float = 86_400.0
    retry: tuple[float, ...] = (1, 5, 20, 60)
    """The retry plan of the webhooks."""
    grace: float = 25.0

    def settings(self, directory: str) -> dict[str, Any]:
        """Return them as the program's settings. `directory` is a real one, for the state and for secrets."""
        return {
            "api": {"key_file": f"{directory}/key", "base_url": BASE_URL},
            "poll": {
                "strategy": self.strategy,
                "deadline": self.deadline,
                "rendition_deadline": self.rendition_deadline,
                "not_found_grace": self.not_found_grace,
                "batch": self.batch,
            },
            "limits": {"requests_per_second": self.requests_per_second, "concurrency": self.concurrency},
            "queue": {"file": QUEUE_FILE, "dedupe_window": self.dedupe_window, "max_pending": self.max_pending},
            "account": {"follow": self.account},
            "events": {
                "sinks": [
                    EVENTS_FILE,
                    *([COPIES_FILE] if self.earlier else []),
                    *(self._webhook(number) for number in range(self.webhooks)),
                ],
                "secret_file": f"{directory}/secrets",
                "transitions": self.transitions,
            },
            "state": {"dir": f"{directory}/state"},
            "admin": {"port": 0, "token_file": f"{directory}/tokens"} if self.http else {},
            "shutdown": {"grace": self.grace},
        }

    def _webhook(self, number: int) -> dict[str, Any]:
        return {"url": f"https://{receiver(number)}/hooks", "name": self.sink(number), "retry": [*self.retry]}

    def sink(self, number: int) -> str:
        """Return the name of a webhook: those of an earlier version keep theirs."""
        return SINKS_OF_EARLIER[number] if self.earlier else receiver(number)


BASE_URL = "https://api.example/v1.3"
SINKS_OF_EARLIER = (LATE, REFUSING)


def receiver(number: int) -> str:
    """Return the host of a webhook's receiver."""
    return f"receiver-{number}.example"


EARLIER_SHARE = 0.08
"""The share of histories that begin with an upgrade."""


def draw_setup(random: Random) -> Setup:
    """Draw settings: mostly usual ones, and now and then those with which a part reaches its limits."""
    earlier = draw_earlier_state(random) if random.random() < EARLIER_SHARE else None
    return Setup(
        earlier="" if earlier is None else earlier.made.commit,
        account=random.random() < 0.4 if earlier is None else earlier.made.has_account,
        http=random.random() < 0.4,
        webhooks=random.choice((0, 0, 1, 1, 2)) if earlier is None else 2 * earlier.made.has_webhooks,
        transitions=random.random() < 0.4,
        batch=random.choice(("auto", "auto", "auto", "confirm", "off")),
        strategy=random.choice(("adaptive", "adaptive", "exponential", "fixed")),
        deadline=random.choice((40.0, 120.0, 120.0, 300.0)),
        rendition_deadline=random.choice((20.0, 60.0)),
        not_found_grace=random.choice((5.0, 20.0)),
        requests_per_second=random.choice((0.5, 2.0, 10.0, 10.0, 0.0)),
        concurrency=random.choice((1, 4, 20, 20)),
        max_pending=random.choice((5, 20, 1_000_000, 1_000_000)),
        dedupe_window=86_400.0 if earlier else random.choice((0.0, 60.0, 86_400.0, 86_400.0)),
        retry=random.choice(((1.0, 5.0, 20.0, 60.0), (1.0, 5.0, 20.0, 60.0), (2.0,))),
        grace=random.choice((5.0, 25.0)),
    )
