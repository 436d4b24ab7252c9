"""Lookups lead only to public addresses."""

from __future__ import annotations

import pytest

from asset_worker.sinks.webhook.resolver import GuardedResolver, NotPublicError
from tests.doubles.webhooks import Lookups


async def addresses(host: str, *found: str) -> list[str]:
    return [each["host"] for each in await GuardedResolver(Lookups(list(found))).resolve(host, 443)]


async def test_public_addresses_pass_and_others_are_left_out():
    assert await addresses("app.example", "10.0.0.7", "1.1.1.1", "fe80::1%3", "2606:4700::1111") == [
        "1.1.1.1",
        "2606:4700::1111",
    ]


@pytest.mark.parametrize("address", ["10.0.0.7", "169.254.169.254", "127.0.0.1", "::1", "::ffff:10.0.0.7", "fe80::1%2"])
async def test_a_name_that_leads_nowhere_else_is_refused_with_what_to_do(address: str):
    with pytest.raises(NotPublicError) as refused:
        await addresses("app.example", address)
    assert str(refused.value) == (
        f"app.example leads to {address}, which is not a public address: set allow_private = true in the table of this "
        "sink if that is intended"
    )


async def test_localhost_is_this_machine_and_nothing_else():
    assert await addresses("localhost", "127.0.0.1", "::1") == ["127.0.0.1", "::1"]
    assert await addresses("localhost", "1.1.1.1", "127.0.0.1") == ["127.0.0.1"]
    for address in ("10.0.0.7", "1.1.1.1"):
        with pytest.raises(NotPublicError, match="not this machine"):
            await addresses("localhost", address)


@pytest.mark.parametrize("host", ["localhost.", "x.localhost", "localhost.localdomain"])
async def test_no_other_name_leads_to_this_machine(host: str):
    with pytest.raises(NotPublicError):
        await addresses(host, "127.0.0.1")


async def test_each_lookup_is_checked():
    """The owner of a name may let it lead elsewhere at any time (DNS rebinding)."""
    resolver = GuardedResolver(Lookups(["1.1.1.1"], ["169.254.169.254"]))
    assert await resolver.resolve("app.example")
    with pytest.raises(NotPublicError):
        await resolver.resolve("app.example")


async def test_the_resolver_is_closed_with_its_guard():
    lookups = Lookups(["1.1.1.1"])
    await GuardedResolver(lookups).close()
    assert lookups.is_closed
