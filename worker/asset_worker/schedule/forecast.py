"""How long a wait still lasts, as far as waits like it show."""

from __future__ import annotations

import msgspec


class Forecast(msgspec.Struct, frozen=True):
    """The expected time left of one wait, in seconds from now."""

    p50: float
    """Half of such waits have ended by then."""
    p90: float
    """Nine in ten of them have."""
