"""Looking up the API's address."""

from __future__ import annotations

import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from asset_worker.runtime.resolver import ThreadResolver
from tests.doubles.threads import InlineThread

ROOT = Path(__file__).parents[3]


async def test_all_addresses_of_a_host_are_found(monkeypatch: pytest.MonkeyPatch):
    """In the form that aiohttp connects to, the link of a link-local address included."""

    def getaddrinfo(*asked: object, **how: object) -> list[object]:
        assert asked == ("api.example", 443)
        assert how == {"family": socket.AF_UNSPEC, "type": socket.SOCK_STREAM, "flags": socket.AI_ADDRCONFIG}
        kind, protocol = socket.SOCK_STREAM, socket.IPPROTO_TCP
        return [
            (socket.AF_INET6, kind, protocol, "", ("2001:db8::1", 443, 0, 0)),
            (socket.AF_INET6, kind, protocol, "", ("fe80::1", 443, 0, 3)),
            (socket.AF_INET, kind, protocol, "", ("192.0.2.1", 443)),
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    found = await ThreadResolver(InlineThread()).resolve("api.example", 443, socket.AF_UNSPEC)
    assert [(each["hostname"], each["host"], each["port"], each["family"]) for each in found] == [
        ("api.example", "2001:db8::1", 443, socket.AF_INET6),
        ("api.example", "fe80::1%3", 443, socket.AF_INET6),
        ("api.example", "192.0.2.1", 443, socket.AF_INET),
    ]


async def test_a_host_that_is_not_known_is_an_error_of_the_network(monkeypatch: pytest.MonkeyPatch):
    def getaddrinfo(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(OSError, match="not known"):
        await ThreadResolver(InlineThread()).resolve("nowhere.invalid", 443)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_name_server_that_does_not_answer_does_not_keep_the_process_from_ending(loop: str):
    """What asyncio and uvloop run in threads of theirs is waited for at the end."""
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    script = textwrap.dedent(
        f"""
        import asyncio, socket, threading, {loop}
        from yarl import URL
        from asset_worker.api.session import open_session

        asked = threading.Event()

        def getaddrinfo(*_, **__):
            asked.set()
            threading.Event().wait()

        socket.getaddrinfo = getaddrinfo

        async def get(session):
            async with session.get(URL("https://api.example/v1.3/assets"), headers={{}}):
                pass

        async def main():
            async with open_session("https://api.example/v1.3", total_timeout=60) as session:
                getting = asyncio.create_task(get(session))
                while not asked.is_set():
                    await asyncio.sleep(0.01)
                getting.cancel()
                await asyncio.wait([getting])

        with asyncio.Runner(loop_factory={loop}.new_event_loop) as runner:
            runner.run(main())
        """
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60, cwd=ROOT)
