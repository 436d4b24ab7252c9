"""Which addresses of the API become links on the page: a pure function."""

from __future__ import annotations

import re
from typing import Final

_HTTPS: Final = re.compile(
    r"https://[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[0-9]{1,5})?(?:[/?#][a-z0-9._~:/?#\[\]@!$&'()+,;=%-]*)?",
    re.IGNORECASE | re.ASCII,
)
"""RFC 3986 with the scheme https and a host, and without user-info, which would let one host look like another. An
asterisk is left out: it stands for a secret that was redacted, so the address leads nowhere."""


def safe_link(address: str) -> str | None:
    """Return the address if it may be a link; else None."""
    return address if _HTTPS.fullmatch(address) else None
