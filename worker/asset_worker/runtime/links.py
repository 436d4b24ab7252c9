"""Opens files by their paths, without following a symbolic link where somebody else wants it to lead.

Whoever may write to a directory can put a link there, and so have a process with more rights open a file of another
user. Therefore a link is followed only if it belongs to root, to the user of this process, or to the owner of the file
that it leads to, who could give that file away without a link. This is the rule of Linux's `fs.protected_symlinks`
(proc_sys_fs(5)), which applies it to the last name of a path and in sticky directories only. Here it applies to every
link on the way, as in systemd's CHASE_SAFE: to those that another link leads to, and to those in the directories above,
which others may write as well. The owners of the directories themselves do not count: they are no way to a file of
another user, because a directory can't be linked, nor be moved by somebody who may not write to it.

A path is walked name by name, from one open directory to the next, and a link is read from its own descriptor. So what
is checked is what is used, even if names are exchanged meanwhile.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

ROOT: Final = 0
NAMES_LIMIT: Final = 256
"""How many names are walked for one path, those that links lead through included. No path in use has as many. Links
that lead in a circle, or have long texts, would take the time of a core."""

_DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


class UntrustedLinkError(OSError):
    """A path leads through a symbolic link that is not followed, because of its owner."""


class Link(msgspec.Struct, frozen=True):
    """A symbolic link on the way of a path."""

    path: Path
    text: str
    """The path that it holds."""
    owner: int
    """The user ID of its owner."""


class Place(msgspec.Struct, frozen=True):
    """What a path leads to: a name in an open directory."""

    path: Path
    """The path that was walked."""
    real: Path
    """Where it leads: a path without links."""
    name: str
    links: tuple[Link, ...]
    """The links on the way."""
    directory: int | None
    """The descriptor of the directory; None: there is no such directory."""

    def status(self) -> os.stat_result | None:
        """Return the status of what has the name now, no link followed; None: nothing has it.

        Raises:
            OSError: it can't be examined.
        """
        if self.directory is None:
            return None
        try:
            with _errors_about(self.path):
                return os.stat(self.name, dir_fd=self.directory, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def open(self, flags: int, mode: int = 0o600) -> int:
        """Open what has the name now, no link followed, and return the descriptor.

        Raises:
            OSError: it can't be opened, or is a link.
        """
        if self.directory is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self.path))
        with _errors_about(self.path):
            flags |= os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC
            return os.open(self.name, flags, mode, dir_fd=self.directory)


def is_trusted(link_owner: int, *, target_owner: int | None, user: int) -> bool:
    """Return whether a process of `user` follows a link to a file of `target_owner`; None: there is no file yet.

    All three are user IDs.
    """
    return link_owner in {ROOT, user, target_owner}


def refuse_untrusted(path: Path, links: Sequence[Link], *, target_owner: int | None) -> None:
    """Refuse to follow the links on the way of a path to a file of `target_owner`; None: there is no file yet.

    Raises:
        UntrustedLinkError: one of them is not trusted. The error says which one, and what to do.
    """
    for link in links:
        if not is_trusted(link.owner, target_owner=target_owner, user=os.geteuid()):
            leads = "to a new file" if target_owner is None else f"to a file of user {target_owner}"
            why = (
                f"the symbolic link {link.path} belongs to user {link.owner}, and is not followed {leads}: remove it; "
                f"if it is right, give it to root (chown -h root {link.path}), or name the file that it leads to"
            )
            raise UntrustedLinkError(errno.EACCES, why, str(path))


@contextmanager
def walked(path: Path, *, follow: bool = True) -> Iterator[Place]:
    """Walk an absolute path, and yield where it leads. The directory there stays open until exit.

    Not `follow`: a link that has the last name is not followed; those in the directories above are.

    Raises:
        OSError: a directory on the way can't be entered, or the way is too long, as where links lead in a circle.
    """
    with _errors_about(path):
        directory = _Directory()
    try:
        with _errors_about(path):
            place = _walk(path, directory, follow=follow)
        yield place
    finally:
        directory.close()


def _walk(path: Path, directory: _Directory, *, follow: bool) -> Place:
    ahead = [*reversed(path.parts[1:])]
    real, name = Path("/"), "."
    links: list[Link] = []
    for _ in range(NAMES_LIMIT):
        if not ahead:
            return Place(path, real, name, tuple(links), directory.descriptor)
        name = ahead.pop()
        link = directory.read_link(name, real) if ahead or follow else None
        if link is not None:
            links.append(link)
        if link is None or (ahead and directory.is_of_process(name)):
            real = real.parent if name == ".." else real / name
            if ahead:
                directory.enter(name, os.O_NOFOLLOW if link is None else 0)
            continue
        if link.text.startswith("/"):
            real = Path("/")
            directory.enter("/")
        ahead += [each for each in reversed(link.text.split("/")) if each not in {"", "."}] or ["."]
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


class _Directory:
    """The directory that a walk has come to, open."""

    def __init__(self) -> None:
        self.descriptor: int | None = os.open("/", _DIRECTORY)
        """None: there is no such directory."""

    def enter(self, name: str, flags: int = 0) -> None:
        """Go on to the directory that has this name."""
        if self.descriptor is None:
            return
        below = None
        with suppress(FileNotFoundError):
            below = os.open(name, _DIRECTORY | flags, dir_fd=self.descriptor)
        self.close()
        self.descriptor = below

    def read_link(self, name: str, real: Path) -> Link | None:
        """Return the link that has this name; None: there is none. `real` is the path of this directory."""
        if self.descriptor is None:
            return None
        try:
            if not stat.S_ISLNK(os.stat(name, dir_fd=self.descriptor, follow_symlinks=False).st_mode):
                return None
            found = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.descriptor)
        except FileNotFoundError:
            return None
        try:
            status = os.fstat(found)
            is_link = stat.S_ISLNK(status.st_mode)
            return Link(real / name, os.readlink("", dir_fd=found), status.st_uid) if is_link else None
        finally:
            os.close(found)

    def is_of_process(self, name: str) -> bool:
        """Return whether a link is one of /proc (proc_pid_root(5)), whose text does not say where it leads."""
        try:
            link = os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
            return link.st_dev == os.lstat("/proc/self").st_dev
        except OSError:
            return False

    def close(self) -> None:
        """Close the descriptor."""
        if self.descriptor is not None:
            os.close(self.descriptor)


@contextmanager
def _errors_about(path: Path) -> Iterator[None]:
    """Let errors name the whole path instead of one name of it."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise
