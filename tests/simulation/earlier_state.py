"""State directories that earlier versions of the worker left behind (`tests/fixtures/upgrades`), in a simulated world.

The state directory is a real one. The queue files and the events files that its journal refers to are handed over as
values: they belong into the world's own file system.
"""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from random import Random

import msgspec

from asset_worker.simulator.lifecycles import KINDS, Lifecycle, Rendition
from tests.fixtures.upgrades.manifest import Manifest, manifests
from tests.fixtures.upgrades.restoring import change_journal
from tests.simulation.assets import Account

STATE = "state/"
KILLED_AGO = 1.0
"""Seconds."""
PLAYABLE = Lifecycle(hls=Rendition())
"""The life of an asset that is done at once."""


class EarlierFile(msgspec.Struct, frozen=True):
    """A queue file or an events file."""

    content: bytes
    mtime_ns: int


class EarlierState(msgspec.Struct, frozen=True):
    """What the worker of one commit left behind when it was killed at work. `made` says what is pending and owed."""

    made: Manifest
    files: Mapping[str, EarlierFile]
    """The queue files (`queue`, `queue.1`, `queue.2`) and the events files, by their paths below the root."""
    state: Mapping[str, bytes]
    """The files of the state directory, by their names."""

    def undelivered(self, root: str) -> dict[str, list[str]]:
        """Return the IDs of the events that each sink lacks, by its name. `root` is the directory of the files."""
        return {name.replace("file:/", f"file:{root}/"): ids for name, ids in self.made.undelivered.items()}

    def put(self, state: Path, *, root: str, inodes: Mapping[str, int], base_url: str, wall: float) -> None:
        """Put the state directory where there is none, as if the worker had been killed a second ago.

        Args:
            state: the directory.
            root: where the world has put the files.
            inodes: theirs, by their paths below the root.
            base_url: the address of the API.
            wall: what the wall clock shows, in seconds since the epoch.
        """
        state.mkdir(mode=0o700, parents=True)
        for name, content in self.state.items():
            (state / name).write_bytes(content)
            (state / name).chmod(0o600)
        moved = {old: inodes[name] for name, old in self.made.inodes.items() if name in inodes}
        change_journal(self.made, state, root=root, inodes=moved, base_url=base_url, killed_at=wall - KILLED_AGO)

    def add_assets(self, account: Account, *, born: float, lifecycle: Lifecycle = PLAYABLE) -> None:
        """Add all assets that the files and the journal name. `born`: when their lives began, in the loop's time."""
        made = self.made
        known = dict.fromkeys((*made.unseen, *made.uploaded), made.killed_at + 1) | made.created_at
        for asset_id, created_at in sorted(known.items(), key=lambda each: each[1]):
            account.add(asset_id, KINDS["clip"], lifecycle, born=born, created_at=created_at)


@cache
def earlier_state(commit: str) -> EarlierState:
    """Return what the worker of this commit left behind. It is read once in a process."""
    [made] = [each for each in manifests() if each.commit == commit]
    files, state = {}, {}
    with tarfile.open(made.archive) as archive:
        for member in archive:
            if (opened := archive.extractfile(member)) is None:
                continue
            content = opened.read()
            if member.name.startswith(STATE):
                state[member.name.removeprefix(STATE)] = content
            else:
                files[member.name] = EarlierFile(content, made.mtimes[member.name])
    return EarlierState(made, files, state)


@cache
def commits() -> list[str]:
    """Return the commits of which there is something, the oldest schema first."""
    return [each.commit for each in manifests()]


def draw_earlier_state(random: Random) -> EarlierState:
    """Return what a random one of the commits left behind."""
    return earlier_state(random.choice(commits()))
