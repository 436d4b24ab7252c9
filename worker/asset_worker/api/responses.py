"""What an answer means: to the client, to the breaker and to the limiter. Every rule about a status is here.

`RULES` gives the meaning of an answer, by its status, the vendor's error code, and whether a list was asked for.
`VERDICTS` gives what each error says about the API as a whole. `limits` decides how long a 429 pauses the process. The
codes are those of the page "Error codes" in the vendor's API reference.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Container, Mapping
from enum import Enum
from functools import lru_cache
from http import HTTPStatus
from types import NoneType
from typing import Final, assert_never

import msgspec

from asset_worker.api.errors import (
    ApiError,
    BadIdError,
    EdgeRefusedError,
    KeyRefusedError,
    ListRefusedError,
    NotFoundError,
    RateLimitedError,
    TransientError,
    UncertainNotFoundError,
)
from asset_worker.api.limits.rate_limit_headers import RateLimitReport

LONGEST_TEXT: Final = 300
"""Characters of an answer's message that an error shows at most."""


class Verdict(Enum):
    """What an attempt says about the API as a whole."""

    SUCCEEDED = "succeeded"
    """The API works, even if the request was wrong."""
    FAILED = "failed"
    """The API, or something on the way to it, is down."""
    RATE_LIMITED = "rate_limited"
    """The API works, and the quota is used up. Whether it accepts the key is not known."""
    KEY_REFUSED = "key_refused"
    """The API itself refuses the request: it accepts none with this key, or the asset is another account's."""
    LOST = "lost"
    """Nothing: the attempt was cancelled."""


VERDICTS: Final[Mapping[type, Verdict]] = {
    NoneType: Verdict.SUCCEEDED,
    ApiError: Verdict.SUCCEEDED,
    TransientError: Verdict.FAILED,
    RateLimitedError: Verdict.RATE_LIMITED,
    KeyRefusedError: Verdict.KEY_REFUSED,
}
"""The verdicts, by the class of the error that an attempt ended with, or its nearest base class; `NoneType`: none."""


class Wait(Enum):
    """Which wait in an answer's headers applies to a retry of its request."""

    NONE = "none"
    RETRY_AFTER = "retry_after"
    """`Retry-After`."""
    RETRY_AFTER_OR_RESET = "retry_after_or_reset"
    """`Retry-After`, else the time until the reset of the quotas that are used up."""


class Meaning(msgspec.Struct, frozen=True):
    """What an answer means."""

    error: type[ApiError] | None
    """The error that its request ends with; None: it ends with the asset or the list that was asked for."""
    hint: str = ""
    """What to check, for people."""
    by_status: bool = False
    """Whether the status alone gives the verdict, so that it holds even if the body is never read."""
    wait: Wait = Wait.NONE
    lists_all_quotas: bool = True
    """Whether a quota that is not in its headers no longer exists. A refusal, a failing server or a gateway may leave
    some out."""

    @property
    def verdict(self) -> Verdict:
        """What the answer says about the API as a whole."""
        return _verdict_by_error(self.error or NoneType)

    def retry_after(self, report: RateLimitReport) -> float | None:
        """Return the seconds to wait before a retry that the answer asks for; None: it asks for no wait."""
        match self.wait:
            case Wait.NONE:
                return None
            case Wait.RETRY_AFTER:
                return report.retry_after
            case Wait.RETRY_AFTER_OR_RESET:
                return report.requested_wait
            case _:
                assert_never(self.wait)


class Rule(msgspec.Struct, frozen=True):
    """One row of `RULES`: what some answers mean, if a retrieve or a list was asked for."""

    statuses: Container[int]
    code: re.Pattern[str] | None
    """The pattern to find in the vendor's error code; None: any code matches, and no code as well."""
    for_retrieve: Meaning
    for_list: Meaning

    def matches(self, status: int, code: str | None) -> bool:
        """Return whether the rule applies to answers with this status and code."""
        return status in self.statuses and (self.code is None or (code is not None and bool(self.code.search(code))))


_CHECK_URL: Final = "check api.base_url"
_WHO_REFUSES: Final = "without the API's code: is it a proxy, a login page, or the key?"
_NOT_ABOUT_ASSET: Final = f"no word about the asset: {_CHECK_URL}"
_REDIRECT: Final = f"a redirect, which is not followed with the key: {_CHECK_URL}"

_SUCCESS: Final = Meaning(None)
# Neither of the two depends on the status alone, so that what counts of their headers must be the same.
_KEY_REFUSED: Final = Meaning(KeyRefusedError, lists_all_quotas=False)
_EDGE_REFUSED: Final = Meaning(EdgeRefusedError, _WHO_REFUSES, lists_all_quotas=False)
_RATE_LIMITED: Final = Meaning(RateLimitedError, by_status=True, wait=Wait.RETRY_AFTER_OR_RESET, lists_all_quotas=False)
_NOT_FOUND: Final = Meaning(NotFoundError)
_UNCERTAIN: Final = Meaning(UncertainNotFoundError, _NOT_ABOUT_ASSET)
_BAD_ID: Final = Meaning(BadIdError)
_NO_LIST: Final = Meaning(ListRefusedError)
_TRANSIENT: Final = Meaning(TransientError)
_TIMED_OUT: Final = Meaning(TransientError, by_status=True)
_UNAVAILABLE: Final = Meaning(TransientError, by_status=True, wait=Wait.RETRY_AFTER, lists_all_quotas=False)
_SERVER_ERROR: Final = Meaning(TransientError, by_status=True, lists_all_quotas=False)

