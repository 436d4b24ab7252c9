"""The key file at the start: whether it may be there later, or somebody must correct the settings."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from asset_worker.api.key import ApiKey, BadKeyError, KeyNotThereError


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
