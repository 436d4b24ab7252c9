"""Turns SIGTERM and SIGINT into stops."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from asset_worker.runtime.stop import Stop

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stopping_on_signals(
    stop: Stop, forced_stop: Stop, *, before_end: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Set both stops at the first signal, with its name as the reason, while the context lasts.

    A signal that comes after `forced_stop` is set ends the process at once, with exit code 128 + its number; only
    `before_end` is called first.
    """
    loop = asyncio.get_running_loop()

    def on_signal(number: signal.Signals) -> None:
        if forced_stop.is_set():
            before_end()
            os._exit(128 + number)
        forced_stop.set(number.name)
        stop.set(number.name)

    for number in SIGNALS:
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)
