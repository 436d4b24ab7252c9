"""Which `Host` headers can't be those of a web page: DNS rebinding."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset_worker.runtime.hosts import PRIVATE_SUFFIXES, can_not_be_rebound

OWN = {"metrics.example.com", "Web1.Prod.example.com."}
labels = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
ports = st.none() | st.integers(0, 65535)


def with_port(host: str, port: int | None) -> str:
    return host if port is None else f"{host}:{port}"


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:9090",
        "LOCALHOST:1",
        "localhost.",
        "app.localhost:9090",
        "127.0.0.1:9090",
        "10.244.3.17:9090",
        "203.0.113.9",
        "[::1]:9090",
        "[fd00::17]",
        "[fe80::1%eth0]:9090",
        "worker:9090",
        "asset_worker",
        "worker.default.svc:9090",
        "worker.default.svc.cluster.local.:9090",
        "ip-10-0-0-1.ec2.internal:9090",
        "nas.local",
        "nas.home.arpa",
        "metrics.example.com",
        "METRICS.example.com.:9090",
        "web1.prod.example.com:9090",
    ],
)
def test_addresses_private_names_and_our_own_are_accepted(host: str):
    assert can_not_be_rebound(host, OWN)


@pytest.mark.parametrize(
    "host",
    [
        "evil.com",
        "evil.com:9090",
        "127.0.0.1.evil.com",
        "localhost.evil.com:9090",
        "worker.svc.evil.com",
        "notlocal.xlocal",
        "evilinternal.com",
        "x.metrics.example.com",
        "evil.com.",
        "127.1",  # browsers send it as 127.0.0.1
        "",
        ".",
        ":9090",
        "localhost:9090:1",
        "localhost:http",
        "evil.com@localhost",
        "localhost evil.com",
        "[::1",
        "[evil.com]",
        "::1",
        "localhost/evil.com",
        "localhost\n",
        "ｌocalhost",
    ],
)
def test_public_names_and_what_is_no_host_are_refused(host: str):
    assert not can_not_be_rebound(host, {*OWN, ""})


@given(st.lists(labels, min_size=1, max_size=4), st.sampled_from(["com", "dev", "io", "xn--p1ai"]), ports)
def test_no_public_name_is_accepted_whatever_stands_before_it(before: list[str], suffix: str, port: int | None):
    assert not can_not_be_rebound(with_port(".".join([*before, suffix]), port), OWN)


@given(st.ip_addresses(), ports)
def test_every_address_is_accepted(address, port: int | None):
    host = str(address) if address.version == 4 else f"[{address}]"
    assert can_not_be_rebound(with_port(host, port))


@given(st.lists(labels, max_size=3), st.sampled_from(PRIVATE_SUFFIXES), ports)
def test_every_name_below_a_private_suffix_is_accepted(before: list[str], suffix: str, port: int | None):
    assert can_not_be_rebound(with_port(".".join([*before, "x", suffix]), port))


@given(st.text(max_size=40))
def test_any_text_is_accepted_or_refused(text: str):
    assert can_not_be_rebound(text) in {True, False}
