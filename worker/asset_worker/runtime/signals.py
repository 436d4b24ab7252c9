"""What signals do while a run lasts: SIGTERM and SIGINT stop it, SIGHUP reloads the settings of a service."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from asset_worker.runtime.ending import SERVICE, SIGNAL_BASE, STOPPING, exit_at_once
from asset_worker.runtime.stop import Stop

REPEAT_SECONDS = 0.1
"""A stop signal that comes this soon after the first is the same one, sent twice. `timeout` sends it to the process and
to its group; after Ctrl-C, a shell or supervisor may pass on what the terminal has sent already. A person who means a
second signal takes longer."""
PASS_SECONDS = 0.01
"""The wait that follows: after a timer the loop also reads the signals that came while the process was not running."""


@contextmanager
def stopping_on_signals(
    stop: Stop,
    forced_stop: Stop,
    *,
    before_end: Callable[[], None] = lambda: None,
    end: Callable[[int], object] = exit_at_once,
) -> Iterator[None]:
    """Set both stops at the first SIGTERM or SIGINT, with its name as the reason, while the context lasts.

    One that comes after `forced_stop` is set calls `before_end`, and then `end` with 128 + its number; `end` must end
    the process at once. Within `REPEAT_SECONDS` of the first signal, another one changes nothing. After the context
    both signals are ignored: the run is over, and its exit code is decided.
    """
    loop = asyncio.get_running_loop()
    is_repeat = False

    def end_repeats() -> None:
        nonlocal is_repeat
        is_repeat = False

    def on_signal(number: signal.Signals) -> None:
        nonlocal is_repeat
        if is_repeat:
            return
        if forced_stop.is_set():
            before_end()
            end(SIGNAL_BASE + number)
        is_repeat = True
        loop.call_later(REPEAT_SECONDS, loop.call_later, PASS_SECONDS, end_repeats)
        forced_stop.set(number.name)
        stop.set(number.name)

    with _handling(dict.fromkeys(STOPPING, on_signal)):
        yield


@contextmanager
def reloading_on_signals(reload: Callable[[], None], ignored: Callable[[str], None]) -> Iterator[None]:
    """Call `reload` at SIGHUP, and `ignored` with the signal's name at SIGUSR1 and SIGUSR2, while the context lasts.

    A SIGHUP that was ignored when the process started, as by nohup, stays ignored. Signals that came since
    `hold_service_signals` are handled now. After the context all three are ignored: the run is over.
    """
    handlers: dict[signal.Signals, Callable[[signal.Signals], None]] = {
        signal.SIGUSR1: lambda number: ignored(number.name),
        signal.SIGUSR2: lambda number: ignored(number.name),
    }
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        handlers[signal.SIGHUP] = lambda _number: reload()
    with _handling(handlers):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SERVICE)
        yield


@contextmanager
def _handling(handlers: dict[signal.Signals, Callable[[signal.Signals], None]]) -> Iterator[None]:
    """Call these functions at these signals while the context lasts; after it, ignore the signals."""
    loop = asyncio.get_running_loop()
    with ExitStack() as stack:
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler, number)
            stack.callback(_ignore, number, loop)
        yield


def _ignore(number: signal.Signals, loop: asyncio.AbstractEventLoop) -> None:
    """Ignore a signal that the loop has handled so far.

    The loop restores the default in between, by which the signal ends the process. So it is held back for that moment;
    ignoring it drops one that came.
    """
    was_held = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    loop.remove_signal_handler(number)
    signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, was_held)
