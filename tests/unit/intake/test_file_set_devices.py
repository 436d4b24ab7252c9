"""What is opened after a reboot, when files have another device number."""

import json

from tests.doubles.intake import Disk, Following
from tests.doubles.searching import open_descriptors


def test_a_file_that_two_positions_fit_is_opened_once_under_another_device_number(disk: Disk, following: Following):
    disk.append(b"a1\na2\n")
    following.step()
    disk.truncate()
    disk.append(b"a1\n")
    assert following.step() == ["a1"]
    following.follower.close()
    state = json.loads(following.position or b"")
    for file in state["files"]:
        file["device"] += 1
    following.position = json.dumps(state).encode()
    disk.append(b"a2\n")
    before = open_descriptors()
    following.restart()
    following.event_names()
    following.step()
    assert (open_descriptors() - before, following.event_names()) == (1, [])
