"""What a worker connects to, as libpq reads it: a URL or a string of keywords, and the passwords in it.

libpq's own messages quote what it could not read, which may be a part of a password. So nothing reaches it that it
would misread, and its message about the text itself is not shown.
"""

from __future__ import annotations

from typing import Final

import psycopg
from psycopg.conninfo import conninfo_to_dict

from asset_worker.queue.postgres.errors import DatabaseError

_SCHEMES: Final = ("postgresql://", "postgres://")
_PASSWORDS: Final = ("password", "sslpassword", "oauth_client_secret")
"""The keywords whose values are secrets.
<https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS>"""
_LARGEST_PORT: Final = 65535


def passwords_in(address: str) -> list[str]:
    """Return the passwords in an address, decoded.

    Raises:
        DatabaseError: libpq can't read the address, or would take a part of a password for something else.
    """
    if _is_misread(address):
        raise DatabaseError(
            "the URL of the database has an @ too many: percent-encode those of the password (%40), and its / (%2F), "
            ": (%3A), ? (%3F) and % (%25)"
        )
    try:
        found = conninfo_to_dict(address)
    except psycopg.Error:
        raise DatabaseError(
            "what the database's URL says can't be read: write postgresql://USER@HOST/DATABASE, or keywords as in "
            "host=HOST dbname=DATABASE, and percent-encode a password in a URL"
        ) from None
    ports = str(found.get("port", "")).split(",")
    if not all(not port or (port.isdecimal() and 0 < int(port) <= _LARGEST_PORT) for port in ports):
        raise DatabaseError("the database's URL names a port that is no number from 1 to 65535")
    return [str(found[keyword]) for keyword in _PASSWORDS if found.get(keyword)]


def _is_misread(address: str) -> bool:
    """Return whether a URL has an @ where libpq does not take it for the end of a password."""
    scheme = next((each for each in _SCHEMES if address.startswith(each)), None)
    if scheme is None:
        return False
    text = address.removeprefix(scheme)
    user, at, rest = text.partition("@")
    has_user = bool(at) and "/" not in user
    return "@" in (rest if has_user else text).partition("?")[0]
