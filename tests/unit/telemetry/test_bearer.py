"""Tokens of clients: which file is good, which request has one, and rotation."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from asset_worker.runtime.redaction import Secrets
from asset_worker.runtime.watched_file import CHECK_SECONDS
from asset_worker.telemetry.bearer import BearerTokens, check_token_file, has_token, parse_tokens
from asset_worker.telemetry.errors import TokenFileError, TokenNotThereError

ONE, OTHER = "one-token-of-many-0123456789", "another/token+of=many~0123456"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(f"{ONE}\n")
    path.chmod(0o600)
    return path


def test_each_line_is_one_token():
    assert parse_tokens(f"{ONE}\n\n  {OTHER}\r\n") == (ONE, OTHER)


@pytest.mark.parametrize(
    "text", ["fifteen-letters", f"{ONE}\nshort", "two words are no token", "tökens-are-ascii-only", f"{ONE}\x00", "# x"]
)
def test_a_line_that_is_no_token_is_refused_and_not_shown(text):
    with pytest.raises(ValueError, match="visible ASCII") as refused:
        parse_tokens(text)
    assert text not in str(refused.value)


@pytest.mark.parametrize(
    ("fields", "has"),
    [
        ([f"Bearer {ONE}"], True),
        ([f"bearer  {OTHER} "], True),
        ([], False),
        ([ONE], False),
        ([f"Basic {ONE}"], False),
        (["Bearer"], False),
        (["Bearer "], False),
        ([f"Bearer {ONE}x"], False),
        ([f"Bearer {ONE[:-1]}"], False),
        ([f"Bearer {ONE.upper()}"], False),
        ([f"Bearer {ONE} {OTHER}"], False),
        ([f"Bearer {ONE},{OTHER}"], False),
        ([f"Bearer {ONE}"] * 2, False),
        (["Bearer \udcff\udcfe"], False),
    ],
)
def test_a_request_needs_one_field_with_one_of_the_tokens(fields, has):
    assert has_token(fields, (ONE, OTHER)) is has
    assert not has_token(fields, ())


def test_a_new_token_is_valid_within_a_second_and_the_old_one_no_longer(file: Path):
    seconds, secrets = 0.0, Secrets()
    tokens = BearerTokens(file, now=lambda: seconds, on_read=secrets.add)
    assert tokens.accepts([f"Bearer {ONE}"])
    file.write_text(f"{OTHER}\n{ONE}\n")
    seconds += CHECK_SECONDS
    assert [tokens.accepts([f"Bearer {each}"]) for each in (ONE, OTHER)] == [True, True]
    with capture_logs() as logs:
        file.write_text(OTHER)
        seconds += CHECK_SECONDS
        assert [tokens.accepts([f"Bearer {each}"]) for each in (ONE, OTHER)] == [False, True]
    assert [log["event"] for log in logs] == ["admin.token_changed"]
    assert secrets.redact_text(f"{ONE} {OTHER}") == "******** ********", "also the one that was valid before"


def test_a_file_that_can_not_be_read_again_leaves_the_tokens_valid(file: Path):
    tokens = BearerTokens(file, now=lambda: 0.0, on_read=lambda _: None)
    file.write_text("short")
    with capture_logs() as logs:
        asyncio.run(tokens.reload())
    assert [log["event"] for log in logs] == ["admin.token_unreadable"]
    assert tokens.accepts([f"Bearer {ONE}"])
    file.write_text(OTHER)
    asyncio.run(tokens.reload())
    assert tokens.accepts([f"Bearer {OTHER}"])


@pytest.mark.parametrize(
    ("prepare", "kind"),
    [
        pytest.param(Path.unlink, TokenNotThereError, id="missing"),
        pytest.param(lambda path: path.write_text("\n"), TokenNotThereError, id="empty"),
        pytest.param(lambda path: path.write_text("S3CRET"), TokenFileError, id="short"),
        pytest.param(lambda path: (path.unlink(), path.mkdir()), TokenFileError, id="a directory"),
    ],
)
def test_only_a_file_that_may_come_is_worth_another_start(file: Path, prepare, kind: type):
    prepare(file)
    for use in (check_token_file, lambda path: BearerTokens(path, now=lambda: 0.0, on_read=lambda _: None)):
        with pytest.raises(TokenFileError, match=r"admin\.token_file") as refused:
            use(file)
        assert type(refused.value) is kind
        assert "S3CRET" not in str(refused.value)


def test_a_file_that_others_may_read_is_used_and_reported(file: Path):
    file.chmod(file.stat().st_mode | stat.S_IROTH)
    with capture_logs() as logs:
        BearerTokens(file, now=lambda: 0.0, on_read=lambda _: None)
    assert [log["event"] for log in logs] == ["admin.token_exposed"]
