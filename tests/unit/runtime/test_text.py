"""Text from outside, made safe to show: nothing that a terminal obeys is left, and nothing else changes."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset_worker.runtime.text import clip, visible, visible_json, visible_json_bytes, visible_lines

C0 = {chr(number) for number in range(0x20)}
C1 = {chr(number) for number in range(0x80, 0xA0)}
BIDIRECTIONAL = {
    chr(number)
    for number in range(0x11_0000)
    if unicodedata.bidirectional(chr(number)) in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
} | set("\u061c\u200e\u200f")
SEPARATORS = {"\u2028", "\u2029"}
SURROGATES = {chr(number) for number in range(0xD800, 0xE000)}
UNSAFE = {*C0, "\x7f", *C1, *BIDIRECTIONAL, *SEPARATORS, *SURROGATES}

texts = st.text(st.one_of(st.characters(), st.sampled_from(sorted(UNSAFE)), st.sampled_from('\\"aé動\u200d\U0001f600')))
"""With many of the characters in question, and others that are like them."""
no_surrogates = texts.filter(lambda text: not SURROGATES & set(text))


def test_exactly_these_characters_become_escapes():
    everything = map(chr, range(0x11_0000))
    assert {character for character in everything if visible(character) != character} == UNSAFE


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]52;c;ZXZpbA==\x07", r"\x1b]52;c;ZXZpbA==\x07"),
        ("a\nb\tc\r", r"a\nb\tc\r"),
        ("\x9b31m\x7f", r"\x9b31m\x7f"),
        ("\u202egnp\u2066", r"\u202egnp\u2066"),
        ("q\udcff", r"q\udcff"),
        ("späte 動画 \U0001f469\u200d\U0001f4bb", "späte 動画 \U0001f469\u200d\U0001f4bb"),
    ],
    ids=ascii,
)
def test_a_value_is_shown_on_one_line(text, shown):
    assert visible(text) == shown


@given(texts)
def test_a_value_keeps_all_that_is_harmless(text):
    shown = visible(text)
    assert not set(shown) & UNSAFE
    assert visible(shown) == shown
    assert visible("".join(each for each in text if each not in UNSAFE)) == "".join(
        each for each in text if each not in UNSAFE
    )


@given(texts)
def test_lines_keep_their_newlines_and_tabs(text):
    shown = visible_lines(text)
    assert set(shown) & UNSAFE <= {"\n", "\t"}
    assert [visible_lines(line) for line in text.split("\n")] == shown.split("\n")
    assert shown.count("\t") == text.count("\t")


@given(st.recursive(texts, lambda inner: st.lists(inner) | st.dictionaries(texts, inner)))
def test_json_means_the_same(document):
    encoded = json.dumps(document, ensure_ascii=False)
    shown = visible_json(encoded)
    assert not set(shown) & UNSAFE
    assert json.loads(shown) == document


@given(no_surrogates)
def test_bytes_of_json_are_shown_as_its_text_is(text):
    encoded = json.dumps(text, ensure_ascii=False)
    assert visible_json_bytes(encoded.encode()) == visible_json(encoded).encode()


@pytest.mark.parametrize("text", ["plain", "späte 動画.mp4", "\u2026 \u20ac \xa0"], ids=ascii)
def test_bytes_of_json_without_such_characters_stay_as_they_are(text):
    encoded = json.dumps(text, ensure_ascii=False).encode()
    assert visible_json_bytes(encoded) == encoded


def test_a_long_text_is_cut_and_says_so():
    assert clip("a" * 10, 10) == "a" * 10
    assert clip("a" * 11, 10) == "a" * 9 + "…"
