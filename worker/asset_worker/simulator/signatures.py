"""Signatures of webhooks, as the Standard Webhooks specification defines them, verified by the receiver.

The worker signs with code of its own: that both agree is worth something only because neither uses the other's.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from typing import Final

PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 24
"""The length of a new secret; the specification asks for 24 to 64 bytes."""
TOLERANCE: Final = 300
"""Seconds by which a timestamp may differ from now: an older request may be one that somebody has recorded."""

_TIMESTAMP = re.compile(r"[0-9]{1,12}")


def secret_text(secret: bytes) -> str:
    """Return a secret as it is written in a file."""
    return PREFIX + base64.b64encode(secret).decode()


def secrets_of(text: str) -> tuple[bytes, ...]:
    """Return the secrets in a text, one a line; blank lines and those that begin with # are skipped.

    Raises:
        ValueError: a line is not a secret, or there is none. The message holds no part of the text.
    """
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        written = line.strip()
        if not written or written.startswith("#"):
            continue
        body = written.removeprefix(PREFIX)
        try:
            secret = base64.b64decode(body + "=" * (-len(body) % 4), validate=True)
        except (binascii.Error, ValueError):
            secret = b""
        if not secret or body == written:
            raise ValueError(f"line {number} is not a secret: write {PREFIX} and 24 random bytes in base64")
        found.append(secret)
    if not found:
        raise ValueError(f"there is no secret: write {PREFIX} and 24 random bytes in base64")
    return tuple(found)


def signature(secret: bytes, identity: str, timestamp: str, body: bytes) -> str:
    """Return the signature of a request, without its version."""
    signed = f"{identity}.{timestamp}.".encode(errors="surrogateescape") + body
    return base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()


def find_problem(headers: Mapping[str, str], body: bytes, secrets: Sequence[bytes], *, now: float) -> str | None:
    """Return why a request is not taken for a genuine one; None: it is. `now` is in seconds since the epoch, UTC.

    `webhook-signature` may hold several signatures, and there may be several secrets: one that matches is enough.
    """
    identity, timestamp, given = (headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature"))
    if not (identity and timestamp and given):
        return "webhook-id, webhook-timestamp or webhook-signature is missing"
    if not _TIMESTAMP.fullmatch(timestamp) or abs(now - int(timestamp)) > TOLERANCE:
        return f"webhook-timestamp is not within {TOLERANCE} s of now"
    sent = [each.removeprefix("v1,") for each in given.split(" ") if each.startswith("v1,")]
    for secret in secrets:
        expected = signature(secret, identity, timestamp, body)
        if any(hmac.compare_digest(each.encode(errors="surrogateescape"), expected.encode()) for each in sent):
            return None
    return "no signature matches"
