"""What answers mean: one row for each rule."""

from __future__ import annotations

import asyncio

import pytest

from asset_worker.api.errors import (
    ApiError,
    BadIdError,
    EdgeRefusedError,
    KeyRefusedError,
    ListRefusedError,
    MalformedAnswerError,
    NotFoundError,
    RateLimitedError,
    TransientError,
    UncertainNotFoundError,
)
from asset_worker.api.limits.rate_limit_headers import RateLimitReport, ReportedQuota
from asset_worker.api.responses import LONGEST_TEXT, Verdict, error_of, is_success, meaning_of, verdict_of

SUCCEEDED, FAILED, RATE_LIMITED, KEY_REFUSED, LOST = (
    Verdict.SUCCEEDED,
    Verdict.FAILED,
    Verdict.RATE_LIMITED,
    Verdict.KEY_REFUSED,
    Verdict.LOST,
)
EDGE = "without the API's code: is it a proxy, a login page, or the key?"
NO_WORD = "no word about the asset: check api.base_url"
REDIRECT = "a redirect, which is not followed with the key: check api.base_url"
RETRY_AFTER = RateLimitReport((), 7.0)
SPENT = RateLimitReport((ReportedQuota("q", 10, 0, 30.0),))


@pytest.mark.parametrize(
    ("status", "code", "to_a_retrieve", "to_a_list", "hint"),
    [
        pytest.param(200, None, (None, SUCCEEDED), (None, SUCCEEDED), "", id="200"),
        pytest.param(203, None, (None, SUCCEEDED), (None, SUCCEEDED), "", id="203"),
        pytest.param(
            401, "api_key_invalid", (KeyRefusedError, KEY_REFUSED), (KeyRefusedError, KEY_REFUSED), "", id="401"
        ),
        pytest.param(
            403, "a_code_to_come", (KeyRefusedError, KEY_REFUSED), (KeyRefusedError, KEY_REFUSED), "", id="403"
        ),
        pytest.param(403, None, (EdgeRefusedError, FAILED), (EdgeRefusedError, FAILED), EDGE, id="403 edge"),
        pytest.param(401, "", (EdgeRefusedError, FAILED), (EdgeRefusedError, FAILED), EDGE, id="401 empty code"),
        pytest.param(403, "1020", (EdgeRefusedError, FAILED), (EdgeRefusedError, FAILED), EDGE, id="403 a number"),
        pytest.param(
            403, "Access denied", (EdgeRefusedError, FAILED), (EdgeRefusedError, FAILED), EDGE, id="403 a sentence"
        ),
        pytest.param(429, None, (RateLimitedError, RATE_LIMITED), (RateLimitedError, RATE_LIMITED), "", id="429"),
        pytest.param(
            404, "resource_not_exist", (NotFoundError, SUCCEEDED), (ListRefusedError, SUCCEEDED), "", id="404 resource"
        ),
        pytest.param(404, "Asset_gone", (NotFoundError, SUCCEEDED), (ListRefusedError, SUCCEEDED), "", id="404 asset"),
        pytest.param(
            404,
            "endpoint_not_exist",
            (UncertainNotFoundError, FAILED),
            (ListRefusedError, SUCCEEDED),
            NO_WORD,
            id="404 path",
        ),
        pytest.param(404, None, (UncertainNotFoundError, FAILED), (TransientError, FAILED), NO_WORD, id="404 gateway"),
        pytest.param(404, "", (UncertainNotFoundError, FAILED), (TransientError, FAILED), NO_WORD, id="404 empty code"),
        pytest.param(
            410, "resource_not_exist", (NotFoundError, SUCCEEDED), (ListRefusedError, SUCCEEDED), "", id="410 resource"
        ),
        pytest.param(410, None, (UncertainNotFoundError, FAILED), (TransientError, FAILED), NO_WORD, id="410 gateway"),
        pytest.param(
            410,
            "endpoint_not_exist",
            (UncertainNotFoundError, FAILED),
            (ListRefusedError, SUCCEEDED),
            NO_WORD,
            id="410 path",
        ),
        pytest.param(
            400, "parameter_invalid", (BadIdError, SUCCEEDED), (ListRefusedError, SUCCEEDED), "", id="400 parameter"
        ),
        pytest.param(
            400, "parameter_invalid_2", (TransientError, FAILED), (ListRefusedError, SUCCEEDED), "", id="400 other code"
        ),
        pytest.param(400, None, (TransientError, FAILED), (TransientError, FAILED), "", id="400 gateway"),
        pytest.param(408, None, (TransientError, FAILED), (TransientError, FAILED), "", id="408"),
        pytest.param(
            405, "method_not_allowed", (TransientError, FAILED), (ListRefusedError, SUCCEEDED), "", id="another 4xx"
        ),
        pytest.param(405, None, (TransientError, FAILED), (TransientError, FAILED), "", id="another 4xx of a gateway"),
        *(
            pytest.param(status, None, (TransientError, FAILED), (TransientError, FAILED), REDIRECT, id=f"{status}")
            for status in (301, 302, 303, 307, 308)
        ),
        pytest.param(503, None, (TransientError, FAILED), (TransientError, FAILED), "", id="503"),
        pytest.param(500, "internal", (TransientError, FAILED), (TransientError, FAILED), "", id="another 5xx"),
        pytest.param(204, None, (TransientError, FAILED), (TransientError, FAILED), "", id="another 2xx"),
        pytest.param(304, None, (TransientError, FAILED), (TransientError, FAILED), "", id="another 3xx"),
    ],
)
def test_an_answer_means_an_error_and_a_verdict(
    status: int,
    code: str | None,
    to_a_retrieve: tuple[type[ApiError] | None, Verdict],
    to_a_list: tuple[type[ApiError] | None, Verdict],
    hint: str,
) -> None:
    assert meaning_of(status, code) == meaning_of(status, code, is_list=False)
    for is_list, (kind, verdict) in ((False, to_a_retrieve), (True, to_a_list)):
        meaning = meaning_of(status, code, is_list=is_list)
        assert (meaning.error, meaning.verdict, meaning.hint) == (kind, verdict, hint)
        if kind is None:
            assert verdict_of(status, None) is verdict
            continue
        error = error_of(status, code, "went wrong", is_list=is_list, retry_after=None)
        assert type(error) is kind
        assert str(error) == f"{status} went wrong" + (f": {hint}" if hint else "")
        assert verdict_of(status, error) is verdict


