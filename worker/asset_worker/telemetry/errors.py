"""The error that telemetry raises, in a module of its own: who catches it need not import the HTTP server."""

from __future__ import annotations


class AdminAddressError(Exception):
    """The admin endpoints can't be served at their address. The message says what to do."""
