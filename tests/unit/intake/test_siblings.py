"""What a file beside the path is: decided from values alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset_worker.intake.file.siblings import SEEN_KEPT, Kind, SeenFile, Times, hash_of_head, judge, latest, seen_file

FLAGS = {name: st.booleans() for name in ("is_known", "is_compressed", "may_be_rotated", "is_later", "is_first_look")}


@given(**FLAGS)
def test_only_a_new_file_that_may_have_been_at_the_path_is_read(
    is_known: bool, is_compressed: bool, may_be_rotated: bool, is_later: bool, is_first_look: bool
):
    kind = judge(
        is_known=is_known,
        is_compressed=is_compressed,
        may_be_rotated=may_be_rotated,
        is_later=is_later,
        is_first_look=is_first_look,
    )
    is_read = not is_known and not is_compressed and may_be_rotated and is_later
    assert (kind is Kind.ROTATED) is is_read
    if kind is Kind.DOUBTFUL:
        assert may_be_rotated
        assert not is_known


@pytest.mark.parametrize(
    ("flags", "kind"),
    [
        pytest.param({"is_known": True}, Kind.KNOWN, id="known"),
        pytest.param({"is_first_look": True, "is_later": False}, Kind.HISTORY, id="history"),
        pytest.param({"may_be_rotated": False}, Kind.FOREIGN, id="foreign"),
        pytest.param({}, Kind.ROTATED, id="rotated"),
        pytest.param({"is_compressed": True}, Kind.COMPRESSED, id="compressed"),
        pytest.param({"is_later": False}, Kind.DOUBTFUL, id="older than the last look"),
        pytest.param({"is_later": False, "is_compressed": True}, Kind.HISTORY, id="compressed history"),
        pytest.param({"is_first_look": True}, Kind.ROTATED, id="rotated before an upgrade"),
    ],
)
def test_each_kind(flags: dict[str, bool], kind: Kind):
    usual = {
        "is_known": False,
        "is_compressed": False,
        "may_be_rotated": True,
        "is_later": True,
        "is_first_look": False,
    }
    assert judge(**(usual | flags)) is kind


@pytest.mark.parametrize(
    ("mtime", "ctime", "stepped", "expected"),
    [
        pytest.param(100, 100, False, True, id="in the tick of the last look"),
        pytest.param(99, 150, False, False, id="an archive put back"),
        pytest.param(99, 100, False, False, id="an archive put back in the tick of the last look"),
        pytest.param(50, 50, False, True, id="made while the clock was behind"),
        pytest.param(50, 150, True, True, id="the clock was set back"),
    ],
)
def test_a_wrong_clock_makes_no_new_file_old_and_no_old_one_new(mtime: int, ctime: int, stepped: bool, expected: bool):
    times = Times(since=100, has_stepped_back=stepped)
    assert times.may_be_later(mtime, ctime) is expected


@given(mtime=st.integers(), ctime=st.integers(), stepped=st.booleans())
def test_before_the_first_look_everything_is_history(mtime: int, ctime: int, stepped: bool):
    assert not Times(None, stepped).may_be_later(mtime, ctime)


@given(head=st.binary(min_size=1, max_size=600), more=st.binary(max_size=600), at=st.integers(1, 10**6))
def test_a_file_that_grows_stays_known(head: bytes, more: bytes, at: int):
    head = b"line" + head
    seen = seen_file(7, len(head), at, head[:256])
    assert seen.is_continued_by(len(head) + len(more), at + 1, (head + more)[:256])


@given(head=st.binary(min_size=1, max_size=256), other=st.binary(min_size=256, max_size=256))
def test_another_file_on_the_same_inode_is_not_known(head: bytes, other: bytes):
    head = (b"line" + head)[:256]
    seen = seen_file(7, len(head), 1, head)
    assert seen.is_continued_by(260, 2, (head + other)[:256])
    assert seen.is_continued_by(256, 2, other) is other.startswith(head)
    assert not seen.is_continued_by(len(head) - 1, 2, head[:-1])


@pytest.mark.parametrize("common", [b"", b"\n", b"# asset IDs\n", b"# no newline", bytes(5)])
def test_a_file_without_a_line_that_has_content_now_is_not_known(common: bytes):
    """Its inode may have been reused, or a copy written over it, and nothing shows that it was not."""
    seen = seen_file(7, len(common), 1, common)
    assert not seen.is_continued_by(len(common) + 5, 2, common + b"abcd\n")
    assert seen.is_continued_by(len(common), 1, common)


@pytest.mark.parametrize(
    ("before", "now"), [(None, b"whatever"), (None, None), (b"whatever", None)], ids=["before", "ever", "now"]
)
def test_a_file_that_can_not_be_read_is_known_by_its_growth(before: bytes | None, now: bytes | None):
    seen = seen_file(7, 10, 5, before)
    assert seen.is_continued_by(20, 6, now)
    assert seen.is_continued_by(20, 5, now)
    assert not seen.is_continued_by(20, 4, now)
    assert not seen.is_continued_by(9, 6, now)


def test_a_file_that_was_remembered_when_it_was_empty_is_not_known_once_it_has_content():
    """Earlier versions remembered the hash of nothing, with which any file begins."""
    seen = SeenFile(7, 0, 1, hash_of_head(b""))
    assert not seen.is_continued_by(3, 2, b"a1\n")


@pytest.mark.parametrize(("size", "is_known"), [(255, False), (256, False), (257, True), (300, True)])
def test_a_long_comment_shows_that_a_file_has_grown(size: int, is_known: bool):
    """Two files that begin with 257 bytes of the same comment are one; with fewer, they may be two."""
    seen = seen_file(7, size, 1, (b"#" * size)[:256])
    assert seen.is_continued_by(size + 3, 2, (b"#" * size + b"a1\n")[:256]) is is_known


def test_a_line_of_a_single_byte_shows_that_a_file_has_grown():
    assert seen_file(7, 1, 1, b"x").is_continued_by(3, 2, b"xyz")


def test_a_file_is_known_by_the_hash_that_earlier_versions_stored():
    assert hash_of_head(b"a1\n") == "2734092fdec18581"


@given(times=st.lists(st.integers(0, 1000), max_size=300))
def test_the_latest_files_are_remembered_in_the_order_of_their_times(times: list[int]):
    files = [SeenFile(inode, 1, mtime, "") for inode, mtime in enumerate(times)]
    kept = latest(files)
    assert len(kept) == min(len(times), SEEN_KEPT)
    assert [file.mtime for file in kept] == sorted(times)[-SEEN_KEPT:]
