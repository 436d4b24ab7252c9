"""What open files and the directory say about the clock, and whether an old file takes over what is missing."""

from tests.doubles.intake import Disk, Following

HOURS = 3600 * 10**9


def rest(following: Following) -> None:
    """Look until the search has settled."""
    for _ in range(3):
        following.step(1)


def test_one_file_is_enough_to_show_that_the_clock_was_set_back_while_down(disk: Disk, following: Following):
    """The old file is as it was: nobody has written into it since."""
    disk.append(b"o1\n")
    following.step()
    disk.rename("queue", "queue.9")
    disk.append(b"a1\n")
    following.step()
    rest(following)
    following.follower.close()
    ahead = disk.now
    disk.now -= 5 * HOURS
    disk.append(b"a2\n")
    disk.rename("queue", "queue.2")
    disk.append(b"b1\n", "queue.1")
    disk.tick()
    disk.append(b"c1\n")
    disk.now = ahead + HOURS
    disk.append(b"", "other")
    following.restart()
    assert following.step() == ["a2", "b1", "c1"]


def test_a_directory_that_is_away_for_a_while_makes_no_old_file_new(disk: Disk, following: Following):
    """That it has no time is no sign that the clock was set back."""
    (disk.directory / "sub").mkdir()
    sub = Disk(disk.directory / "sub")
    following.path = sub.path()
    following.restart()
    sub.append(b"a1\n")
    assert following.step() == ["a1"]
    rest(following)
    sub.directory.rename(disk.directory / "elsewhere")
    following.step()
    away = Disk(disk.directory / "elsewhere")
    away.now -= HOURS
    away.append(b"x1\n", "queue.7")
    away.now += 2 * HOURS
    away.append(b"", "other")
    away.directory.rename(sub.directory)
    assert [following.step(), following.step(2)] == [[], []]


def test_an_old_file_that_begins_like_a_truncated_one_is_not_read_again(disk: Disk, following: Following):
    disk.append(b"a1\na2\n")
    following.step()
    disk.rename("queue", "queue.1")
    disk.append(b"a1\n")
    assert following.step() == ["a1"]
    disk.truncate()
    disk.append(b"b1\nb2\n")
    assert following.step() == ["b1", "b2"]