@pytest.mark.parametrize(
    ("status", "retry_after", "until_the_reset", "lists_all_quotas"),
    [
        (429, 7.0, 30.0, False),
        (503, 7.0, None, False),
        (500, None, None, False),
        (504, None, None, False),
        (200, None, None, True),
        (401, None, None, False),
        (403, None, None, False),
        (404, None, None, True),
        (408, None, None, True),
        (302, None, None, True),
    ],
)
def test_the_waits_and_quotas_in_its_headers_count_by_its_status(
    status: int, retry_after: float | None, until_the_reset: float | None, lists_all_quotas: bool
) -> None:
    for code in (None, "resource_not_exist", "parameter_invalid", "api_key_invalid"):
        for is_list in (False, True):
            meaning = meaning_of(status, code, is_list=is_list)
            assert meaning.retry_after(RETRY_AFTER) == retry_after
            assert meaning.retry_after(SPENT) == until_the_reset
            assert meaning.lists_all_quotas is lists_all_quotas


@pytest.mark.parametrize(
    ("status", "cancelled", "cut_off"),
    [
        pytest.param(None, LOST, FAILED, id="no answer"),
        pytest.param(200, LOST, FAILED, id="200"),
        pytest.param(404, LOST, FAILED, id="404"),
        pytest.param(302, LOST, FAILED, id="302"),
        pytest.param(401, LOST, FAILED, id="401"),
        pytest.param(403, LOST, FAILED, id="403"),
        pytest.param(429, RATE_LIMITED, RATE_LIMITED, id="429"),
        pytest.param(408, FAILED, FAILED, id="408"),
        pytest.param(500, FAILED, FAILED, id="500"),
        pytest.param(503, FAILED, FAILED, id="503"),
    ],
)
def test_an_answer_whose_body_never_came_has_a_verdict_where_its_status_suffices(
    status: int | None, cancelled: Verdict, cut_off: Verdict
) -> None:
    assert verdict_of(status, asyncio.CancelledError()) is cancelled
    assert verdict_of(status, MalformedAnswerError("larger than 65536 bytes")) is cut_off


def test_a_success_is_a_200_or_one_that_a_proxy_has_changed() -> None:
    assert [status for status in range(1000) if is_success(status)] == [200, 203]


def test_an_error_shows_the_beginning_of_the_servers_message_or_the_statuss_own_phrase() -> None:
    def text(status: int, message: str) -> str:
        return str(error_of(status, None, message, is_list=False, retry_after=None))

    assert text(502, "") == "502 Bad Gateway"
    assert text(599, "") == "599"
    assert text(500, "x" * 1000) == "500 " + "x" * (LONGEST_TEXT - 4)


def test_only_errors_that_may_pass_carry_a_wait() -> None:
    refused = error_of(429, None, "", is_list=False, retry_after=7.0)
    assert isinstance(refused, RateLimitedError)
    assert (str(refused), refused.retry_after) == ("429 Too Many Requests", 7.0)
    unavailable = error_of(503, None, "", is_list=True, retry_after=8.0)
    assert isinstance(unavailable, TransientError)
    assert unavailable.retry_after == 8.0
