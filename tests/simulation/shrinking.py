"""Makes a history that breaks a promise as short as it can: actions are removed, and what is in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from tests.simulation.actions import Action, Append, Begin, Kill, Submit, Tear, Upload
from tests.simulation.history import History
from tests.simulation.setup import Setup

MOST_TRIES = 400


def shrink(history: History, breaks: Callable[[History], bool], *, tries: int = MOST_TRIES) -> History:
    """Return the shortest history found that still `breaks`, after so many tries at most."""
    is_shorter = True
    while is_shorter and tries > 0:
        is_shorter = False
        for shorter in _shorter(history):
            if tries <= 0:
                break
            tries -= 1
            if breaks(shorter):
                history, is_shorter = shorter, True
                break
    return history


def _shorter(history: History) -> Iterator[History]:
    """Yield histories with less in them, those with much less first."""
    count = len(history.actions)
    size = count // 2
    while size:
        for begin in range(0, count, size):
            yield _with(history, history.actions[:begin] + history.actions[begin + size :])
        size //= 2
    for name, default in zip(Setup.__struct_fields__, Setup.__struct_defaults__, strict=True):
        if getattr(history.setup, name) != default:
            yield msgspec.structs.replace(history, setup=msgspec.structs.replace(history.setup, **{name: default}))
    for place, action in enumerate(history.actions):
        for simpler in _simpler(action):
            yield _with(history, (*history.actions[:place], simpler, *history.actions[place + 1 :]))


def _with(history: History, actions: tuple[Action, ...]) -> History:
    return msgspec.structs.replace(history, actions=actions)


def _simpler(action: Action) -> Iterator[Action]:
    """Yield actions with less in them."""
    change = msgspec.structs.replace
    if isinstance(action, Append | Submit | Upload) and len(action.lives) > 1:
        half = len(action.lives) // 2
        yield change(action, lives=action.lives[:half])
        yield change(action, lives=action.lives[half:])
    if isinstance(action, Append) and action.junk:
        yield change(action, junk=())
    if isinstance(action, Append | Submit) and action.repeats:
        yield change(action, repeats=0)
    if isinstance(action, Kill) and action.power:
        yield change(action, power=False)
    if isinstance(action, Tear | Begin | Kill | Append) and action.after != round(action.after):
        yield change(action, after=float(round(action.after)))
