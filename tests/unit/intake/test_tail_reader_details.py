"""What an open file tells: where it was read to, whether it is the same, and whether another begins like it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from asset_worker.intake.file import tail_reader
from asset_worker.intake.file.checkpoint import Checkpoint, digest
from asset_worker.intake.file.siblings import seen_file
from asset_worker.intake.file.tail_reader import OutputFileError, TailReader
from tests.doubles.searching import open_descriptors, opened, read_to

LINES = b"a1\na2\na3\n"
NOTHING = digest(b"")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "queue"
    path.write_bytes(LINES)
    return path


@pytest.fixture
def file(path: Path) -> Iterator[TailReader]:
    with opened(path) as file:
        yield file


def raw(file: TailReader, limit: int = 99) -> list[bytes]:
    return [line.raw for line in file.read(limit)]


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def start(path: Path, identifier: str) -> Checkpoint:
    """The checkpoint of a file of which nothing was read."""
    status = path.stat()
    return Checkpoint(
        status.st_dev, status.st_ino, 0, 0, 0, NOTHING, 0, NOTHING, 0, identifier, status.st_size, status.st_mtime_ns
    )


class FailingOs:
    """Stands in for `os`: the status of no file can be read."""

    def fstat(self, _: int) -> os.stat_result:
        raise OSError("no status")

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


def test_a_file_begins_at_its_start(path: Path, file: TailReader):
    status = path.stat()
    assert file.checkpoint() == start(path, f"{status.st_dev}:{status.st_ino}")
    assert (file.end, file.quiet_since, file.partial, file.has_partial) == (0, 0.0, [], False)


def test_a_file_whose_status_can_not_be_read_is_closed(path: Path, monkeypatch: pytest.MonkeyPatch):
    descriptor = os.open(path, os.O_RDONLY)
    before = open_descriptors()
    monkeypatch.setattr(tail_reader, "os", FailingOs())
    with pytest.raises(OSError, match="no status"):
        TailReader(descriptor, "queue", lambda _: False)
    assert open_descriptors() == before - 1


def test_a_rewritten_file_is_another_one_from_its_start(path: Path, file: TailReader):
    raw(file)
    file.rejected = 9
    file.restart()
    assert file.checkpoint() == start(path, f"{file.identity[0]}:{file.identity[1]}+1")
    assert raw(file) == [b"a1", b"a2", b"a3"]
    assert file.line == 3


def test_a_closed_file_is_remembered_by_its_inode_size_time_and_first_bytes(path: Path, file: TailReader):
    raw(file)
    status = path.stat()
    assert file.seen() == seen_file(status.st_ino, 9, status.st_mtime_ns, LINES)


# Closing


def test_closing_twice_closes_no_other_descriptor(path: Path):
    with opened(path) as file:
        before = open_descriptors()
        file.close()
        file.close()
        assert open_descriptors() == before - 1
        assert os.fstat(0)


def test_a_file_on_the_descriptor_of_standard_input_is_closed_as_well(path: Path):
    """As in a process that was started without a standard input."""
    kept = os.dup(0)
    try:
        descriptor = os.open(path, os.O_RDONLY)
        os.dup2(descriptor, 0)
        os.close(descriptor)
        TailReader(0, "queue", lambda _: False).close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(0)
    finally:
        os.dup2(kept, 0)
        os.close(kept)


def test_of_a_closed_file_nothing_is_known(path: Path):
    with opened(path) as file:
        assert (file.has_name(), file.is_read_to_the_end()) == (True, False)
        file.read(99)
        assert file.is_read_to_the_end()
    assert (file.has_name(), file.is_read_to_the_end()) == (False, False)


def test_a_deleted_file_has_no_name(path: Path, file: TailReader):
    path.unlink()
    assert file.has_name() is False


# Reading


def test_what_this_process_writes_is_not_read(path: Path):
    file = TailReader(os.open(path, os.O_RDONLY), "queue", lambda _: True)
    with pytest.raises(OutputFileError, match="Remove this name of it") as raised:
        file.read(1)
    assert raised.value.filename == "queue"
    with pytest.raises(OutputFileError) as raised:
        file.refuse_output(path)
    assert raised.value.filename == str(path)
    assert file.offset == 0
    file.close()


def test_no_more_is_read_of_a_line_without_an_end_than_the_limit(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tail_reader, "READ_BYTES", 8192)
    path.write_bytes(b"x" * 20_000)
    with opened(path) as file:
        ends = []
        for _ in range(3):
            assert file.read(1) == []
            ends.append(file.end)
    assert ends == [8192, 16384, 20_000]


def test_the_partial_line_after_as_many_lines_as_were_wanted_has_been_read(path: Path):
    append(path, b"a")
    with opened(path) as file:
        assert raw(file, 3) == [b"a1", b"a2", b"a3"]
        assert (file.offset, file.end) == (9, 10)
        file.restart()
        assert raw(file, 2) == [b"a1", b"a2"]
        assert (file.offset, file.end) == (6, 6)


@pytest.mark.parametrize(
    ("partial", "more", "lines"),
    [
        pytest.param(b"a1", b"2\n", [b"a12"], id="in the line"),
        pytest.param(b"a1", b"\nb1\n", [b"b1"], id="after the line"),
        pytest.param(b"a1" + bytes(4), b"b1\n", [b"b1"], id="after zeros"),
        pytest.param(b"a" + bytes(1) + b"b", b"1\n", [b"a", b"b1"], id="in the line after a zero"),
        pytest.param(b"", b"b1\n", [b"b1"], id="after nothing"),
    ],
)
def test_a_last_line_that_was_taken_for_whole_and_grows_is_read_again(
    path: Path, partial: bytes, more: bytes, lines: list[bytes]
):
    append(path, partial)
    with opened(path) as file:
        raw(file)
        file.finish()
        assert (file.partial, file.offset) == ([], 9 + len(partial))
        append(path, more)
        assert raw(file) == lines


# Which file it is


@pytest.mark.parametrize(
    ("content", "is_distinguished"),
    [
        (b"", False),
        (b"\n\n", False),
        (b"# asset IDs\n", False),
        (b"a1\n", True),
        (b"a1", False),
        (b"#" * 1023 + b"\n", False),
        (b"#" * 1024 + b"\n", True),
    ],
    ids=["empty", "blank", "comment", "line", "partial line", "a long comment", "a longer comment"],
)
def test_what_was_read_shows_which_file_it_is_if_it_has_a_line_or_is_long(
    path: Path, content: bytes, is_distinguished: bool
):
    path.write_bytes(content)
    with opened(path) as file:
        file.read(99)
        assert file.is_distinguished is is_distinguished


def test_a_checkpoint_is_held_by_the_files_that_begin_with_what_was_read(path: Path, tmp_path: Path):
    checkpoint = read_to(path, 2)
    for content, holds in [(LINES, True), (LINES[:6], True), (LINES[:5], False), (b"b1\nb2\nb3\n", False)]:
        other = tmp_path / "other"
        other.write_bytes(content)
        with opened(other) as file:
            assert file.holds(checkpoint) is holds
            assert file.resume(checkpoint) is holds
            assert file.offset == (6 if holds else 0)


def test_a_file_that_ends_before_the_position_is_another_one(path: Path):
    """Also if no bytes before the position were hashed, because a longer partial line had been read."""
    path.write_bytes(b"x" * 1500 + b"\n")
    checkpoint = msgspec.structs.replace(read_to(path, 1), tail_bytes=0, tail=NOTHING)
    with opened(path) as file:
        assert file.holds(checkpoint)
    os.truncate(path, 1200)
    with opened(path) as file:
        assert not file.holds(checkpoint)


@pytest.mark.parametrize("partial", [0, 1, 4096])
def test_the_bytes_before_the_position_identify_a_file_also_with_a_partial_line(path: Path, partial: int):
    path.write_bytes(b"a1\n" * 1000 + b"x" * partial)
    checkpoint = read_to(path, 1000)
    assert (checkpoint.offset, checkpoint.head_bytes, checkpoint.tail_bytes) == (3000, 1024, 256)
    with opened(path) as file:
        assert file.holds(checkpoint)
    path.write_bytes(b"a1\n" * 999 + b"b1\n" + b"x" * partial)
    with opened(path) as file:
        assert not file.holds(checkpoint)


@pytest.mark.parametrize(("at", "is_intact"), [(0, False), (1023, False), (2000, True), (8999, False)])
def test_a_file_that_was_rewritten_at_its_start_or_before_the_position_is_another_one(
    path: Path, at: int, is_intact: bool
):
    """A file that was rewritten as a whole differs there; in between, nothing is compared."""
    path.write_bytes(b"a1\n" * 3000)
    with opened(path) as file:
        file.read(3000)
        assert file.is_intact()
        with path.open("r+b") as writer:
            writer.seek(at)
            writer.write(b"?")
        assert file.is_intact() is is_intact


@pytest.mark.parametrize(
    ("content", "other", "begins"),
    [
        pytest.param(LINES[:6], LINES, True, id="a part"),
        pytest.param(LINES, LINES, True, id="all"),
        pytest.param(LINES, LINES[:6], False, id="more"),
        pytest.param(b"a", LINES, True, id="a byte"),
        pytest.param(b"", LINES, False, id="nothing"),
        pytest.param(b"b1\n", LINES, False, id="another"),
        pytest.param(b"a" * 6000, b"a" * 7000, True, id="a long part"),
        pytest.param(b"a" * 5999 + b"b", b"a" * 7000, False, id="a long one with another end"),
        pytest.param(b"b" + b"a" * 5999, b"a" * 7000, False, id="a long one with another start"),
    ],
)
def test_a_copy_that_is_still_being_made_is_one_that_the_other_begins_with(
    tmp_path: Path, content: bytes, other: bytes, begins: bool
):
    for name, data in (("copy", content), ("other", other)):
        (tmp_path / name).write_bytes(data)
    with opened(tmp_path / "copy") as copy, opened(tmp_path / "other") as original:
        assert copy.begins(original) is begins
