"""The mark of the clocks in a journal: where steady time goes on."""

from __future__ import annotations

import sqlite3

from asset_worker.runtime.steady_time import Mark, Reading


def read_clock_mark(connection: sqlite3.Connection) -> Mark | None:
    """Return the mark of the clock in a journal that is open; None: there has been none."""
    row = connection.execute("SELECT steady, boot, elapsed, wall FROM clock").fetchone()
    if row is None:
        return None
    steady, boot, elapsed, wall = row
    return Mark(steady, Reading(boot, elapsed, wall))
