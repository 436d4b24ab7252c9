"""Reading one file on, where an earlier run took its unterminated last line for whole."""

import os
from pathlib import Path

from asset_worker.intake.file.tail_reader import TailReader
from asset_worker.intake.splitter import LINE_BYTES_LIMIT


def opened(path: Path) -> TailReader:
    return TailReader(os.open(path, os.O_RDONLY), path.name, lambda _: False)


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_a_line_whose_start_is_out_of_reach_is_stepped_back_from_once_and_later_lines_keep_their_numbers(
    tmp_path: Path,
) -> None:
    """Stepping back again at each read would read the same bytes for ever, and count the line anew each time."""
    path = tmp_path / "queue"
    append(path, b"a1\n" + b"x" * 2 * LINE_BYTES_LIMIT)
    before = opened(path)
    assert [line.raw for line in before.read(9)] == [b"a1"]
    assert before.read(9) == []
    assert before.is_read_to_the_end()
    before.finish()
    assert before.line == 2
    after = opened(path)
    assert after.resume(before.checkpoint())
    for piece in (b"y", b"z"):
        append(path, piece)
        assert after.read(9) == []
        assert (after.is_read_to_the_end(), after.line) == (True, 1)
    append(path, b"\na3\n")
    assert [line.raw for line in after.read(9)][1:] == [b"a3"]
    assert after.line == 3
    before.close()
    after.close()
