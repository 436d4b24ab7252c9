"""What is redacted, and what is left alone."""

from __future__ import annotations

import json
import string
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset_worker.runtime.redaction import LEVELS, LONG, PART, REDACTED, SHORT, SHORTEST_KEY, Secrets

KEY = "tlk_4F2SECRET"
SHORT_KEY = "tlk_4F2S"
WORD = "test"


def secrets_of(*keys: str) -> Secrets:
    secrets = Secrets()
    for key in keys:
        secrets.add(key)
    return secrets


def test_the_lengths_stand_for_what_these_tests_take_them_for():
    assert len(KEY) >= SHORT > len(SHORT_KEY) >= SHORTEST_KEY > len(WORD)


def test_without_a_key_nothing_is_redacted():
    for secrets in (secrets_of(), secrets_of("")):
        assert secrets.redact_text("any text.") == "any text."
        assert secrets.redact(b"any text.") == b"any text."
        assert secrets.redact({"any": ["text%20", "\\u0020"]}) == {"any": ["text%20", "\\u0020"]}


@pytest.mark.parametrize(
    ("key", "text", "redacted"),
    [
        pytest.param(KEY, f"a{KEY}b{KEY}", f"a{REDACTED}b{REDACTED}", id="a key, wherever it stands"),
        pytest.param(KEY, KEY[:-1], KEY[:-1], id="a part of it is no key"),
        pytest.param(KEY, f"a{KEY.upper()}b", f"a{REDACTED}b", id="in upper case"),
        pytest.param(KEY, f"a{KEY.lower()}b", f"a{REDACTED}b", id="in lower case"),
        pytest.param("a.key+with(signs)*", "a.key+with(signs)*", REDACTED, id="signs mean nothing"),
        pytest.param("a.key.with.dots", "axkeyxwithxdots", "axkeyxwithxdots", id="nor do dots"),
        pytest.param(SHORT_KEY, f"key={SHORT_KEY}.", f"key={REDACTED}.", id="a short key that stands alone"),
        pytest.param(SHORT_KEY, f"{SHORT_KEY}x", f"{SHORT_KEY}x", id="a short key within a word"),
        pytest.param(SHORT_KEY, f"-{SHORT_KEY}", f"-{SHORT_KEY}", id="a short key behind a dash"),
    ],
)
def test_a_key_is_redacted_in_texts_and_in_data(key: str, text: str, redacted: str):
    secrets = secrets_of(key)
    assert secrets.redact_text(text) == redacted
    assert secrets.redact(text.encode()) == redacted.encode()


def test_a_word_is_redacted_in_our_own_texts_only():
    """In other people's data it is no key."""
    secrets = secrets_of(WORD)
    assert secrets.redact_text("a test, untested") == f"a {REDACTED}, untested"
    assert secrets.redact(b"a test, untested") == b"a test, untested"
    secrets.add(KEY)
    assert secrets.redact(f"a test with {KEY}".encode()) == f"a test with {REDACTED}".encode()


@pytest.mark.parametrize("order", [1, -1], ids=["shorter first", "longer first"])
def test_a_key_that_holds_another_is_redacted_whole(order: int):
    keys = [KEY, f"{KEY}-and-more", f"before-{KEY}-and-more"][::order]
    secrets = secrets_of(*keys, *keys)
    for key in keys:
        assert secrets.redact_text(f"<{key}>") == f"<{REDACTED}>"
        assert secrets.redact(f"<{key}>".encode()) == f"<{REDACTED}>".encode()


@pytest.mark.parametrize("key", ['tlk_"quoted"_key', "tlk_back\\slash_key", "tlk_ends_with_one\\", '"tlk_0123456789"'])
def test_a_key_is_redacted_in_decoded_json_wherever_it_stands(key: str):
    secrets = secrets_of(key)
    data = {"a": [key, {key: f"<{key}>"}, 1, None, True], "b": key.strip('"')[:6]}
    assert secrets.redact(data) == {
        "a": [REDACTED, {REDACTED: f"<{REDACTED}>"}, 1, None, True],
        "b": key.strip('"')[:6],
    }
    assert secrets.redact(key.encode()) == REDACTED.encode()


