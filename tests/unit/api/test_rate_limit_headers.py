"""What headers report, one family after the other."""

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from asset_worker.api.limits.rate_limit_headers import (
    LONGEST_RESET_SECONDS,
    LONGEST_RETRY_AFTER_SECONDS,
    NOTHING_REPORTED,
    SHORTEST_RESET_SECONDS,
    RateLimitReport,
    ReportedQuota,
    parse_rate_limits,
)

NOW = 1_795_460_400.0
DATE = "Mon, 23 Nov 2026 19:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        pytest.param({}, NOTHING_REPORTED, id="no headers"),
        pytest.param({"Content-Type": "application/json", "Date": DATE}, NOTHING_REPORTED, id="none of them"),
        pytest.param(
            {
                "X-Ratelimit-Limit": "600",
                "X-Ratelimit-Remaining": "599",
                "X-Ratelimit-Used": "1",
                "X-Ratelimit-Reset": f"{NOW + 42:.0f}",
            },
            RateLimitReport((ReportedQuota("x-ratelimit.0", 600, 599, 42.0),)),
            id="vendor",
        ),
        pytest.param(
            {"x-ratelimit-limit": "600", "X-RATELIMIT-USED": "10", "x-RateLimit-reset": f"{NOW + 42:.0f}"},
            RateLimitReport((ReportedQuota("x-ratelimit.0", 600, 590, 42.0),)),
            id="used without remaining, any case",
        ),
        pytest.param(
            {"X-Ratelimit-Remaining": "5", "X-Ratelimit-Reset": f"{(NOW + 42) * 1000:.0f}"},
            RateLimitReport((ReportedQuota("x-ratelimit.0", 5, 5, 42.0),)),
            id="reset in milliseconds, no limit",
        ),
        pytest.param(
            {"X-RateLimit-Limit": "1, 15000", "X-RateLimit-Remaining": "0, 900", "X-RateLimit-Reset": "1, 7200"},
            RateLimitReport(
                (ReportedQuota("x-ratelimit.0", 1, 0, 1.0), ReportedQuota("x-ratelimit.1", 15000, 900, 7200.0))
            ),
            id="lists of quotas, reset as a delay",
        ),
        pytest.param(
            {"RateLimit-Limit": "100, 100;w=60", "RateLimit-Remaining": "50", "RateLimit-Reset": "30"},
            RateLimitReport((ReportedQuota("ratelimit.0", 100, 50, 30.0),)),
            id="draft 6",
        ),
        pytest.param(
            {"RateLimit": "limit=100, remaining=50, reset=30", "RateLimit-Policy": "100;w=60"},
            RateLimitReport((ReportedQuota("", 100, 50, 30.0),)),
            id="draft 7",
        ),
        pytest.param(
            {"RateLimit": '"default";r=50;t=30', "RateLimit-Policy": '"default";q=100;w=60'},
            RateLimitReport((ReportedQuota("default", 100, 50, 30.0, 60.0),)),
            id="draft 11",
        ),
        pytest.param(
            {
                "RateLimit": '"burst";r=9;t=30;pk=:dGVzdA==:, "day, all";r=900',
                "RateLimit-Policy": '"burst";q=100;w=60, "day, all";q=1000;w=86400, "bytes";q=1;w=1;qu="content-bytes"',
            },
            RateLimitReport(
                (ReportedQuota("burst", 100, 9, 30.0, 60.0), ReportedQuota("day, all", 1000, 900, 86400.0, 86400.0))
            ),
            id="several, a comma in a name, a window for a reset, another unit",
        ),
        pytest.param(
            {"RateLimit-Policy": '"default";q=100;w=60'},
            RateLimitReport((ReportedQuota("default", 100, 100, 60.0, 60.0),)),
            id="a policy alone",
        ),
        pytest.param({"Retry-After": "17"}, RateLimitReport((), 17.0), id="retry after seconds"),
        pytest.param(
            {"Retry-After": "Mon, 23 Nov 2026 19:01:30 GMT"}, RateLimitReport((), 90.0), id="retry after a date"
        ),
        pytest.param(
            {"Retry-After": "Mon, 23 Nov 2026 18:00:00 GMT"}, RateLimitReport((), 0.0), id="a date that has passed"
        ),
        pytest.param({"Retry-After": f"{NOW + 42:.0f}"}, RateLimitReport((), 42.0), id="retry after an epoch"),
        pytest.param(
            {"Retry-After": f"{(NOW + 42) * 1000:.0f}"}, RateLimitReport((), 42.0), id="an epoch in milliseconds"
        ),
        pytest.param({"Retry-After": "1790000000"}, RateLimitReport((), 0.0), id="an epoch that has passed"),
        pytest.param(
            {"RateLimit": f'"d";r=5;t={NOW + 42:.0f}', "RateLimit-Policy": '"d";q=9'},
            RateLimitReport((ReportedQuota("d", 9, 5, 42.0),)),
            id="structured, reset as an epoch",
        ),
        pytest.param(
            {"RateLimit": f"limit=9, remaining=5, reset={NOW + 42:.0f}"},
            RateLimitReport((ReportedQuota("", 9, 5, 42.0),)),
            id="draft 7, reset as an epoch",
        ),
        pytest.param({"Retry-After": "-5"}, RateLimitReport((), 0.0), id="negative wait"),
        pytest.param({"Retry-After": "99999999"}, RateLimitReport((), LONGEST_RETRY_AFTER_SECONDS), id="wait of years"),
        pytest.param(
            {"X-Ratelimit-Remaining": "-3", "X-Ratelimit-Limit": "10", "X-Ratelimit-Reset": f"{NOW + 4e7:.0f}"},
            RateLimitReport((ReportedQuota("x-ratelimit.0", 10, 0, LONGEST_RESET_SECONDS),)),
            id="reset a year ahead, less than zero left",
        ),
        pytest.param(
            {"RateLimit-Limit": "10", "RateLimit-Used": "13", "RateLimit-Reset": "60"},
            RateLimitReport((ReportedQuota("ratelimit.0", 10, 0, 60.0),)),
            id="overdrawn, remaining not reported",
        ),
        pytest.param(
            {"X-Ratelimit-Remaining": "3", "X-Ratelimit-Reset": f"{NOW - 100:.0f}"},
            NOTHING_REPORTED,
            id="reset long ago",
        ),
        pytest.param(
            {"X-Ratelimit-Limit": "0", "X-Ratelimit-Remaining": "0", "X-Ratelimit-Reset": "60"},
            NOTHING_REPORTED,
            id="limit 0",
        ),
        pytest.param(
            {"X-Ratelimit-Remaining": "5", "X-Ratelimit-Reset": "soon"}, NOTHING_REPORTED, id="reset in words"
        ),
        pytest.param(
            {"RateLimit": '"a";r=5, "b";r=0', "RateLimit-Policy": '"b";q=9;w=0, "c";q=9;w=0, "d";q=9'},
            NOTHING_REPORTED,
            id="structured, neither a reset nor a window",
        ),
        pytest.param(
            {"X-Ratelimit-Remaining": "many", "X-Ratelimit-Reset": "soon", "Retry-After": "later"},
            NOTHING_REPORTED,
            id="words",
        ),
        pytest.param(
            {"X-Ratelimit-Remaining": "٣", "X-Ratelimit-Reset": "1e3", "Retry-After": "nan"},
            NOTHING_REPORTED,
            id="odd numbers",
        ),
    ],
)
def test_headers_report(headers: dict[str, str], expected: RateLimitReport) -> None:
    assert parse_rate_limits(headers, server_now=NOW) == expected


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("20, 20", 20.0),
        ("5, 20,7", 20.0),
        ("Mon, 23 Nov 2026 19:01:30 GMT, 20", 90.0),
        ("20, Mon, 23 Nov 2026 19:01:30 GMT", 90.0),
        ("120, Mon, 23 Nov 2026 19:01:30 GMT", 120.0),
        ("Mon, 23 Nov 2026 19:01:30 GMT, Mon, 23 Nov 2026 19:01:00 GMT", 90.0),
        ("Monday, 23-Nov-26 19:01:30 GMT, Mon Nov 23 19:02:00 2026", 120.0),
        ("later, 20", 20.0),
        ("20, Mon, later", 20.0),
        ("-5, Mon, 23 Nov 2026 18:00:00 GMT", 0.0),
        ("20, 99999999", LONGEST_RETRY_AFTER_SECONDS),
        (", ,", None),
    ],
)
def test_of_several_waits_the_longest_counts(value: str, wait: float | None) -> None:
    """The origin and a gateway may each send theirs, joined by a comma such as dates hold themselves."""
    assert parse_rate_limits({"Retry-After": value}, server_now=NOW).retry_after == wait


