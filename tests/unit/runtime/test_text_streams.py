"""Standard streams for people: what is written as text is shown, what is written as bytes is not changed."""

from __future__ import annotations

import io
import sys
import traceback

import click
import pytest

from asset_worker.runtime import stderr
from asset_worker.runtime.stderr import styled_stderr
from asset_worker.runtime.text_streams import VisibleText


class Kept(io.BytesIO):
    name = "kept"


@pytest.fixture
def stream():
    return VisibleText(Kept(), encoding="utf-8")


def test_text_is_shown_with_escapes_and_keeps_its_lines(stream):
    assert stream.write("a\x1b[31m\tb\n\x9b\udcff") == 11
    print("späte\x07", file=stream)
    stream.writelines(["\u202e", "\n"])
    assert stream.buffer.getvalue().decode() == "a\\x1b[31m\tb\n\\x9b\\udcffspäte\\x07\n\\u202e\n"


def test_a_traceback_obeys_nothing(stream):
    try:
        raise ValueError("\x1b]0;title\x07")
    except ValueError:
        traceback.print_exc(file=stream)
    assert b"ValueError: \\x1b]0;title\\x07\n" in stream.buffer.getvalue()


def test_bytes_pass_as_they_are(stream):
    click.echo(b"\x1b[m\xff", file=stream)
    assert stream.buffer.getvalue() == b"\x1b[m\xff\n"


@pytest.mark.parametrize("encoding", ["ascii", "US-ASCII", "latin-1", "utf-8"])
def test_what_click_repeats_is_shown_whatever_the_encoding(encoding, monkeypatch):
    """It replaces a stream that is ASCII by one of its own."""
    buffer = Kept()
    monkeypatch.setattr(sys, "stderr", VisibleText(buffer, encoding=encoding))
    click.exceptions.UsageError("No such option: --\x1b]0;x\x07\x9b\u202e").show()
    assert buffer.getvalue() == b"Error: No such option: --\\x1b]0;x\\x07\\x9b\\u202e\n"


def test_a_character_that_the_encoding_lacks_is_shown():
    buffer = Kept()
    narrow = VisibleText(buffer, encoding="latin-1")
    narrow.write("é動")
    assert buffer.getvalue() == b"\xe9\\u52d5"


def test_only_the_streams_of_the_command_are_replaced_for_styles(stream, monkeypatch):
    """A live display stands in for standard error, and shows what is written there above itself."""
    styled, live = io.StringIO(), io.StringIO()
    monkeypatch.setattr(stderr, "_styled", styled)
    monkeypatch.setattr(sys, "stderr", stream)
    assert styled_stderr() is styled
    monkeypatch.setattr(sys, "stderr", live)
    assert styled_stderr() is live
