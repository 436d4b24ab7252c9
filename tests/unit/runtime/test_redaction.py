"""What is redacted, and what is left alone."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset_worker.runtime.redaction import REDACTED, SHORT, SHORTEST_KEY, Secrets

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
        assert "" not in secrets


@pytest.mark.parametrize(
    ("key", "text", "redacted"),
    [
        pytest.param(KEY, f"a{KEY}b{KEY}", f"a{REDACTED}b{REDACTED}", id="a key, wherever it stands"),
        pytest.param(KEY, KEY[:-1], KEY[:-1], id="a part of it is no key"),
        pytest.param(KEY, KEY.upper(), KEY.upper(), id="nor is it in other case"),
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
    assert WORD not in secrets
    secrets.add(KEY)
    assert secrets.redact(f"a test with {KEY}".encode()) == f"a test with {REDACTED}".encode()


def test_a_text_is_a_key_when_all_of_it_is():
    secrets = secrets_of(KEY, SHORT_KEY)
    assert KEY in secrets
    assert SHORT_KEY in secrets
    for text in ("", KEY[:-1], KEY + "x", f" {KEY}", KEY.lower()):
        assert text not in secrets


@pytest.mark.parametrize("order", [1, -1], ids=["shorter first", "longer first"])
def test_a_key_that_holds_another_is_redacted_whole(order: int):
    keys = [KEY, f"{KEY}-and-more", f"before-{KEY}-and-more"][::order]
    secrets = secrets_of(*keys, *keys)
    for key in keys:
        assert secrets.redact_text(f"<{key}>") == f"<{REDACTED}>"
        assert secrets.redact(f"<{key}>".encode()) == f"<{REDACTED}>".encode()
    assert all(key in secrets for key in keys)


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
        assert key in secrets
        assert REDACTED in secrets.redact_text(f"-{key}-")
        assert all(key not in text for text in redacted.values())
