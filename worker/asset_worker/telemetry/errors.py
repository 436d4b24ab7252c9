"""The errors that telemetry raises, in a module of their own: who catches them need not import the HTTP server."""

from __future__ import annotations


class AdminAddressError(Exception):
    """The admin endpoints can't be served at their address. The message says what to do."""


class AdminAddressInUseError(AdminAddressError):
    """Another process listens there, or the machine has no resources left for it now."""
