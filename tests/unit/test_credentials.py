"""The credentials of a run, which are redacted from its start."""

from __future__ import annotations

from pathlib import Path

import pytest

from asset_worker.credentials import make_key, redact_proxy_password
from asset_worker.runtime.redaction import REDACTED, Secrets
from asset_worker.settings import tree


def test_the_key_is_redacted_from_the_start():
    secrets = Secrets()
    make_key(tree.Api(key="tlk_4F2SECRET"), secrets)
    assert secrets.redact("tlk_4F2SECRET") == REDACTED


@pytest.mark.parametrize("unused", ["tlk_4F2SECRET", " tlk_4F2SECRET\n"])
def test_a_key_that_is_not_used_is_redacted_as_well(tmp_path: Path, unused: str):
    """The file takes precedence, but the other one may be a key that works."""
    secrets = Secrets()
    (tmp_path / "key").write_text("tlk_5F3SECRET")
    make_key(tree.Api(key=unused, key_file=tmp_path / "key"), secrets)
    assert secrets.redact("tlk_4F2SECRET tlk_5F3SECRET") == f"{REDACTED} {REDACTED}"


@pytest.mark.parametrize(
    ("proxy", "text", "shown"),
    [
        (
            "http://me:pass%2Fword@proxy.example:3128",
            "407 for pass/word, pass%2fword",
            f"407 for {REDACTED}, {REDACTED}",
        ),
        ("http://me:proxy@proxy.example:3128", "the proxy refuses", "the proxy refuses"),
        ("http://proxy.example:3128", "the proxy refuses", "the proxy refuses"),
    ],
    ids=["a password", "a password that is a word", "no password"],
)
def test_the_password_of_a_proxy_is_redacted(monkeypatch: pytest.MonkeyPatch, proxy: str, text: str, shown: str):
    monkeypatch.setenv("https_proxy", proxy)
    secrets = Secrets()
    redact_proxy_password(tree.Api(), secrets)
    assert secrets.redact_text(text) == shown
