"""Decides what an answer means for the delivery of an event. Pure functions.

The rules are those of the Standard Webhooks specification: a 2xx is a delivery, 410 asks for no more requests, all else
is a failure that is tried again.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Final

import msgspec

from asset_worker.runtime.http_fields import parse_http_date, retry_after
from asset_worker.runtime.text import clip, visible
from asset_worker.sinks.ports import Attempt, Delivered, Failed, Gone

EXCERPT_CHARACTERS: Final = 200
"""Characters of an answer's body that a reason shows."""
ECHO_CHARACTERS: Final = 32
"""An answer that has so many characters in a row of the request's body repeats the event, and is not shown."""
LONGEST_RETRY_AFTER_SECONDS: Final = 10 * 86_400.0
"""Longer waits are cut to this. The retry plan cuts them further, to its longest step."""
LONGEST_FIELD: Final = 256
"""Characters of a header that are parsed at most."""


class Answer(msgspec.Struct, frozen=True):
    """The part of an answer that decides, or that people are shown."""

    status: int
    retry_after: str = ""
    """The value of `Retry-After`; empty: there is none."""
    date: str = ""
    """The value of `Date`; empty: there is none."""
    body: bytes = b""
    """The beginning of the body; empty if it is compressed."""


def attempt_of(answer: Answer, *, now: float, sent: bytes, redact: Callable[[str], str]) -> Attempt:
    """Return what an answer means.

    Args:
        answer: the answer.
        now: the time, in seconds since the epoch, UTC.
        sent: the body of the request, which an answer may repeat.
        redact: removes secrets from a text.
    """
    if 200 <= answer.status < 300:
        return Delivered()
    reason = _reason(answer, sent, redact)
    return Gone(reason) if answer.status == HTTPStatus.GONE else Failed(reason, _retry_after(answer, now))


def _retry_after(answer: Answer, now: float) -> float | None:
    """Return the wait in seconds. A date is compared with the server's own clock, if the answer shows it."""
    made_at = parse_http_date(answer.date[:LONGEST_FIELD])
    text = answer.retry_after[:LONGEST_FIELD]
    return retry_after(text, now if made_at is None else made_at, longest=LONGEST_RETRY_AFTER_SECONDS)


def _reason(answer: Answer, sent: bytes, redact: Callable[[str], str]) -> str:
    status = f"HTTP {answer.status}"
    if 300 <= answer.status < 400:
        return f"{status}: redirects are not followed: give the URL that it leads to"
    shown = _excerpt(answer.body, sent, redact) or _phrase(answer.status)
    return f"{status}: {shown}" if shown else status


def _excerpt(body: bytes, sent: bytes, redact: Callable[[str], str]) -> str:
    """Return the beginning of a body on one line, without secrets; empty if it repeats the request."""
    text = " ".join(redact(body.decode(errors="replace")).split())
    excerpt = clip(visible(text), EXCERPT_CHARACTERS)
    return "" if _repeats(excerpt, sent) else excerpt


def _repeats(excerpt: str, sent: bytes) -> bool:
    """Return whether an excerpt has a part of what was sent, perhaps within a string of JSON."""
    original = " ".join(sent.decode(errors="replace").split())
    plain, original = (text.replace("\\", "") for text in (excerpt, original))
    return any(plain[at : at + ECHO_CHARACTERS] in original for at in range(len(plain) - ECHO_CHARACTERS + 1))


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