def test_a_wait_in_two_fields_is_the_longest_of_them() -> None:
    """Fields of one name are one list (RFC 9110, section 5.3)."""
    headers = CIMultiDict([("Retry-After", "20"), ("Retry-After", DATE), ("retry-after", "30")])
    assert parse_rate_limits(headers, server_now=NOW).retry_after == 30.0


@pytest.mark.parametrize(
    ("limit", "remaining", "used", "left"),
    [
        ("-1", "-1", "5", None),
        ("0", "-1", "5", None),
        ("-1", "0", "5", None),
        (None, "-1", "5", None),
        (None, "-3", None, None),
        ("600", "-1", None, None),
        ("600", "-1", "5", None),
        ("600", "-1", "600", None),
        ("600", "-1", "601", 0),
        ("600", "-3", "603", 0),
        ("600", "-3", None, 0),
        ("600", "-0.5", None, 0),
        ("600", "0", "600", 0),
        ("600", "50", "700", 50),
    ],
)
def test_less_than_zero_is_no_quota_unless_it_is_surely_overdrawn(
    limit: str | None, remaining: str, used: str | None, left: int | None
) -> None:
    """-1 is how some gateways say that there is no limit; taken for a spent quota it would stop the worker."""
    parts = {"Limit": limit, "Remaining": remaining, "Used": used, "Reset": "60"}
    headers = {f"X-Ratelimit-{part}": value for part, value in parts.items() if value is not None}
    assert [quota.remaining for quota in parse_rate_limits(headers, server_now=NOW).quotas] == (
        [] if left is None else [left]
    )


