"""Rows below the text on a terminal: whatever is written in whatever order, all text is there, and then the rows."""

from __future__ import annotations

import fcntl
import os
import struct
import termios
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset_worker.runtime.background import BackgroundWriter
from asset_worker.runtime.footer import Footer, Row
from asset_worker.runtime.line_stream import LineStream
from tests.doubles.terminal import Terminal

WORDS = st.text("abc", min_size=1, max_size=30)
ACTIONS = st.one_of(
    st.tuples(st.just("text"), st.lists(WORDS, min_size=1, max_size=4)),
    st.tuples(st.just("rows"), st.lists(WORDS, max_size=6)),
)


def rows(*texts):
    return [Row(text.encode(), len(text)) for text in texts]


@given(actions=st.lists(ACTIONS, max_size=30), height=st.integers(8, 20))
def test_all_text_is_there_in_order_and_then_the_rows(actions, height):
    terminal = Terminal(40, height)
    texts, below = [], []
    for what, lines in actions:
        if what == "text":
            texts += lines
            terminal.write("".join(f"{line}\n" for line in lines))
        else:
            below = lines
            terminal.show(rows(*lines))
        assert terminal.lines == [*texts, *below]
        assert terminal.cursor == (0, len(texts) + len(below)), "a shell would go on below"


@given(pieces=st.lists(st.text("ab\n", min_size=1, max_size=10), min_size=1, max_size=20))
def test_text_that_comes_in_pieces_stays_together(pieces):
    """As tracebacks do."""
    terminal = Terminal(400, 40)
    for piece in pieces:
        terminal.write(piece)
        terminal.show(rows("below"))
    terminal.write("\n")
    expected = "".join([*pieces, "\n"]).split("\n")[:-1]
    assert terminal.lines == [*expected, "below"]


def test_long_lines_of_text_may_wrap():
    terminal = Terminal(10, 20)
    terminal.show(rows("one", "two"))
    terminal.write("abcdefghijklmno\n")
    assert terminal.lines == ["abcdefghij", "klmno", "one", "two"]


def test_a_row_that_turns_out_too_wide_takes_one_line_and_text_wraps_again_after_it():
    terminal = Terminal(10, 20)
    terminal.show(rows("abcdefghijklmno", "two"))
    terminal.show(rows("abcdefghijklmnz", "two"))
    assert terminal.lines == ["abcdefghiz", "two"]
    terminal.write("abcdefghijklmno\n")
    assert terminal.lines == ["abcdefghij", "klmno", "abcdefghiz", "two"]


def test_rows_that_were_wrapped_by_a_terminal_that_got_narrower_are_erased():
    footer = Footer()
    footer.wanted = rows("a" * 30, "b")
    footer.around(b"", columns=40, reflows=True)
    before, _ = footer.around(b"", columns=12, reflows=True)
    assert before == b"\r\x1b[4A"


def test_a_terminal_that_cuts_what_is_too_long_loses_no_line_above_the_rows():
    footer = Footer()
    footer.wanted = rows("a" * 30, "b")
    footer.around(b"", columns=40, reflows=False)
    before, _ = footer.around(b"", columns=12, reflows=False)
    assert before == b"\r\x1b[2A"


def test_rows_that_are_forgotten_stay_above_what_comes_next():
    """The process was stopped by Ctrl-Z, and the shell has written below them."""
    terminal = Terminal(20)
    terminal.show(rows("old"))
    terminal.feed(b"[1]+ Stopped\n$ fg\n")
    terminal.footer.forget()
    terminal.show(rows("new"))
    assert terminal.lines == ["old", "[1]+ Stopped", "$ fg", "new"]


@pytest.fixture
def pty():
    terminal, process = os.openpty()
    fcntl.ioctl(process, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    yield terminal, process
    os.close(terminal)
    os.close(process)


def shown(terminal: int, until: bytes) -> list[str]:
    """What a terminal shows once it was sent these bytes."""
    data = b""
    while until not in data:
        data += os.read(terminal, 65536)
    it = Terminal(60)
    it.feed(data.replace(b"\r\n", b"\n"))
    return it.lines


def test_events_and_the_log_of_one_terminal_never_mix_with_the_rows(pty):
    """Standard output is written in its sink's thread, standard error in the background."""
    terminal, process = pty
    stderr, stdout = BackgroundWriter(LineStream(process)), LineStream(process)
    stderr.show_below(rows("first row"))
    events = [b"event %d\n" % number for number in range(100)]
    writing = threading.Thread(target=lambda: [stdout.write([event]) for event in events])
    found: list[list[str]] = []
    reading = threading.Thread(target=lambda: found.append(shown(terminal, b"last row")))
    reading.start()
    writing.start()
    for number in range(100):
        stderr.write(b"log %d\n" % number)
        stderr.show_below(rows(f"row {number}", "second"))
    writing.join()
    stderr.drain()
    stderr.show_below(rows("last row"))
    reading.join()
    *texts, last = found[0]
    assert last == "last row"
    assert [line for line in texts if line.startswith("event")] == [event.decode().rstrip() for event in events]
    assert [line for line in texts if line.startswith("log")] == [f"log {number}" for number in range(100)]
    assert len(texts) == 200


def test_a_terminal_that_is_gone_fails_no_line_that_was_written_before(pty):
    _, process = pty
    stream = LineStream(process)
    stream.footer.wanted = rows("row")
    gone, other = os.openpty()
    os.close(gone)
    broken = LineStream(other)
    broken.footer.wanted = rows("row")
    with pytest.raises(OSError, match="Input/output"):
        broken.write([b"event\n"])
    assert stream.write([b"event\n"]) == 1
    os.close(other)
