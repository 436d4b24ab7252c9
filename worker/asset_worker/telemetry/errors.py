"""The error that telemetry raises, in a module that imports no HTTP server."""

from __future__ import annotations


class AdminAddressError(Exception):
    """The admin endpoints can't be served at their address. The text says what to do."""