_VENDORS_CODE: Final = re.compile(r"\A[a-z][a-z0-9_.-]*\Z", re.IGNORECASE)
"""The form of the API's own codes, also of those to come: a word such as `api_key_invalid`, and never a number."""
_ABOUT_A_RESOURCE: Final = re.compile("resource|asset", re.IGNORECASE)
"""The code of a 404 or 410 when there is no such asset: `resource_not_exist` today."""
_BAD_PARAMETER: Final = re.compile(r"\Aparameter_invalid\Z")

RULES: Final = (
    # The first rule that matches applies.
    # 203: a proxy has changed the answer on its way (RFC 9110, section 15.3.4), by compression for example.
    Rule((200, 203), None, _SUCCESS, _SUCCESS),
    # The API's own refusals have a code. Without it, a 401 or 403 is the page of something on the way.
    Rule((401, 403), _VENDORS_CODE, _KEY_REFUSED, _KEY_REFUSED),
    Rule((401, 403), None, _EDGE_REFUSED, _EDGE_REFUSED),
    Rule((429,), None, _RATE_LIMITED, _RATE_LIMITED),
    # A gateway's 400 or 404 says nothing about an asset: those of the API have a code. Nor does a 404 about the path,
    # which means that api.base_url is wrong.
    Rule((404, 410), _ABOUT_A_RESOURCE, _NOT_FOUND, _NO_LIST),
    Rule((404, 410), _VENDORS_CODE, _UNCERTAIN, Meaning(ListRefusedError, _NOT_ABOUT_ASSET)),
    Rule((404, 410), None, _UNCERTAIN, Meaning(TransientError, _NOT_ABOUT_ASSET)),
    Rule((400,), _BAD_PARAMETER, _BAD_ID, _NO_LIST),
    Rule((408,), None, _TIMED_OUT, _TIMED_OUT),
    # The API refuses lists. A gateway that refuses one may refuse everything: that says nothing about lists.
    Rule(range(400, 500), _VENDORS_CODE, _TRANSIENT, _NO_LIST),
    Rule((301, 302, 303, 307, 308), None, Meaning(TransientError, _REDIRECT), Meaning(TransientError, _REDIRECT)),
    Rule((503,), None, _UNAVAILABLE, _UNAVAILABLE),
    Rule(range(500, sys.maxsize), None, _SERVER_ERROR, _SERVER_ERROR),
    Rule(range(sys.maxsize), None, _TRANSIENT, _TRANSIENT),
)


@lru_cache(maxsize=32)  # called three times for each answer, nearly always with the same arguments
def meaning_of(status: int, code: str | None = None, *, is_list: bool = False) -> Meaning:
    """Return what an answer means. `code` is the vendor's error code, if it has one; `is_list`: a list was asked for.

    `by_status`, `wait` and `lists_all_quotas` don't depend on the code, so they are known before the body has come.
    """
    rule = next(rule for rule in RULES if rule.matches(status, code))
    return rule.for_list if is_list else rule.for_retrieve


def is_success(status: int) -> bool:
    """Return whether an answer with this status holds the asset or the list that was asked for."""
    return meaning_of(status).error is None


def error_of(status: int, code: str | None, message: str, *, is_list: bool, retry_after: float | None) -> ApiError:
    """Return the error for an answer that is no success. `message` is the server's, for people, without secrets.

    `retry_after` is the wait that the answer asks for, in seconds; None: it asks for none.
    """
    meaning = meaning_of(status, code, is_list=is_list)
    text = f"{status} {message or _phrase(status)}".strip()[:LONGEST_TEXT]
    if meaning.hint:
        text = f"{text}: {meaning.hint}"
    kind = meaning.error or TransientError
    return kind(text, retry_after) if issubclass(kind, TransientError) else kind(text)


def verdict_of(status: int | None, error: BaseException | None) -> Verdict:
    """Return what an attempt that ended with this error says about the API; None: it ended without an error.

    `status` is that of its answer; None: the head of an answer never came.
    """
    if status is None:
        return Verdict.FAILED if isinstance(error, TransientError) else Verdict.LOST
    meaning = meaning_of(status)
    return meaning.verdict if meaning.by_status else _verdict_by_error(type(error))


def _verdict_by_error(kind: type) -> Verdict:
    return next((VERDICTS[base] for base in kind.__mro__ if base in VERDICTS), Verdict.LOST)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
