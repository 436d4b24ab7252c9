"""A writer that never waits for its reader: it writes in a thread of its own.

A terminal that nobody reads (Ctrl-S, a stuck `docker attach`), a full pipe and a file on a network file system that
hangs all block a write, for as long as they like. Making the descriptor non-blocking is no way out: the shell and other
processes share it. So a thread writes, and what it can't write in time is dropped and counted.
"""

from __future__ import annotations

import select
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from asset_worker.runtime.footer import Row
from asset_worker.runtime.line_stream import LineStream
from asset_worker.runtime.threads import leave_stop_signals_to_main_thread

QUEUE_BYTES: Final = 384 << 10
"""Bytes that wait for the reader at most: over a thousand log lines."""
PIECE_BYTES: Final = select.PIPE_BUF
"""Bytes written at once, unless one line is longer. A pipe takes so many in one piece, also between the lines of other
processes (POSIX, `write`)."""
YIELD_SECONDS: Final = 0.001
"""A writer whose queue is full gives the thread this long, once: perhaps it only waits for the processor."""
STALL_SECONDS: Final = 1.0
"""A reader that takes nothing for this long has stopped reading."""
DRAIN_SECONDS: Final = 10.0
"""The longest wait at the end of the process for a reader that is slow."""


class BackgroundWriter:
    """Writes text to a stream in a thread, in order. A call of `write` never waits for the reader."""

    def __init__(self, stream: LineStream, *, queue_bytes: int = QUEUE_BYTES) -> None:
        self._stream = stream
        self._queue_bytes = queue_bytes
        self.report_dropped: Callable[[int], None] | None = None
        """Called in the thread, once the reader reads again, with the number of writes dropped since the last call."""
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._held = 0  # bytes, those that are being written included
        self._is_full = False  # from the first write that is dropped until half of the queue is written
        self._dropped = 0
        self._wanted_rows = self._drawn_rows = 0  # how often rows were to be shown, and the last time that they were
        self._progress_at = time.monotonic()
        threading.Thread(target=self._run, name="stderr", daemon=True).start()

    @property
    def is_behind(self) -> bool:
        """Whether the stream has not taken everything yet."""
        return self._held > 0 or self._drawn_rows != self._wanted_rows

    def show_below(self, rows: Sequence[Row]) -> None:
        """Show these rows below everything that is written to the terminal, in place of those shown so far."""
        with self._changed:
            if not self.is_behind:
                self._progress_at = time.monotonic()
            self._stream.footer.wanted = rows
            self._wanted_rows += 1
            self._changed.notify_all()

    def forget_rows(self) -> None:
        """Leave the rows that are shown where they are. It waits for nothing, so a signal handler may call it."""
        self._stream.footer.forget()

    def write(self, data: bytes) -> None:
        """Write `data`, which should be whole lines; if the queue is full, drop it and count it."""
        if not self._has_room(data) and not self._is_full:
            time.sleep(YIELD_SECONDS)
        with self._changed:
            if self._is_full or not self._has_room(data):
                self._is_full = True
                self._dropped += 1
                return
            if not self._held:
                self._progress_at = time.monotonic()
            self._waiting.append(data)
            self._held += len(data)
            self._changed.notify_all()

    def drain(self, *, stall: float = STALL_SECONDS, longest: float = DRAIN_SECONDS) -> None:
        """Wait until all is written, nothing was taken for `stall` seconds, or `longest` seconds are over."""
        ends = time.monotonic() + longest
        with self._changed:
            while self.is_behind and (left := min(ends, self._progress_at + stall) - time.monotonic()) > 0:
                self._changed.wait(left)

    def _has_room(self, data: bytes) -> bool:
        return not self._held or self._held + len(data) <= self._queue_bytes

    def _run(self) -> None:
        leave_stop_signals_to_main_thread()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self.is_behind)
                piece, rows = self._next_piece() if self._waiting else [], self._wanted_rows
            try:
                written = self._stream.write(piece)
            except OSError:  # closed, or a full disk: there is nowhere to report it until a later write succeeds
                written = 0
            if dropped := self._finish(piece, written, rows):
                assert self.report_dropped is not None
                self.report_dropped(dropped)

    def _next_piece(self) -> list[bytes]:
        piece = [self._waiting.popleft()]
        size = len(piece[0])
        while self._waiting and size + len(self._waiting[0]) <= PIECE_BYTES:
            piece.append(self._waiting.popleft())
            size += len(piece[-1])
        return piece

    def _finish(self, piece: list[bytes], written: int, rows: int) -> int:
        """Return the number of dropped writes to report now."""
        with self._changed:
            self._drawn_rows = rows
            self._held -= sum(map(len, piece))
            self._progress_at = time.monotonic()
            self._dropped += len(piece) - written
            if self._held <= self._queue_bytes // 2:
                self._is_full = False
            self._changed.notify_all()
            if self._is_full or not written or self.report_dropped is None:
                return 0
            dropped, self._dropped = self._dropped, 0
            return dropped