def test_less_than_zero_in_a_structured_field_is_no_quota_either() -> None:
    """Neither with a policy beside it nor without one, nor in the form of draft 7."""
    assert (
        parse_rate_limits({"RateLimit": '"a";r=-1;t=60', "RateLimit-Policy": '"a";q=100;w=60'}, server_now=NOW)
        == NOTHING_REPORTED
    )
    assert parse_rate_limits({"RateLimit": '"a";r=-1;t=60'}, server_now=NOW) == NOTHING_REPORTED
    assert parse_rate_limits({"RateLimit": "limit=100, remaining=-1, reset=60"}, server_now=NOW) == NOTHING_REPORTED


def test_an_answer_that_was_made_before_the_reset_and_comes_after_it_still_counts() -> None:
    headers = {
        "Date": DATE,
        "X-Ratelimit-Limit": "10",
        "X-Ratelimit-Remaining": "0",
        "X-Ratelimit-Reset": f"{NOW + 1:.0f}",
    }
    assert parse_rate_limits(headers, server_now=NOW + 1.5).quotas == (
        ReportedQuota("x-ratelimit.0", 10, 0, SHORTEST_RESET_SECONDS),
    )


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"X-Ratelimit-Remaining": "2", "X-Ratelimit-Reset": f"{NOW:.0f}"}, id="vendor"),
        pytest.param({"X-Ratelimit-Remaining": "0", "X-Ratelimit-Reset": f"{NOW:.0f}"}, id="vendor, spent"),
    ],
)
def test_a_reset_cut_to_the_second_that_has_begun_is_up_to_a_second_later(headers: dict[str, str]) -> None:
    report = parse_rate_limits({"Date": DATE, "X-Ratelimit-Limit": "10", **headers}, server_now=NOW + 0.7)
    assert report.quotas[0].is_rounded_down
    assert report.quotas[0].reset_in == pytest.approx(0.3)


def test_a_delay_cut_to_nothing_is_up_to_a_second_unless_nothing_is_spent() -> None:
    spent = parse_rate_limits({"RateLimit": '"a";r=0;t=0', "RateLimit-Policy": '"a";q=10;w=1'}, server_now=NOW)
    assert spent.quotas == (ReportedQuota("a", 10, 0, 1.0, 1.0, is_rounded_down=True),)
    full = parse_rate_limits({"RateLimit": '"a";r=10;t=0', "RateLimit-Policy": '"a";q=10;w=1'}, server_now=NOW)
    assert full.quotas == (ReportedQuota("a", 10, 10, SHORTEST_RESET_SECONDS, 1.0),)


