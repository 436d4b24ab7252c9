"""How a run shows itself: a value that the commands make of their options."""

from __future__ import annotations

import msgspec


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """How a run shows itself on standard output and standard error."""

    json: bool = False
    """Events are JSON also on a terminal."""
    quiet: bool = False
    """Standard error has errors only: no progress."""
    plain: bool = False
    """Progress is plain lines, and nothing has colours: for a screen reader, or a terminal that only adds lines."""


USUAL = Form()
"""What the streams suggest: for people on a terminal, for programs anywhere else."""
