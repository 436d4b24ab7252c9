"""What happens in a history: values, each drawn from a seed, that are printed as the Python that makes them."""

from __future__ import annotations

import math
import signal
from random import Random
from typing import Protocol

import msgspec

from asset_worker.simulator.lifecycles import Lifecycle, Rendition

JUNK = ("not an ID!", '{"asset_id": 7}', "{", '{"asset_id": "../etc"}', "é" * 40, '{"wait_for": {}}')
"""Lines that hold no usable submission."""
FORMATS = ("bare", "object", "crlf")


class Stage(Protocol):
    """What actions may do to the world."""

    def append(self, lives: tuple[Lifecycle, ...], *, form: str, junk: tuple[str, ...], repeats: int) -> None:
        """Upload assets, and append their IDs to the queue file."""
        ...

    def tear(self, life: Lifecycle, *, share: float, rest_after: float) -> None:
        """Upload an asset, and append a share of its line; the rest follows."""
        ...

    def rotate(self, how: str) -> None:
        """Rotate the queue file, or the events file."""
        ...

    def submit(self, lives: tuple[Lifecycle, ...], *, repeats: int) -> None:
        """Upload assets, and submit their IDs over HTTP until that is answered."""
        ...

    def upload(self, lives: tuple[Lifecycle, ...]) -> None:
        """Upload assets, and tell the worker nothing."""
        ...

    def delete(self, number: int) -> None:
        """Delete an asset: the one with this number, modulo their count."""
        ...

    def begin(self, fault: object, *, lasts: float) -> None:
        """Let a fault begin, and end after some seconds."""
        ...

    def set_clock(self, by: float) -> None:
        """Set the wall clock forward."""
        ...

    def drift(self, share: float) -> None:
        """Let the wall clock gain this share of each second from now on."""
        ...

    def signal(self, number: signal.Signals) -> None:
        """Send the worker a signal."""
        ...

    def replace_key(self) -> None:
        """Replace the key by another one that is accepted as well."""
        ...

    def stop(self, *, down: float) -> None:
        """Stop the worker, and start it again some seconds after its end."""
        ...

    def kill(self, *, steps: int, calls: int | None, down: float, power: bool) -> None:
        """Kill the worker after some more steps, or in one of its next calls on files, and start it again later.

        `power`: the machine dies with it.
        """
        ...


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happens `after` seconds."""

    after: float = 0.0

    def apply(self, stage: Stage) -> None:
        """Let it happen."""
        raise NotImplementedError


class Append(Action, frozen=True, kw_only=True):
    """A writer appends lines to the queue file."""

    lives: tuple[Lifecycle, ...] = ()
    form: str = "bare"
    junk: tuple[str, ...] = ()
    repeats: int = 0

    def apply(self, stage: Stage) -> None:
        stage.append(self.lives, form=self.form, junk=self.junk, repeats=self.repeats)


class Tear(Action, frozen=True, kw_only=True):
    """A writer appends a part of a line, and the rest later."""

    life: Lifecycle = Lifecycle()
    share: float = 0.5
    rest_after: float = 1.0

    def apply(self, stage: Stage) -> None:
        stage.tear(self.life, share=self.share, rest_after=self.rest_after)


class Rotate(Action, frozen=True, kw_only=True):
    """A file is rotated: the queue file by `rename` or `copytruncate`, the events file by `events` or `events_copy`."""

    how: str = "rename"

    def apply(self, stage: Stage) -> None:
        stage.rotate(self.how)


class Submit(Action, frozen=True, kw_only=True):
    """A client submits assets over HTTP."""

    lives: tuple[Lifecycle, ...] = ()
    repeats: int = 0

    def apply(self, stage: Stage) -> None:
        stage.submit(self.lives, repeats=self.repeats)


class Upload(Action, frozen=True, kw_only=True):
    """Somebody uploads to the account."""

    lives: tuple[Lifecycle, ...] = ()

    def apply(self, stage: Stage) -> None:
        stage.upload(self.lives)


class Delete(Action, frozen=True, kw_only=True):
    """Somebody deletes an asset."""

    number: int = 0

    def apply(self, stage: Stage) -> None:
        stage.delete(self.number)


class Begin(Action, frozen=True, kw_only=True):
    """A fault begins."""

    fault: object
    lasts: float = 10.0

    def apply(self, stage: Stage) -> None:
        stage.begin(self.fault, lasts=self.lasts)


class SetClock(Action, frozen=True, kw_only=True):
    """The wall clock is set."""

    by: float = 60.0

    def apply(self, stage: Stage) -> None:
        stage.set_clock(self.by)


class Drift(Action, frozen=True, kw_only=True):
    """The wall clock begins to run too fast, or too slow."""

    share: float = 0.001

    def apply(self, stage: Stage) -> None:
        stage.drift(self.share)


class Reload(Action, frozen=True, kw_only=True):
    """The operator sends SIGHUP, perhaps after replacing the key."""

    replaces_key: bool = False

    def apply(self, stage: Stage) -> None:
        if self.replaces_key:
            stage.replace_key()
        stage.signal(signal.SIGHUP)


class StopWorker(Action, frozen=True, kw_only=True):
    """The operator stops the worker, and it starts again."""

    down: float = 1.0

    def apply(self, stage: Stage) -> None:
        stage.stop(down=self.down)


class Kill(Action, frozen=True, kw_only=True):
    """The worker is killed between two awaits, or within a call."""

    steps: int = 0
    calls: int | None = None
    """After how many calls on the queue file and the events files it dies, in the next one: a write is then partly
    done. None: it dies after so many `steps`."""
    down: float = 1.0
    power: bool = False

    def apply(self, stage: Stage) -> None:
        stage.kill(steps=self.steps, calls=self.calls, down=self.down, power=self.power)


class Pause(Action, frozen=True, kw_only=True):
    """Nothing happens but that time passes."""

    def apply(self, stage: Stage) -> None:
        """Nothing."""


def draw_life(random: Random) -> Lifecycle:
    """Draw how an asset changes: mostly it is ready soon, and so are its renditions."""
    ends_after = round(min(150.0, random.lognormvariate(2.0, 1.2)), 3)
    ends_in = random.choices(("ready", "failed", "archived"), (90, 8, 2))[0]
    return Lifecycle(
        ends_after=math.inf if random.random() < 0.04 else ends_after,
        ends_in=ends_in,
        visible_after=random.choices((0.0, round(random.uniform(0, 20), 3), math.inf), (80, 16, 4))[0],
        hls=_draw_rendition(random),
        thumbnail=_draw_rendition(random),
    )


def _draw_rendition(random: Random) -> Rendition | None:
    if random.random() < 0.35:
        return None
    ends_after = round(min(80.0, random.lognormvariate(1.0, 1.4)), 3)
    return Rendition(
        ends_after=math.inf if random.random() < 0.05 else ends_after,
        ends_in="error" if random.random() < 0.08 else "ready",
        starts_after=round(random.uniform(0, ends_after), 3),
    )
