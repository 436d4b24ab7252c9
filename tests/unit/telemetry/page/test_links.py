"""Which addresses of the API become links."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset_worker.telemetry.page.links import safe_link


@pytest.mark.parametrize(
    "address",
    [
        "https://cdn.example/a.jpg",
        "HTTPS://CDN.example:8443/a/b?Policy=x~y_z&Signature=a%2Fb==#t=1",
        "https://deuqpmn4rs7j5.cloudfront.net/u/i/stream/playlist.m3u8",
        "https://203.0.113.7/a",
        "https://cdn.example",
    ],
)
def test_an_address_with_https_and_a_host_is_a_link(address):
    assert safe_link(address) == address


@pytest.mark.parametrize(
    "address",
    [
        "",
        "http://cdn.example/a",
        "javascript:alert(1)//https://cdn.example/",
        " https://cdn.example/",
        "https://cdn.example/\n",
        "https://cdn.example/a b",
        'https://cdn.example/"onclick=alert(1)',
        "https://cdn.example/<script>",
        "https://user:password@cdn.example/",
        "https://api.twelvelabs.io@evil.example/",
        r"https:\\evil.example\a",
        "https:///a",
        "https://",
        "https://cdn.example:port/",
        "https://cdn.example/?key=********",
        "https://cdn.exámple/",
        "https://cdn.example/\u202egpj",
        "//cdn.example/a",
        "cdn.example/a",
    ],
)
def test_every_other_text_is_none(address):
    assert safe_link(address) is None


@given(st.text(alphabet="https:/@.aé?#[]*<>\"' \\\x00%&=-", max_size=30).map("https://".__add__))
def test_what_is_a_link_leads_with_https_to_the_host_that_it_shows(address):
    if safe_link(address) is not None:
        parts = urlsplit(address)
        assert (parts.scheme, parts.username, parts.password) == ("https", None, None)
        assert parts.hostname
        assert address.isascii()
