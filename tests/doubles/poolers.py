"""PgBouncer, which lends the connections of a server to many clients, for one transaction each."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from tests.doubles.postgres import as_its_user, folder_of, folder_of_a_server
from tests.programs import program

START_SECONDS = 60.0
LENT = 2
"""Connections of the server, which all clients share."""
_SETTINGS = """
[databases]
* = host={server} user=postgres
[pgbouncer]
pool_mode = transaction
default_pool_size = {lent}
auth_type = any
listen_port = 5432
unix_socket_dir = {folder}
"""


@contextmanager
def running_pooler(server: str) -> Iterator[str]:
    """A pooler in transaction mode before a server. Provides its URL.

    Without the program, the test is skipped; in CI, which installs it, it fails.
    """
    pgbouncer = program("pgbouncer")
    with folder_of_a_server() as folder:
        settings = folder / "settings.ini"
        settings.write_text(_SETTINGS.format(server=folder_of(server), lent=LENT, folder=folder))
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([pgbouncer, settings], stdout=log, stderr=log, cwd=folder, **as_its_user())
        try:
            url = f"postgresql://postgres@/postgres?host={folder}"
            deadline = time.monotonic() + START_SECONDS
            while not _answers(url):
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.05)
            yield url
        finally:
            process.kill()
            process.wait()


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True
