"""The errors that telemetry raises, in a module of their own: who catches them need not import the HTTP server."""

from __future__ import annotations


class AdminAddressError(Exception):
    """The admin endpoints can't be served at their address. The message says what to do."""


class AdminAddressInUseError(AdminAddressError):
    """Another process listens there, or the machine has no resources left for it now."""


class TokenFileError(Exception):
    """`admin.token_file` can't be used. The message says what to do, and holds no part of a token."""


class TokenNotThereError(TokenFileError):
    """The file does not exist yet, or is still empty, or can't be read now."""
