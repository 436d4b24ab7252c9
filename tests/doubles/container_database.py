"""The database of containers: a server that they reach by TCP, in whatever network namespace they are."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from tests.doubles import postgres

NAME = "assets"
_RELAY = """
import asyncio, sys

async def pass_on(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()

async def connected(reader, writer):
    to_server = await asyncio.open_unix_connection(sys.argv[1])
    await asyncio.gather(pass_on(reader, to_server[1]), pass_on(to_server[0], writer))

async def main():
    server = await asyncio.start_server(connected, "127.0.0.1", int(sys.argv[2]))
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""
"""Passes connections on to the socket of a server, which is a file and so in no network namespace."""


@contextmanager
def running_database(script: str = "", *, port: int = 0, network: int | None = None) -> Iterator[tuple[str, str]]:
    """A server with a database of its own, in which the script was run, in the network namespace of a process.

    None: in that of the test. Provides its URL for the test, and its host, port and name for the containers.
    """
    with postgres.running_server() as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {NAME}")
        own = url.replace("/postgres?", f"/{NAME}?")
        if script:
            with psycopg.connect(own, autocommit=True) as connection:
                connection.execute(script.encode())
        enter = [] if network is None else ["nsenter", f"--net=/proc/{network}/ns/net"]
        path = postgres.folder_of(url) / ".s.PGSQL.5432"
        arguments = [*enter, sys.executable, "-c", _RELAY, str(path), str(port)]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as relay:
            try:
                assert relay.stdout is not None
                yield own, f"127.0.0.1:{int(relay.stdout.readline())}/{NAME}"
            finally:
                relay.kill()
