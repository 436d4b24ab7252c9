"""What an answer means for the delivery."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset_worker.runtime.redaction import Secrets
from asset_worker.sinks.ports import Attempt, Delivered, Failed, Gone
from asset_worker.sinks.webhook.answers import EXCERPT_CHARACTERS, Answer, attempt_of

NOW = 1_795_774_165.0
SENT = (
    b'{"specversion":"1.0","id":"a1.1",'
    b'"data":{"metadata":{"email":"ada@example.com","title":"the secret film of the whole summer"}}}'
)


def meaning(answer: Answer, *, redact=lambda text: text) -> Attempt:
    return attempt_of(answer, now=NOW, sent=SENT, redact=redact)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 206, 299])
def test_each_2xx_is_a_delivery(status: int):
    assert meaning(Answer(status, body=b"error", retry_after="5")) == Delivered()


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (100, "HTTP 100: Continue"),
        (199, "HTTP 199"),
        (300, "HTTP 300: redirects are not followed: give the URL that it leads to"),
        (399, "HTTP 399: redirects are not followed: give the URL that it leads to"),
        (301, "HTTP 301: redirects are not followed: give the URL that it leads to"),
        (304, "HTTP 304: redirects are not followed: give the URL that it leads to"),
        (400, "HTTP 400: Bad Request"),
        (404, "HTTP 404: Not Found"),
        (429, "HTTP 429: Too Many Requests"),
        (500, "HTTP 500: Internal Server Error"),
        (599, "HTTP 599"),
        (999, "HTTP 999"),
    ],
)
def test_every_other_answer_is_a_failure_with_a_reason(status: int, reason: str):
    assert meaning(Answer(status)) == Failed(reason)


def test_410_asks_for_no_more_requests():
    assert meaning(Answer(410)) == Gone("HTTP 410: Gone")
    assert meaning(Answer(410, body=b"moved to v2", retry_after="5")) == Gone("HTTP 410: moved to v2")


@pytest.mark.parametrize(
    ("retry_after", "date", "seconds"),
    [
        ("", "", None),
        ("7", "", 7),
        ("0", "", 0),
        ("-5", "", 0),
        ("soon", "", None),
        ("1e9", "", None),
        ("Fri, 27 Nov 2026 10:10:25 GMT", "", 60),
        ("Fri, 27 Nov 2026 09:10:25 GMT", "", 0),
        ("Thu, 01 Jan 1970 01:00:00 GMT", "Thu, 01 Jan 1970 00:00:00 GMT", 3600),
        ("99999999999", "", 10 * 86_400),
        ("Fri, 99 Nov 99999 10:10:25 GMT", "", None),
    ],
)
def test_the_wait_that_a_failure_asks_for(retry_after: str, date: str, seconds: float | None):
    """A date counts from the server's own clock, if the answer shows it."""
    found = meaning(Answer(503, retry_after=retry_after, date=date))
    assert isinstance(found, Failed)
    assert found.retry_after == seconds


def test_a_reason_is_one_short_visible_line():
    found = meaning(Answer(500, body=b"<html>\n\t<b>\x1b[31mOops\x00</b>\xff" + "é".encode() * 300))
    assert isinstance(found, Failed)
    head, _, excerpt = found.reason.partition(": ")
    assert head == "HTTP 500"
    assert excerpt.startswith("<html> <b>\\x1b[31mOops\\x00</b>\ufffdéé")
    assert (len(excerpt), excerpt[-1]) == (EXCERPT_CHARACTERS, "…")


def test_secrets_are_redacted_before_the_reason_is_cut():
    secrets = Secrets()
    secrets.add("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b"x" * 190 + b" whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    found = meaning(Answer(500, body=body), redact=secrets.redact_text)
    assert isinstance(found, Failed)
    assert "MfKQ" not in found.reason
    assert "whsec" not in found.reason


@pytest.mark.parametrize(
    "body",
    [
        SENT,
        b"can't parse: " + SENT,
        SENT[30:],
        b'{"received": "' + SENT.replace(b'"', b'\\"') + b'"}',
        b"bad title: the secret film of the whole summer, sorry",
    ],
    ids=["all", "with a preface", "a part", "in a string", "a long value"],
)
def test_an_answer_that_repeats_the_event_is_not_shown(body: bytes):
    assert meaning(Answer(400, body=body)) == Failed("HTTP 400: Bad Request")


ECHO = b"the secret film of the whole sum"
"""32 characters of the event."""


@pytest.mark.parametrize(
    ("body", "is_shown"),
    [
        (ECHO, False),
        (ECHO[1:], True),
        (b"No: " + ECHO, False),
        (ECHO + b"!", False),
        (b"No: " + ECHO[1:] + b"!", True),
        (b"No: " + ECHO + b"!", False),
    ],
)
def test_32_characters_in_a_row_repeat_the_event_and_fewer_may_be_chance(body: bytes, is_shown: bool):
    reason = body.decode() if is_shown else "Bad Request"
    assert meaning(Answer(400, body=body)) == Failed(f"HTTP 400: {reason}")


def test_a_word_of_the_event_may_be_in_a_reason():
    assert meaning(Answer(400, body=b"no asset a1.1")) == Failed("HTTP 400: no asset a1.1")


@given(
    st.integers(),
    st.text() | st.sampled_from(["1" * 400, "Fri, 27 Nov 2026 10:10:25 GMT", "0x10", "nan", "inf", "1.5;x"]),
    st.text() | st.sampled_from(["Fri, 27 Nov 2026 10:10:25 GMT"]),
    st.binary(max_size=4096),
)
def test_any_answer_means_something(status: int, retry_after: str, date: str, body: bytes):
    found = meaning(Answer(status, retry_after, date, body))
    match found:
        case Delivered():
            assert 200 <= status < 300
        case Gone():
            assert status == 410
        case Failed():
            assert found.retry_after is None or 0 <= found.retry_after <= 10 * 86_400
    if not isinstance(found, Delivered):
        assert "\n" not in found.reason
        assert len(found.reason) < EXCERPT_CHARACTERS + 100
