"""Containers without an engine: processes with the user, the volumes and the read-only root of those in a manifest.

The root is made of the system's programs, this Python and the package, at their own paths, all read-only; the volumes
are mounted where the manifest says. So commands, environment and paths of a manifest are run as they are.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
import pytest

from tests.integration.processes import ROOT, Run
from tests.programs import program

COMMAND = str(Path(sys.executable).parent / "asset-worker")
"""The entry point of the image."""
GROUP = 10001
"""The group of all containers, and of their volumes."""
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/proc", "/dev", "/etc/hosts", "/etc/nsswitch.conf")
_PATH = f"{sys.prefix}/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PYTHON = (sys.base_prefix, sys.prefix, str(ROOT / "worker"))


class Mount(msgspec.Struct, frozen=True):
    """A directory or a file of the test in a container."""

    source: Path
    path: str
    is_read_only: bool = False


class Containers:
    """Starts containers, in the network namespace of the process `network`; None: in that of the test."""

    def __init__(self, folder: Path) -> None:
        """`folder`: where their roots and what they print are. Where containers can't be, the test is skipped."""
        for name in ("unshare", "setpriv", "nsenter"):
            program(name)
        if os.geteuid() != 0:
            pytest.skip("only root can start processes as other users, with mounts of their own")
        if closed := [path for path in _PYTHON if Path(path).stat().st_mode & 0o005 != 0o005]:
            pytest.skip(f"other users may not read {closed[0]}, as if it was made with a umask of 077")
        tried = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", folder]
        if subprocess.run(tried, capture_output=True, timeout=60, check=False).returncode != 0:
            pytest.skip("mount namespaces are not permitted, as in most containers")
        self._folder = folder
        self.network: int | None = None
        self._runs: list[Run] = []

    def start(
        self,
        *command: str,
        user: int,
        group: int = GROUP,
        environ: Mapping[str, str] | None = None,
        mounts: Iterable[Mount] = (),
        capabilities: Iterable[str] = (),
    ) -> Run:
        """Start a command. `capabilities`: those that it may have, as root."""
        number = len(self._runs)
        root = self._folder / f"root-{number}"
        root.mkdir()
        allowed = ",".join(["-all", *(f"+{name.lower()}" for name in capabilities)])
        as_user = f"setpriv --reuid {user} --regid {group} --clear-groups --no-new-privs --inh-caps=-all"
        script = [
            "set -e; umask 022",
            "mount --make-rprivate /",
            f"mount -t tmpfs -o mode=0755 tmpfs {root}",
            *(_bound(path, root / path.lstrip("/")) for path in dict.fromkeys((*_SYSTEM, *_PYTHON))),
            *(_mounted(mount, root) for mount in mounts),
            f"mount -o remount,ro {root}",
            f"cd /; exec chroot {root} {as_user} --bounding-set={allowed} {shlex.join(command)}",
        ]
        enter = [] if self.network is None else ["nsenter", f"--net=/proc/{self.network}/ns/net"]
        stdout, stderr = self._folder / f"stdout-of-{number}", self._folder / f"stderr-of-{number}"
        with stdout.open("wb") as out, stderr.open("wb") as err:
            process = subprocess.Popen(
                [*enter, "unshare", "--mount", "sh", "-c", "\n".join(script)],
                env={"PATH": _PATH, "PYTHONPATH": str(ROOT / "worker"), **(environ or {})},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        self._runs.append(Run(process, stdout, stderr))
        return self._runs[-1]

    def kill_all(self) -> None:
        for run in self._runs:
            run.process.kill()
            run.process.wait()


def volume(path: Path) -> Path:
    """Make a directory with the owner and rights that Kubernetes gives to a volume of the group `fsGroup`."""
    path.mkdir()
    os.chown(path, 0, GROUP)
    path.chmod(0o2775)
    return path


def _bound(path: str, place: Path) -> str:
    """Shell code that shows what is at `path` there, read-only; nothing if it is not there, or is there already."""
    if not Path(path).exists():
        return ":"
    if Path(path).is_symlink():
        return f"cp -P {shlex.quote(path)} {shlex.quote(str(place))}"
    return _mount(Path(path), place, "rbind,ro")


def _mounted(mount: Mount, root: Path) -> str:
    return _mount(mount.source, root / mount.path.lstrip("/"), "bind,ro" if mount.is_read_only else "bind")


def _mount(source: Path, place: Path, options: str) -> str:
    at, parent = shlex.quote(str(place)), shlex.quote(str(place.parent))
    make = f"mkdir -p {at}" if source.is_dir() else f"mkdir -p {parent}; : > {at}"
    return f"test -e {at} || {{ {make}; }}; mount -o {options} {shlex.quote(str(source))} {at}"
