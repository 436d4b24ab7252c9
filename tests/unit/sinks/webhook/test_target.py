"""Which URLs, names and headers a webhook may have, and the name it has by default."""

from __future__ import annotations

import re
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset_worker.sinks.webhook.target import (
    WebhookTarget,
    check_transport,
    checked_header_value,
    checked_headers,
    checked_name,
    checked_url,
    credentials_of,
    default_name,
    has_secret,
    has_user,
    is_for_this_machine,
    masked,
)


@pytest.mark.parametrize(
    "url",
    [
        "https://app.example/hooks",
        "HTTPS://APP.example:8443/a/b?c=d",
        "https://user:p%40ss@app.example/",
        "https://10.0.0.7/hooks",
        "https://[2001:db8::7]:8443/hooks",
        "http://127.0.0.1:1/hooks",
        "http://app_1.internal./hooks",
    ],
)
def test_a_url_is_kept_as_it_is_written(url: str):
    assert checked_url(f" {url} ") == url


@pytest.mark.parametrize(
    ("url", "why"),
    [
        pytest.param("https://", "https://HOST/PATH", id="no host"),
        pytest.param("https:///hooks", "https://HOST/PATH", id="no host, but a path"),
        pytest.param("https://?x=secret", "https://HOST/PATH", id="no host, but a query"),
        pytest.param("ftp://app.example/", "https://HOST/PATH", id="another scheme"),
        pytest.param("mailto:ada", "https://HOST/PATH", id="no authority"),
        pytest.param("https://[::1]x/", "https://HOST", id="a bracket too much"),
        pytest.param("https://[1::2::3]/", "does not appear to be", id="an address with two gaps"),
        pytest.param("https://127.1./", "four numbers", id="a short address that ends in a dot"),
        pytest.param("https://app.example:99999/", "https://HOST:PORT/PATH", id="no port"),
        pytest.param("https://app.example:0/", "no port 0", id="port 0"),
        pytest.param("https://app.example:secret/", "https://HOST:PORT/PATH", id="a word for a port"),
        pytest.param("https://app.example/a b", "without blanks", id="a blank"),
        pytest.param("https://app.example/\r\nX-Evil: secret", "without blanks", id="a line break"),
        pytest.param("https://app.example/\x1b[2J", "without blanks", id="a control character"),
        pytest.param("https://äpp.example/", "in ASCII", id="a letter beyond ASCII"),
        pytest.param("https://app.example\\@evil.example/", "backslashes", id="a backslash"),
        pytest.param("https://app.example/#secret", "from # on", id="a fragment"),
        pytest.param("https://app.example/#", "from # on", id="an empty fragment"),
        pytest.param("https://[::1", "https://HOST", id="half a bracket"),
        pytest.param("https://[fe80::1%25eth0]/", "interface", id="a zone"),
        pytest.param("https://127.1/", "four numbers", id="a short address"),
        pytest.param("https://2852039166/", "four numbers", id="an address as a number"),
        pytest.param("https://0x7f.1/", "four numbers", id="a hexadecimal address"),
        pytest.param("https://0xa9fea9fe/", "four numbers", id="a hexadecimal number"),
        pytest.param("https://1.2.3.4.5/", "four numbers", id="five numbers"),
        pytest.param("https://app%2eexample/", "neither a name nor an address", id="an escape in the host"),
        pytest.param("https://-/", "neither a name nor an address", id="a host of punctuation"),
    ],
)
def test_a_url_that_can_not_be_used_is_refused_and_its_secrets_are_not_shown(url: str, why: str):
    with pytest.raises(ValueError, match=re.escape(why)) as refused:
        checked_url(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "is_private_allowed", "is_good"),
    [
        ("https://app.example/", False, True),
        ("http://127.0.0.1:8123/", False, True),
        ("http://127.9.9.9/", False, True),
        ("http://[::1]/", False, True),
        ("http://localhost/", False, True),
        ("http://LOCALHOST/", False, True),
        ("http://app.example/", False, False),
        ("http://localhost.example/", False, False),
        ("http://10.0.0.7/", False, False),
        ("http://10.0.0.7/", True, True),
        ("http://app.internal/", True, True),
    ],
)
def test_plain_http_is_for_this_machine_and_networks_that_are_trusted(
    url: str, is_private_allowed: bool, is_good: bool
):
    assert checked_url(url) == url
    if is_good:
        check_transport(url, allow_private=is_private_allowed)
    else:
        with pytest.raises(ValueError, match=r"use https, or set allow_private = true"):
            check_transport(url, allow_private=is_private_allowed)
        assert not is_for_this_machine(url)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://app.example/hooks", "https://app.example/hooks#"),
        ("https://APP.example", "https://app.example/#"),
        ("https://app.example:8443/a?token=x", "https://app.example:8443/a#"),
        ("https://user:pass@app.example/a", "https://app.example/a#"),
        ("https://[2001:DB8::7]:1/a", "https://[2001:db8::7]:1/a#"),
        (f"https://app.example/{'x' * 300}", f"https://app.example/{'x' * 99}#"),
    ],
)
def test_the_default_name_shows_scheme_host_port_and_path(url: str, name: str):
    found = default_name(url)
    assert re.fullmatch(re.escape(name) + "[0-9a-f]{8}", found)
    assert checked_name(found) == found


def test_only_public_addresses_are_connected_to_unless_others_are_allowed():
    target = WebhookTarget(url="https://x/", name="x", timeout=15.0, concurrency=8, mode="structured", retry=())
    assert target.allow_private is False


