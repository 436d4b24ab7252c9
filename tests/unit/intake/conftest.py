"""What the follower's tests share: a directory, and a follower of one path in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doubles.intake import Disk, Following


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


@pytest.fixture
def following(disk: Disk) -> Iterator[Following]:
    following = Following(disk.path())
    yield following
    following.follower.close()
