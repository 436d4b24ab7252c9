"""Why a fleet's database can't be used. These need no driver: commands that use no database know them, too."""

from __future__ import annotations


class DatabaseError(Exception):
    """The database can't be used as it is. The message says what to do."""


class DatabaseUnavailableError(DatabaseError):
    """The database can't be used now: it is away, or another worker has the name."""
