"""What is said of lines that may be missing, and when."""

from pathlib import Path
from typing import Any

import pytest

from asset_worker.intake.file.checkpoint import Checkpoint
from asset_worker.intake.file.gaps import (
    gap_of_compressed,
    gap_of_doubtful,
    gap_of_links,
    gap_of_missing,
    reason_to_reread,
)

QUEUE = Path("/q")


def checkpoint(**fields: Any) -> Checkpoint:
    known = {"device": 8, "inode": 12, "line": 2, "head_bytes": 0, "head": "", "tail_bytes": 0, "tail": ""}
    return Checkpoint(**known | {"offset": 6, "size": 6} | fields)


def after(which: str, at: str = "byte 6 (line 2)") -> str:
    return (
        f"{which} is gone, or was overwritten, and was read to {at}: lines after that are missing, if there were any. "
        "Submit their assets again"
    )


@pytest.mark.parametrize(
    ("fields", "is_current", "was_closed", "is_missing"),
    [
        pytest.param({}, True, True, True, id="it may have grown while the worker was down"),
        pytest.param({}, True, False, False, id="it was watched to its end"),
        pytest.param({}, False, True, False, id="it was rotated away, and complete"),
        pytest.param({}, False, False, False, id="it was rotated away, complete and open"),
        pytest.param({"size": 9}, False, True, True, id="it was rotated away, with lines to read"),
        pytest.param({"size": 9}, True, False, True, id="lines were left to read"),
        pytest.param({"size": 9, "rejected": 9}, False, True, False, id="the rest was rejected"),
        pytest.param({"size": -1}, False, True, True, id="its size was not known"),
        pytest.param({"size": -1, "offset": 0}, False, True, False, id="nothing is known of it"),
        pytest.param({"size": -1, "offset": 0}, True, True, True, id="nothing is known of what was at the path"),
        pytest.param({"size": 9, "offset": 0}, False, True, True, id="nothing of it was read"),
    ],
)
def test_a_file_that_is_gone_is_a_gap_if_it_may_have_had_more_lines(
    fields: dict[str, int], is_current: bool, was_closed: bool, is_missing: bool
):
    found = checkpoint(**fields)
    which = "the file that was at /q" if is_current else "a file that was rotated away from /q"
    said = after(which, f"byte {found.offset} (line 2)") if is_missing else None
    assert gap_of_missing(found, QUEUE, is_current=is_current, was_closed=was_closed) == said


@pytest.mark.parametrize(
    ("found", "size", "said"),
    [
        (None, None, "was not read, as far as is known: its lines are missing"),
        (None, 6, "was not read, as far as is known: its lines are missing"),
        (checkpoint(), None, "was read to byte 6 (line 2): its lines after that are missing"),
        (checkpoint(), 9, "was read to byte 6 of 9 (line 2): its lines after that are missing"),
        (checkpoint(), 6, None),
    ],
)
def test_a_compressed_file_is_a_gap_unless_it_had_been_read_to_its_end(
    found: Checkpoint | None, size: int | None, said: str | None
):
    whole = said and (
        f"/q.1.gz was compressed while the worker was down, and {said}, unless they came in another file. Submit them "
        "again, and let rotation compress a file one rotation later (delaycompress)"
    )
    assert gap_of_compressed(Path("/q.1.gz"), found, size) == whole


@pytest.mark.parametrize(
    ("count", "which"), [(1, "/q.0 has"), (2, "/q.0 and 1 others have"), (3, "/q.0 and 2 others have")]
)
def test_files_that_are_too_old_to_be_read_are_counted(count: int, which: str):
    assert gap_of_doubtful([Path(f"/q.{number}") for number in range(count)]) == (
        f"{which} the name of a rotated file, but was not modified since the last look, and was not read. If it was "
        "rotated away from the queue file while the worker was down, its lines are missing: submit them again"
    )


@pytest.mark.parametrize(("count", "which"), [(1, "/q.0"), (2, "/q.0 (and 1 more)"), (3, "/q.0 (and 2 more)")])
def test_links_that_are_not_followed_are_counted(count: int, which: str):
    assert gap_of_links([Path(f"/q.{number}") for number in range(count)]) == (
        f"{which} has the name of a rotated file, but is a symbolic link, which is not followed there. If it leads to "
        "a file that was rotated away from the queue file, move that file itself to this place"
    )


@pytest.mark.parametrize(
    ("inode", "is_same_content", "why"),
    [
        (12, False, "and other bytes are there now: the file was truncated or rewritten"),
        (13, False, "and another file is there now (inode 13, was 12), with other content"),
        (
            13,
            True,
            (
                "and the same bytes are there, but in another file (inode 13, was 12) with another modification time: "
                "its lines may have been written anew"
            ),
        ),
    ],
)
def test_it_is_said_why_a_file_is_read_again(inode: int, is_same_content: bool, why: str):
    said = reason_to_reread(checkpoint(), inode=inode, is_same_content=is_same_content)
    assert said == f"6 bytes had been read, {why}"
