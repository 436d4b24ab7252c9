"""Signatures, checked by the package of the Standard Webhooks specification."""

from __future__ import annotations

import time
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from asset_worker.sinks.webhook.signing import BadSecretsError, parse_secrets, signed_headers

ONE = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
BODY = '{"id":"a1.1","data":"é\\u202e"}'.encode()


def test_the_example_of_the_specification():
    headers = signed_headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
        parse_secrets("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_while_secrets_rotate_receivers_with_either_are_served():
    headers = signed_headers("a1.1", int(time.time()), BODY, parse_secrets(f"{ONE}\n{OTHER}\n"))
    for secret in (ONE, OTHER):
        Webhook(secret).verify(BODY, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + b64encode(b"x" * 24).decode()).verify(BODY, headers)
    first, second = headers["webhook-signature"].split()
    alone = signed_headers("a1.1", int(headers["webhook-timestamp"]), BODY, parse_secrets(ONE))
    assert first == alone["webhook-signature"] != second


@given(st.binary(min_size=1, max_size=64), st.binary())
def test_any_secret_signs_any_body(key: bytes, body: bytes):
    text = "whsec_" + b64encode(key).decode()
    headers = signed_headers("a1.1", int(time.time()), body, parse_secrets(text))
    signed = body.decode("latin-1").encode()  # the package takes text alone
    headers |= signed_headers("a1.1", int(headers["webhook-timestamp"]), signed, parse_secrets(text))
    Webhook(text).verify(signed, headers, json_parse=False)


def test_without_secrets_a_request_has_an_id_and_no_signature():
    assert signed_headers("a1.1", 7, BODY, ()) == {"webhook-id": "a1.1", "webhook-timestamp": "7"}


def test_a_file_of_secrets_forgives_what_editors_leave():
    text = f"\ufeff# the new one\r\n{ONE}\r\n\r\n  {OTHER}  \n{ONE}\n"
    assert [each.text for each in parse_secrets(text)] == [ONE, OTHER]


def test_padding_may_be_left_out_as_the_package_does():
    assert parse_secrets("whsec_" + b64encode(b"x" * 25).decode().rstrip("="))[0].key == b"x" * 25


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no secret"),
        ("\n# nothing\n", "no secret"),
        ("whsec_", "line 1 is not a secret"),
        ("\n\nS3CRET", "line 3 is not a secret"),
        ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "line 1 is not a secret"),
        (f"{ONE}\nwhsec_S3CRET!", "line 2 is not a secret"),
        (f"{ONE} {OTHER}", "line 1 is not a secret"),
        ("whsk_S3CRETaa", "line 1 is not a secret"),
        ("whsec_ä", "line 1 is not a secret"),
        ("whsec_MfKQ!!!!9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "line 1 is not a secret"),
        ("\n".join("whsec_" + b64encode(bytes([number]) * 24).decode() for number in range(11)), "more than 10"),
    ],
)
def test_what_is_no_secret_is_refused_and_not_shown(text: str, why: str):
    with pytest.raises(BadSecretsError, match=why) as refused:
        parse_secrets(text)
    assert "S3CRET" not in str(refused.value)
    assert "MfKQ" not in str(refused.value)


def test_ten_secrets_are_as_many_as_there_may_be():
    secrets = ["whsec_" + b64encode(bytes([number]) * 24).decode() for number in range(10)]
    assert [each.text for each in parse_secrets("\n".join(secrets))] == secrets


def test_a_short_secret_is_known_as_such():
    short, long = (parse_secrets("whsec_" + b64encode(b"x" * size).decode())[0] for size in (23, 24))
    assert (short.is_short, long.is_short) == (True, False)


def test_a_secret_is_in_no_repr():
    assert "MfKQ" not in repr(parse_secrets(ONE))
