"""Redaction: replaces the API key with asterisks wherever it appears.

A server may echo the key, and somebody may put it into the queue file by mistake. So the key is redacted in everything
that comes from the API or from an intake before it is passed on, and in every line of the log.
"""

from __future__ import annotations

import re
from typing import Any, Final

REDACTED: Final = "********"
SHORT: Final = 12
"""Characters. A shorter secret (a key for tests) is redacted only as a whole word, not as a part of other words."""
SHORTEST_KEY: Final = 8
"""Characters. In data from outside, a shorter secret (`any`, `test`) is taken for an ordinary word and is not redacted:
no real key is that short."""


class Secrets:
    """The secrets of this process, and the functions that redact them."""

    def __init__(self) -> None:
        self._secrets: list[str] = []
        self._in_texts: re.Pattern[str] | None = None
        self._in_data: re.Pattern[str] | None = None
        self._in_bytes: re.Pattern[bytes] | None = None

    def add(self, secret: str) -> None:
        """Redact `secret` from now on. An empty text is ignored."""
        if not secret or secret in self._secrets:
            return
        self._secrets.append(secret)
        self._secrets.sort(key=len, reverse=True)  # the longer first: a secret that contains another is redacted whole
        self._in_texts = re.compile("|".join(map(_pattern, self._secrets)))
        if keys := "|".join(_pattern(secret) for secret in self._secrets if len(secret) >= SHORTEST_KEY):
            self._in_data, self._in_bytes = re.compile(keys), re.compile(keys.encode())

    def __contains__(self, text: str) -> bool:
        """Return whether `text` is exactly one of the secrets, and has at least `SHORTEST_KEY` characters."""
        return text in self._secrets and len(text) >= SHORTEST_KEY

    def redact_text(self, text: str) -> str:
        """Return a text of this program with every secret redacted."""
        return text if self._in_texts is None else self._in_texts.sub(REDACTED, text)

    def redact(self, data: Any) -> Any:
        """Return data from outside with every secret redacted that has at least `SHORTEST_KEY` characters.

        `data` is text, bytes or decoded JSON.
        """
        if self._in_data is None or self._in_bytes is None:
            return data
        match data:
            case str():
                return self._in_data.sub(REDACTED, data)
            case bytes():
                return self._in_bytes.sub(REDACTED.encode(), data)
            case list():
                return [self.redact(inner) for inner in data]
            case dict():
                return {self.redact(name): self.redact(inner) for name, inner in data.items()}
            case _:
                return data


def _pattern(secret: str) -> str:
    text = re.escape(secret)
    return text if len(secret) >= SHORT else rf"(?<![A-Za-z0-9_-]){text}(?![A-Za-z0-9_-])"
