"""Which state directories are trusted."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset_worker.queue.local.trust import CREATED_AGAIN, reason_to_distrust, reason_to_distrust_requests

PATH = Path("/srv/state")
USERS = st.integers(0, 2**32 - 2)


@given(mode=st.integers(0, 0o7777), owner=USERS, user=USERS)
def test_a_directory_of_ours_or_of_root_is_trusted_unless_everybody_may_write_to_it(mode, owner, user):
    for each in (owner, user, 0):
        reason = reason_to_distrust(PATH, mode=stat.S_IFDIR | mode, owner=each, user=user)
        assert (reason is None) == (each in {user, 0} and not mode & 0o002)
        assert reason is None or (str(PATH) in reason and "--state-dir" in reason)


@pytest.mark.parametrize("mode", [0o700, 0o750, 0o755, 0o770, 0o2775, 0o3770], ids=oct)
@pytest.mark.parametrize("owner", [0, 10001], ids=["root", "us"])
def test_its_group_may_write_to_it(mode, owner):
    """A volume of Kubernetes belongs to root and to the group `fsGroup`, which may write to it."""
    assert reason_to_distrust(PATH, mode=stat.S_IFDIR | mode, owner=owner, user=10001) is None


def test_the_owner_and_the_present_user_are_named():
    reason = reason_to_distrust(PATH, mode=stat.S_IFDIR | 0o700, owner=1000, user=0)
    assert reason is not None
    assert "the state directory /srv/state belongs to user 1000" in reason
    assert "runs as user 0: run as the owner, change the owner (chown 0 /srv/state), or name another" in reason


@pytest.mark.parametrize(
    ("mode", "shown", "advises"), [(0o777, "0777", True), (0o2777, "2777", True), (0o1777, "1777", False)]
)
def test_a_shared_directory_such_as_tmp_stays_shared(mode, shown, advises):
    """What helps everywhere is a directory in it."""
    reason = reason_to_distrust(PATH, mode=stat.S_IFDIR | mode, owner=0, user=10001)
    assert reason is not None
    assert f"(mode {shown})" in reason
    assert reason.endswith("name a directory in it, which the worker will create: --state-dir /srv/state/state")
    assert ("chmod o-w /srv/state" in reason) == advises


@pytest.mark.parametrize(
    ("mode", "owner", "reason"),
    [
        (0o700, 5, None),
        (0o755, 0, None),
        (0o2755, 5, None),
        (0o700, 1, f"/srv/state belongs to user 1, and this process runs as user 5: {CREATED_AGAIN}"),
        (0o770, 5, "others may write to /srv/state (mode 0770): take that right away (chmod 0700 /srv/state)"),
        (0o702, 0, "others may write to /srv/state (mode 0702): take that right away (chmod 0700 /srv/state)"),
    ],
)
def test_requests_are_taken_from_a_directory_to_which_only_its_owner_may_write(mode, owner, reason):
    assert reason_to_distrust_requests(PATH, mode=stat.S_IFDIR | mode, owner=owner, user=5) == reason
