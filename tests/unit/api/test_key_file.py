"""The key file: whether a start without a key may work later, and what comes of it while the worker runs."""

# ruff: noqa: ASYNC240 - nothing else runs in these loops while a test writes the file

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from asset_worker.api.key import CHECK_SECONDS, ApiKey, BadKeyError, KeyNotThereError
from asset_worker.runtime.stop import Stop


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text("tlk_first")
    path.chmod(0o600)
    return path


def read(file: Path) -> ApiKey:
    return ApiKey(value=None, file=file, on_read=lambda _: None)


@pytest.mark.parametrize("content", [None, "", " \n"], ids=["missing", "empty", "blank"])
def test_a_key_file_that_has_no_key_yet_may_have_one_later(tmp_path: Path, content: str | None):
    """Another container or a secret store writes it."""
    file = tmp_path / "key"
    if content is not None:
        file.write_text(content)
    with pytest.raises(KeyNotThereError, match=f"api.key_file {file}"):
        read(file)
    file.write_text("tlk_test\n")
    assert read(file).value == "tlk_test"


@pytest.mark.parametrize(
    ("number", "may_pass"),
    [(errno.EIO, True), (errno.ESTALE, True), (errno.EMFILE, True), (errno.EACCES, False), (errno.ELOOP, False)],
    ids=lambda value: errno.errorcode[value] if value is not True and value is not False else None,
)
def test_an_error_at_the_key_file_may_pass_unless_it_is_a_matter_of_rights_or_of_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, may_pass: bool
):
    def fail(path: Path, **_: object) -> os.stat_result:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "stat", fail)
    with pytest.raises(BadKeyError, match=os.strerror(number)) as raised:
        read(tmp_path / "key")
    assert isinstance(raised.value, KeyNotThereError) is may_pass


def test_a_directory_in_place_of_the_key_file_must_be_corrected(tmp_path: Path):
    with pytest.raises(BadKeyError, match="is not a regular file") as raised:
        read(tmp_path)
    assert not isinstance(raised.value, KeyNotThereError)


@pytest.mark.virtual_time
async def test_the_present_key_stays_in_use_while_its_file_is_replaced(file: Path):
    """It may still work. The trouble is logged once, and whoever asks for a reload sees it again."""
    key, stop, changes = read(file), Stop(), []
    watching = asyncio.create_task(key.watch(stop, lambda: changes.append(key.value)))
    with capture_logs() as logs:
        file.unlink()
        await asyncio.sleep(3.5 * CHECK_SECONDS)
        file.write_text("two words")
        assert key.reload(lambda: changes.append(key.value)) is False
        await asyncio.sleep(3 * CHECK_SECONDS)
        assert (key.value, changes) == ("tlk_first", [])
        assert [(log["event"], log["log_level"]) for log in logs] == [("api.key_unreadable", "warning")] * 2
        assert "two words" not in repr(logs)
        file.write_text("tlk_second\n")
        await asyncio.sleep(1.5 * CHECK_SECONDS)
    assert changes == ["tlk_second"]
    assert logs[-1]["event"] == "api.key_changed"
    stop.set("the end")
    await watching


@pytest.mark.virtual_time
async def test_a_key_that_comes_while_its_file_is_read_is_used_next(file: Path, monkeypatch: pytest.MonkeyPatch):
    texts, stop = ["tlk_second", "tlk_third"], Stop()
    read_text = Path.read_text

    def read_late(path: Path, *options: str, **more: str) -> str:
        text = read_text(path, *options, **more)
        if texts:
            path.write_text(texts.pop(0))
        return text

    monkeypatch.setattr(Path, "read_text", read_late)
    key = read(file)
    assert key.value == "tlk_first"
    watching = asyncio.create_task(key.watch(stop, lambda: None))
    await asyncio.sleep(2.5 * CHECK_SECONDS)
    assert key.value == "tlk_third"
    stop.set("the end")
    await watching