def test_default_names_are_contracts():
    """Positions and dead letters are kept under them."""
    assert default_name("https://app.example/hooks") == "https://app.example/hooks#3382dd71"


def test_urls_that_differ_in_what_is_not_shown_have_different_names():
    urls = ["https://a.example/", "https://u@a.example/", "https://a.example/?x", "https://a.example/?y"]
    assert len({default_name(url) for url in urls}) == len(urls)


words = st.text("abcdefghijklmnopqrstuvwxyzABC0123456789-_.~%40", min_size=1, max_size=20).map(
    lambda text: f"S3CRET{text}"
)
hosts = st.sampled_from(["app.example", "10.0.0.7", "[2001:db8::7]", "localhost", "x"])
paths = st.text("abc/%20.", max_size=20)


@given(user=words, password=words, host=hosts, path=paths, query=words)
def test_no_text_about_a_url_has_its_user_or_its_query(user: str, password: str, host: str, path: str, query: str):
    written = f"https://{user}:{password}@{host}/{path}?{query}={query}"
    try:
        url = checked_url(written)
    except ValueError as error:
        assert "S3CRET" not in str(error)
        return
    assert has_secret(url)
    for text in (default_name(url), masked(url, "********")):
        assert "S3CRET" not in text
        assert "S3CRET".lower() not in text.lower()


@given(st.text(max_size=60).map(lambda text: f"https://{text}"))
def test_any_text_is_a_url_with_a_name_or_a_reason(text: str):
    try:
        url = checked_url(text)
    except ValueError as error:
        assert str(error).isprintable()
    else:
        assert checked_name(default_name(url))
        assert masked(url, "*")


@pytest.mark.parametrize("url", ["https://u@x/", "https://u:p@x/", "https://:p@x/", "https://x/?q", "https://x?q=1"])
def test_user_and_query_may_be_secrets(url: str):
    assert has_secret(url)
    assert not has_secret("https://x:1/path;p=1")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://u:p@app.example:1/a?b=c", "https://***@app.example:1/a?***"),
        ("https://u@app.example/a", "https://***@app.example/a"),
        ("https://:p@app.example/a", "https://***@app.example/a"),
        ("https://[::1]/a", "https://[::1]/a"),
        ("https://app.example", "https://app.example/"),
    ],
)
def test_a_masked_url_shows_where_secrets_are(url: str, shown: str):
    assert masked(url, "***") == shown


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("https://app.example/", None),
        ("https://ada:s3cret@app.example/", "ada:s3cret"),
        ("https://ada@app.example/", "ada:"),
        ("https://:s3cret@app.example/", ":s3cret"),
        ("https://ad%40:%C3%A4@app.example/", "ad@:\xe4"),
    ],
)
def test_the_user_of_a_url_is_sent_as_basic_authentication(url: str, sent: str | None):
    expected = None if sent is None else b64encode(sent.encode()).decode()
    assert (credentials_of(url), has_user(url)) == (expected, sent is not None)


@pytest.mark.parametrize(
    "name",
    ["a", "user@host", "is it?", "hooks", "Team A / production", "a" * 200, "https://app.example/hooks#6298d673"],
)
def test_a_name_is_any_short_text(name: str):
    assert checked_name(name) == name


@pytest.mark.parametrize(
    "name", ["", " ", " a", "a\n", "a\x1b", "a" * 201, "-", "stdout", "file:/x", "https://u:p@x/", "https://x/?t=1"]
)
def test_a_name_that_misleads_or_shows_secrets_is_refused(name: str):
    with pytest.raises(ValueError, match="name"):
        checked_name(name)


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["X A"], "not the name of a header"),
        (["X:"], "not the name of a header"),
        ([""], "not the name of a header"),
        (["Ä"], "not the name of a header"),
        (["X\r\nY"], "not the name of a header"),
        (["Content-Type"], "set by the worker itself"),
        (["HOST"], "set by the worker itself"),
        (["Webhook-Id"], "set by the worker itself"),
        (["ce-type"], "set by the worker itself"),
        (["transfer-encoding"], "set by the worker itself"),
        (["Expect"], "not sent that way"),
        (["content-encoding"], "not sent that way"),
        (["X-A", "x-a"], "twice"),
    ],
)
def test_a_header_that_is_ours_or_no_header_is_refused(names: list[str], why: str):
    with pytest.raises(ValueError, match=why):
        checked_headers(names)


def test_no_header_that_the_sink_or_the_connection_sets_may_be_given():
    ours = ["connection", "content-length", "content-type", "host", "transfer-encoding", "ce-id", "webhook-signature"]
    for name in [*ours, "content-encoding", "expect", "keep-alive", "te", "trailer", "upgrade"]:
        with pytest.raises(ValueError, match="itself" if name in ours else "not sent that way"):
            checked_headers([name])


def test_other_headers_are_free():
    checked_headers(["Authorization", "X-Team", "User-Agent", "!#$%&'*+.^_`|~1"])


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nb", "a\0b", "a\x7f", "", "  ", "ä", "a\u2028b"])
def test_a_header_value_that_breaks_the_request_is_refused_and_not_shown(value: str):
    with pytest.raises(ValueError, match="the value of the header") as refused:
        checked_header_value(f"S3CRET{value}" if value.strip() else value)
    assert "S3CRET" not in str(refused.value)


def test_blanks_around_a_header_value_do_not_count():
    assert checked_header_value(" Bearer a\tb \n") == "Bearer a\tb"
