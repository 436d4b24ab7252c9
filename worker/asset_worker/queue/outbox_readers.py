"""Readers of the outbox that are no sinks, such as the export of traces: pure.

A reader has a durable position, like an ordered sink, and events are kept until it has passed them. But nobody waits
for it: what it lacks counts in no depth, holds up no input and no end of a run, and is not shown. It is moved on when
it is too far behind. Nothing is kept for one that is absent from a run.
"""

from __future__ import annotations

from typing import Final

TRACES: Final = " traces"
"""The export of traces. The outbox keeps the positions of sinks and readers in one table: no sink's name begins with a
blank."""


def is_reader(name: str) -> bool:
    """Return whether a name in the outbox is that of a reader, and not of a sink."""
    return name.startswith(" ")