keys = st.lists(
    st.text(f"{string.ascii_letters}{string.digits}_./+=", min_size=SHORT, max_size=20), min_size=1, max_size=4
)


@given(keys, st.data())
def test_no_key_is_left_in_redacted_data(several: list[str], data: st.DataObject):
    secrets = secrets_of(*several)
    piece = st.sampled_from(several) | st.text(max_size=5)
    document = data.draw(st.dictionaries(st.text(max_size=3), st.lists(piece, max_size=4).map("-".join), max_size=3))
    redacted = secrets.redact(document)
    for key in several:
        assert REDACTED in secrets.redact_text(f"-{key}-")
        assert all(key not in text for text in redacted.values())


LONG_KEY = "tlk_0123456789abcdefghijKLMNO"
FORMS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "upper case": str.upper,
    "lower case": str.lower,
    "percent": lambda key: "".join(f"%{ord(each):02x}" for each in key),
    "percent, upper case": lambda key: "".join(f"%{ord(each):02X}" for each in key),
    "percent in part": lambda key: key.replace("_", "%5F").replace("b", "%62"),
    "percent twice": lambda key: "".join(f"%25{ord(each):02x}" for each in key),
    "JSON": lambda key: "".join(f"\\u{ord(each):04x}" for each in key),
    "JSON, upper case": lambda key: "".join(f"\\u{ord(each):04X}" for each in key),
    "JSON, all upper case": lambda key: "".join(f"\\U{ord(each):04X}" for each in key.upper()),
    "JSON in part": lambda key: key.replace("_", "\\u005f").replace("K", "\\u004b"),
    "JSON in JSON": lambda key: json.dumps(json.dumps("".join(f"\\u{ord(each):04x}" for each in key)))[3:-3],
    "JSON in a URL": lambda key: quote("".join(f"\\u{ord(each):04x}" for each in key)),
    "hexadecimal escapes": lambda key: "".join(f"\\x{ord(each):02x}" for each in key),
    "backslashes": lambda key: key.replace("_", "\\_"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("around", ["{}", "see: {} (wrong)", '{{"asset_id": "{} {}"}}', "https://h/?key={}&a=%20"])
def test_a_key_is_redacted_in_every_form(form: str, around: str):
    secrets, text = secrets_of(LONG_KEY), FORMS[form](LONG_KEY)
    shown, redacted = around.format(text, text), around.format(REDACTED, REDACTED)
    assert secrets.redact(shown) == redacted
    assert secrets.redact_text(shown) == redacted
    assert secrets.redact(shown.encode()) == redacted.encode()
    assert secrets.redact([{"a": [shown], shown: 1}]) == [{"a": [redacted], redacted: 1}]


@pytest.mark.parametrize("encode", [b64encode, urlsafe_b64encode])
@pytest.mark.parametrize("before", ["", "u", "me", "api", "user:"])
@pytest.mark.parametrize("after", ["", "\n", ":x", "and more"])
def test_the_base64_of_a_key_is_redacted_wherever_it_begins(encode: Callable[[bytes], bytes], before: str, after: str):
    """All but the digits that it shares with its neighbours: two bits of a character, or four."""
    for key in (LONG_KEY, "tlk_>>>???~~~ÿ"):
        secrets = secrets_of(key)
        shown = secrets.redact(f"Basic {encode((before + key + after).encode()).decode()}.")
        assert REDACTED in shown
        assert len(shown.replace(REDACTED, "")) <= len("Basic .") + (len(before) + len(after)) * 4 / 3 + 6


@given(
    st.text(f"{string.ascii_letters}{string.digits}_-", min_size=SHORT, max_size=40),
    st.data(),
    st.lists(st.sampled_from([json.dumps, quote, lambda text: quote(text, safe=""), repr]), max_size=LEVELS - 1),
)
def test_a_key_is_redacted_however_its_characters_are_written_and_its_text_is_wrapped(key, data, wraps):
    forms = [
        str,
        str.upper,
        str.lower,
        *(FORMS[name] for name in ("percent", "JSON, upper case", "hexadecimal escapes")),
    ]
    text = "".join(data.draw(st.sampled_from(forms))(each) for each in key)
    for wrap in wraps:
        text = wrap(text)
    redacted = secrets_of(key).redact(f"<{text}>")
    assert redacted.strip("<>'\"\\%0123456789abcdefABCDEF") == REDACTED


def test_a_key_is_redacted_four_encodings_deep():
    """JSON in JSON in a URL, and one more."""
    escaped = "".join(f"\\u{ord(each):04x}" for each in LONG_KEY)
    text = quote(quote(json.dumps(json.dumps(escaped))))
    assert secrets_of(LONG_KEY).redact(text).strip("%25C") == REDACTED


@pytest.mark.parametrize("key", ["tlk_%41bcdefghij", "tlk_\\/bcdefghij"])
def test_a_key_that_looks_like_an_escape_is_redacted_among_others(key: str):
    """Where those are undone, it is no longer itself. A proxy's password may be like that."""
    assert secrets_of(key).redact(f"{key} {key.replace('t', '%74')}") == f"{REDACTED} {REDACTED}"


@given(st.text("%\\ux0257 tlk_é\ud800"))
def test_a_text_without_a_key_stays_as_it_is(text: str):
    assert secrets_of(LONG_KEY, SHORT_KEY).redact(text) == text


@pytest.mark.parametrize("word", ["a", "ab", "abc", "test"])
def test_of_a_word_only_the_word_itself_is_redacted(word: str):
    text = b64encode(f" {word}{word} {word}".encode()).decode() + f" {word}x YYQ"
    assert secrets_of(word).redact_text(text) == text
    assert secrets_of(word).redact_text(f"{text} %61 {word}.").endswith(f" {REDACTED}.")


def test_a_key_beside_half_a_surrogate_pair_is_redacted():
    """JSON may hold one, and can't be encoded again then."""
    assert secrets_of(LONG_KEY).redact({"a\ud800": [LONG_KEY]}) == {"a\ud800": [REDACTED]}


def test_data_without_a_key_is_not_copied():
    data = {"a": ["b%20", "\\", {"c": None}], "d": 1.5}
    assert secrets_of(LONG_KEY).redact(plain := {"a": ["b"]}) is plain
    assert secrets_of(LONG_KEY).redact(data) == data


def test_of_a_list_only_what_may_hold_a_key_is_copied():
    """An asset that holds the key, or a text with an escape, costs the others in its list nothing."""
    secrets = secrets_of(KEY)
    plain, holding, suspicious = {"filename": "a.mp4"}, {"filename": KEY}, {"filename": "100 %.mp4"}
    found = secrets.redact([plain, holding, suspicious])
    assert found == [plain, {"filename": REDACTED}, suspicious]
    assert found[0] is plain


@pytest.mark.parametrize("form", [name for name in FORMS if "twice" not in name])
def test_a_long_part_of_a_key_is_redacted_where_a_text_was_cut(form: str):
    """A server may cut the text that it echoes, and so may the worker: half an escape may be left of it."""
    assert len(LONG_KEY) >= LONG > PART
    secrets, whole = secrets_of(LONG_KEY), FORMS[form](LONG_KEY)
    least = len(FORMS[form](LONG_KEY[:PART]))
    for kept in range(least, len(whole)):
        assert secrets.redact(f"no such key: {whole[:kept]}") == f"no such key: {REDACTED}"
        assert secrets.redact(f"no such key: {whole[:kept]} ").endswith(f"{whole[:kept]} ")
    least = len(FORMS[form](LONG_KEY[-PART:]))
    for kept in range(least, len(whole)):
        assert secrets.redact(f"{whole[-kept:]} is no key") == f"{REDACTED} is no key"


def test_a_hostile_text_takes_no_time():
    """The time grows with the length of the text, and not with its square: 64 KiB take milliseconds."""
    secrets = secrets_of(LONG_KEY)
    for text in ("\\", "%", "%25", "%5c", "\\u0074", "t", LONG_KEY[:-1], f"{LONG_KEY[:-1]}%", LONG_KEY[:PART]):
        secrets.redact(text * (65536 // len(text)))