@pytest.mark.parametrize(
    ("report", "wait"),
    [
        (
            RateLimitReport(
                (ReportedQuota("a", 10, 0, 30.0), ReportedQuota("b", 10, 0, 60.0), ReportedQuota("c", 10, 1, 90.0))
            ),
            60.0,
        ),
        (RateLimitReport((ReportedQuota("a", 10, 0, 30.0),), 5.0), 5.0),
        (RateLimitReport((ReportedQuota("a", 10, 0, 80_000.0),)), LONGEST_RETRY_AFTER_SECONDS),
        (RateLimitReport((ReportedQuota("a", 10, 3, 30.0),)), None),
    ],
    ids=["the spent quotas' reset", "Retry-After goes first", "an hour at most", "nothing is spent"],
)
def test_a_refused_client_waits(report: RateLimitReport, wait: float | None) -> None:
    assert report.requested_wait == wait


NAMES = [
    "date",
    "retry-after",
    "ratelimit",
    "ratelimit-policy",
    *(
        f"{family}-{part}"
        for family in ("x-ratelimit", "ratelimit")
        for part in ("limit", "remaining", "used", "reset")
    ),
]
PIECES = st.sampled_from(
    [*'",;=:()-+. \\', "a", "r", "t", "q", "w", "9", "99999999999999999999", "1e9", "inf", DATE, "٣"]
)
VALUES = st.one_of(st.text(), st.lists(PIECES).map("".join), st.integers().map(str), st.floats().map(str))


@given(headers=st.dictionaries(st.sampled_from(NAMES), VALUES), server_now=st.floats(0, 4e9))
def test_garbage_is_never_an_error_and_never_beyond_the_bounds(headers: dict[str, str], server_now: float) -> None:
    report = parse_rate_limits(headers, server_now=server_now)
    assert report.retry_after is None or 0 <= report.retry_after <= LONGEST_RETRY_AFTER_SECONDS
    for quota in report.quotas:
        assert quota.limit >= 1
        assert quota.remaining >= 0
        assert 0 < quota.reset_in <= LONGEST_RESET_SECONDS
        assert 0 <= quota.window <= LONGEST_RESET_SECONDS


@pytest.mark.parametrize(
    ("limit", "remaining", "is_rounded_down"),
    [
        pytest.param("", "0", True, id="nothing is left, no limit"),
        pytest.param("1", "0", True, id="nothing is left"),
        pytest.param("10", "4", True, id="less than half is left"),
        pytest.param("10", "5", False, id="half is left"),
        pytest.param("11", "5", True, id="a little less than half is left"),
        pytest.param("", "5", False, id="no limit"),
    ],
)
def test_a_reset_of_now_is_rounded_down_if_much_is_spent(limit: str, remaining: str, is_rounded_down: bool) -> None:
    headers = {"X-Ratelimit-Limit": limit, "X-Ratelimit-Remaining": remaining, "X-Ratelimit-Reset": "0"}
    [quota] = parse_rate_limits(headers, server_now=NOW).quotas
    assert quota.is_rounded_down is is_rounded_down
    assert quota.reset_in == (1.0 if is_rounded_down else SHORTEST_RESET_SECONDS)
    assert (quota.limit, quota.remaining) == (max(int(limit or remaining), 1), int(remaining))


@pytest.mark.parametrize(
    ("made", "reset", "reset_in"),
    [
        pytest.param(0, -1, None, id="it had passed a second before the answer was made"),
        pytest.param(0, 0, 1.0, id="the same second, rounded down"),
        pytest.param(-9, -9, SHORTEST_RESET_SECONDS, id="the answer was nine seconds on the way"),
        pytest.param(-10, -10, None, id="ten seconds: too late to count"),
        pytest.param(-30, -9, SHORTEST_RESET_SECONDS, id="still ahead when the answer was made"),
        pytest.param(-120, 5, 5.0, id="a date that is as old as an answer can be"),
        pytest.param(120, 60, None, id="passed by a date that is by the same clock"),
        pytest.param(121, 60, 60.0, id="not passed by a date that is by another clock"),
    ],
)
def test_until_when_a_reset_that_has_passed_counts(made: int, reset: int, reset_in: float | None) -> None:
    """The answer was made at `made` and arrives at 0. A reset in the second in which it was made is rounded down."""
    headers = {
        "Date": formatdate(NOW + made, usegmt=True),
        "X-Ratelimit-Limit": "10",
        "X-Ratelimit-Remaining": "1",
        "X-Ratelimit-Reset": f"{NOW + reset:.0f}",
    }
    found = [quota.reset_in for quota in parse_rate_limits(headers, server_now=NOW).quotas]
    assert found == ([] if reset_in is None else [reset_in])
