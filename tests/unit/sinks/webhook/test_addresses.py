"""Which addresses are public."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset_worker.sinks.webhook.addresses import is_loopback_address, is_public

NOT_PUBLIC_V4 = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.7",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.9.9.9",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
]
PUBLIC_V4 = ["1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "172.15.255.255"]
PUBLIC_V4 += ["172.32.0.0", "192.0.1.0", "198.17.255.255", "198.20.0.0", "223.255.255.255"]


def embedded(address: str) -> list[str]:
    """The ways to write an IPv4 address in an IPv6 address that leads there."""
    number = int(IPv4Address(address))
    return [
        f"::ffff:{address}",
        str(IPv6Address((0x64_FF9B << 96) + number)),
        str(IPv6Address((0x2002 << 112) + (number << 80) + 1)),
    ]


@pytest.mark.parametrize("address", NOT_PUBLIC_V4)
def test_an_address_of_somebodys_own_network_is_not_public_however_it_is_written(address: str):
    assert not is_public(address)
    for other in embedded(address):
        assert not is_public(other), other


@pytest.mark.parametrize("address", PUBLIC_V4)
def test_the_rest_of_ipv4_is_public_however_it_is_written(address: str):
    assert is_public(address)
    for other in embedded(address):
        assert is_public(other), other


@pytest.mark.parametrize(
    "address",
    [
        "::",
        "::1",
        "::8.8.8.8",
        "::a9fe:a9fe",
        "64:ff9b:1::808:808",
        "100::1",
        "2001::1",
        "2001:0:808:808::1",
        "2001:db8::1",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "4000::1",
        "2606:4700::1111%eth0",
        "2606:4700::1111%3",
        "8.8.8.8%1",
        "",
        "app.example",
        "127.1",
        "0x8.8.8.8",
        "2130706433",
        "[::1]",
    ],
)
def test_what_is_not_global_unicast_or_no_plain_address_is_not_public(address: str):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["2606:4700::1111", "2a00:1450:4001::1", "2001:200::1", "2400:cb00::1"])
def test_global_unicast_is_public(address: str):
    assert is_public(address)


@given(st.ip_addresses())
def test_whatever_python_takes_for_private_is_not_public(address: IPv4Address | IPv6Address):
    inner = getattr(address, "ipv4_mapped", None) or getattr(address, "sixtofour", None)
    if address.is_private or address.is_multicast or address.is_reserved or address.is_loopback:
        assert inner is not None or address.exploded.startswith("0064:ff9b") or not is_public(str(address))


@pytest.mark.parametrize(
    ("address", "is_here"), [("127.0.0.1", True), ("::1", True), ("10.0.0.1", False), ("x", False)]
)
def test_which_addresses_are_this_machine(address: str, is_here: bool):
    assert is_loopback_address(address) == is_here
