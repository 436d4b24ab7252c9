"""What must never be shown: the keys, wherever their texts turn up.

A key comes back in what a server echoes, and goes out in what somebody has put into the queue file by mistake. So it is
masked in all that comes from either before it is told on, and in every line of the log.
"""

from __future__ import annotations

import re
from typing import Any, Final

REDACTED: Final = "********"
SHORT: Final = 12
"""A text shorter than this (a key for tests) is masked only where it stands alone, or it would eat into other words."""
SHORTEST_KEY: Final = 8
"""In other people's data a text shorter than this (`any`, `test`) is taken for a word: no key that guards anything is
so short."""


class Secrets:
    """Texts that must never be shown."""

    def __init__(self) -> None:
        self._secrets: list[str] = []
        self._in_texts: re.Pattern[str] | None = None
        self._in_data: re.Pattern[str] | None = None
        self._in_bytes: re.Pattern[bytes] | None = None

    def add(self, secret: str) -> None:
        if not secret or secret in self._secrets:
            return
        self._secrets.append(secret)
        self._secrets.sort(key=len, reverse=True)  # a secret that holds another is masked whole
        self._in_texts = re.compile("|".join(map(_pattern, self._secrets)))
        if keys := "|".join(_pattern(secret) for secret in self._secrets if len(secret) >= SHORTEST_KEY):
            self._in_data, self._in_bytes = re.compile(keys), re.compile(keys.encode())

    def __contains__(self, text: str) -> bool:
        """Whether the whole text is a key."""
        return text in self._secrets and len(text) >= SHORTEST_KEY

    def redact_text(self, text: str) -> str:
        """A text of our own, with every secret in it masked."""
        return text if self._in_texts is None else self._in_texts.sub(REDACTED, text)

    def redact(self, data: Any) -> Any:
        """Other people's data, with every key in it masked: a text, bytes, or decoded JSON."""
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
