"""Builds the wheel and the source archive of the committed tree, and says what differs between two archives."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from tests.release.agreement import CheckError

ROOT = Path(__file__).parents[2]
DIST = ROOT / "dist"


class Member(NamedTuple):
    """All that an archive says of one of its files."""

    time: object
    mode: str
    owner: object
    content: str


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def run(*command: str | Path, cwd: Path = ROOT, environ: Mapping[str, str] = os.environ, umask: int = -1) -> str:
    """Return what a command prints on stdout.

    Raises:
        CheckError: it failed, or there is no such command.
    """
    words = " ".join(map(str, command))
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=environ,
            umask=umask,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        raise CheckError(f"{words}: {error}") from None
    if done.returncode != 0:
        raise CheckError(f"{words}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def commit_time() -> str:
    """Return when the last commit was made, in seconds since 1970: the time that the archives bear."""
    return run("git", "log", "-1", "--format=%ct").strip()


def committed_tree(into: Path) -> Path:
    """Put the files of the last commit into a new folder, and nothing else, and return it."""
    into.mkdir(parents=True)
    archive = into.with_suffix(".tar")
    run("git", "archive", "--output", archive, "HEAD")
    run("tar", "-xf", archive, "-C", into)
    return into


def unpacked(source_archive: Path, into: Path) -> Path:
    """Unpack a source archive into a new folder, and return the folder with the files."""
    into.mkdir()
    run("tar", "-xf", source_archive, "-C", into)
    [folder] = into.iterdir()
    return folder


def make_strange(tree: Path) -> Path:
    """Give the files of a tree other times and modes, as another person's checkout may have them, and return it."""
    for path in tree.rglob("*"):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & 0o700)
            os.utime(path, (1_000_000_000, 1_000_000_000))
    return tree


def build(tree: Path, into: Path, *, time: str, strange: bool = False) -> list[Path]:
    """Build both archives with the installed backend, without isolation, and return their paths: the wheel is first.

    Args:
        tree: the folder with pyproject.toml.
        into: a folder for the archives.
        time: SOURCE_DATE_EPOCH, in seconds since 1970 (reproducible-builds.org/specs/source-date-epoch).
        strange: with another umask, time zone, locale and order of hashes.

    Raises:
        CheckError: the build failed.
    """
    usual = {"TZ": "UTC", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "1"}
    other = {"TZ": "Pacific/Chatham", "LC_ALL": "C", "PYTHONHASHSEED": "2"}
    run(
        *(sys.executable, "-m", "hatchling", "build", "--directory", into),
        cwd=tree,
        environ={**os.environ, **(other if strange else usual), "SOURCE_DATE_EPOCH": time},
        umask=0o077 if strange else 0o022,
    )
    return sorted(into.iterdir())


def differences(one: Path, other: Path) -> list[str]:
    """Return lines about what two wheels, or two source archives, do not have alike: none if they have one hash."""
    if sha256(one) == sha256(other):
        return []
    ours, theirs = _members(one), _members(other)
    lines = [f"{name}: only in {one}" for name in ours.keys() - theirs.keys()]
    lines += [f"{name}: only in {other}" for name in theirs.keys() - ours.keys()]
    for name in ours.keys() & theirs.keys():
        lines += [
            f"{name}: {field} {mine}, {yours}"
            for field, mine, yours in zip(Member._fields, ours[name], theirs[name], strict=True)
            if mine != yours
        ]
    return sorted(lines) or ["the members are alike; their order, the compression or the archive's header differs"]


def _members(path: Path) -> dict[str, Member]:
    return dict(_in_wheel(path) if path.suffix == ".whl" else _in_source_archive(path))


def _in_wheel(path: Path) -> Iterator[tuple[str, Member]]:
    with zipfile.ZipFile(path) as archive:
        for each in archive.infolist():
            yield each.filename, _member(each.date_time, each.external_attr >> 16, None, archive.read(each))


def _in_source_archive(path: Path) -> Iterator[tuple[str, Member]]:
    with tarfile.open(path) as archive:
        for each in archive.getmembers():
            file = archive.extractfile(each)
            owner = (each.uid, each.gid, each.uname, each.gname)
            yield each.name, _member(each.mtime, each.mode, owner, file.read() if file is not None else b"")


def _member(time: object, mode: int, owner: object, content: bytes) -> Member:
    return Member(time, oct(mode), owner, f"sha256:{hashlib.sha256(content).hexdigest()[:12]}")
