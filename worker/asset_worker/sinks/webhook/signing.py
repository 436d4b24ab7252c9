"""Signs requests as the Standard Webhooks specification says (standardwebhooks.com, version 1). Pure functions.

The signature is over the event's ID, the time and the body: whoever knows a secret can check that a request is the
worker's, is unchanged and is recent.
"""

from __future__ import annotations

import binascii
import hmac
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

PREFIX: Final = "whsec_"
SHORTEST_SECRET: Final = 24
"""Bytes that the specification asks for at least."""
MOST_SECRETS: Final = 10
"""Secrets in one file at most: each makes the header of every request longer. A rotation needs two."""
HOW_TO_MAKE_ONE: Final = 'echo "whsec_$(openssl rand -base64 32)" makes one'


class BadSecretsError(ValueError):
    """A file holds no usable secrets. The message says why, and shows no part of the file."""


class Secret(msgspec.Struct, frozen=True):
    """A secret that receivers share."""

    text: str
    """As it is written: `whsec_` and base64."""
    key: bytes

    @property
    def is_short(self) -> bool:
        """Whether it has fewer bytes than the specification asks for."""
        return len(self.key) < SHORTEST_SECRET

    def __repr__(self) -> str:
        """Return a text without the secret."""
        return "Secret(…)"


def parse_secrets(text: str) -> tuple[Secret, ...]:
    """Return the secrets of a file, one a line. Blank lines and lines that begin with # are skipped.

    Raises:
        BadSecretsError: there is no secret, or a line is not one.
    """
    secrets = tuple(dict.fromkeys(_secrets(text)))
    if not secrets:
        raise BadSecretsError(f"it holds no secret: put one in, as a line whsec_… ({HOW_TO_MAKE_ONE})")
    if len(secrets) > MOST_SECRETS:
        raise BadSecretsError(f"it holds more than {MOST_SECRETS} secrets: leave out those that no receiver uses")
    return secrets


def _secrets(text: str) -> Iterator[Secret]:
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        written = line.strip()
        if not written or written.startswith("#"):
            continue
        digits = written.removeprefix(PREFIX)
        try:
            key = b64decode(digits + "=" * (-len(digits) % 4), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if not written.startswith(PREFIX) or not key:
            raise BadSecretsError(f"line {number} is not a secret: write it as whsec_ and base64 ({HOW_TO_MAKE_ONE})")
        yield Secret(written, key)


def signed_headers(event_id: str, timestamp: int, body: bytes, secrets: Sequence[Secret]) -> dict[str, str]:
    """Return the headers that identify and sign a request.

    Args:
        event_id: the same for each attempt of an event, so that a receiver can drop repeats.
        timestamp: the time of the attempt, in seconds since the epoch, UTC.
        body: the body as it is sent.
        secrets: each signs, in this order; none: there is no signature.
    """
    headers = {"webhook-id": event_id, "webhook-timestamp": str(timestamp)}
    if secrets:
        signed = b".".join((event_id.encode(), str(timestamp).encode(), body))
        headers["webhook-signature"] = " ".join(f"v1,{_signature(secret, signed)}" for secret in secrets)
    return headers


def _signature(secret: Secret, signed: bytes) -> str:
    return b64encode(hmac.digest(secret.key, signed, "sha256")).decode()
