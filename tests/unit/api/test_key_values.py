"""What is a key, where it comes from, and when its file is read."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from asset_worker.api.key import ANY_SOURCE, CHECK_SECONDS, ApiKey, BadKeyError, KeySource, NoKeyError, key_source
from asset_worker.runtime.stop import Stop

ODD = "a second line, blanks, control characters?"
FOREIGN = "not ASCII, such as the … of examples"
CREDENTIAL = (
    "it is a credential, which systemd copies at the start: put a key that works into the file that LoadCredential in "
    "the unit names (/etc/asset-worker/key), and restart"
)
RE_READ = "put a key that works into that file: it is read again when it changes, and at SIGHUP"


def fixed(value: str | None) -> ApiKey:
    return ApiKey(value=value, file=None, on_read=lambda _: None)


@pytest.mark.parametrize("value", [None, ""])
def test_without_a_key_it_says_where_to_put_one(value: str | None):
    with pytest.raises(NoKeyError, match=r"there is no API key: set TWELVE_LABS_API_KEY, or api.key_file"):
        fixed(value)


@pytest.mark.parametrize("text", ["tlk_1", " tlk_1\n", "!~"])
def test_a_key_is_printable_ascii_without_what_surrounds_it(text: str, tmp_path: Path):
    file = tmp_path / "key"
    file.write_text(text)
    read: list[str] = []
    for value, path in ((text, None), (None, file), ("another", file)):
        assert ApiKey(value=value, file=path, on_read=read.append).value == text.strip()
    assert read == [text.strip()] * 3, "all are to be redacted"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param(" \n", "is empty: put the API key there", id="blank"),
        pytest.param("tlk 1", f"holds characters that no API key has ({ODD})", id="a blank"),
        pytest.param("tlk\n1", f"holds characters that no API key has ({ODD})", id="two lines"),
        pytest.param("tlk\x7f1", f"holds characters that no API key has ({ODD})", id="a control character"),
        pytest.param("tlk…1", f"holds characters that no API key has ({FOREIGN})", id="not ASCII"),
        pytest.param("tlk… 1", f"holds characters that no API key has ({FOREIGN})", id="not ASCII, with a blank"),
    ],
)
def test_what_is_no_key_is_refused_with_the_reason(text: str, why: str, tmp_path: Path):
    file = tmp_path / "key"
    file.write_text(text, "utf-8")
    with pytest.raises(BadKeyError) as raised:
        fixed(text)
    assert str(raised.value) == f"api.key {why}"
    with pytest.raises(BadKeyError) as raised:
        ApiKey(value=None, file=file, on_read=lambda _: None)
    assert str(raised.value) == f"api.key_file {file} {why}"


def test_a_file_is_named_in_errors_unless_its_name_may_be_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    found = []
    for path in ("tlk_1", "keys/tlk_1"):
        with pytest.raises(BadKeyError) as raised:
            ApiKey(value=None, file=Path(path), on_read=lambda _: None)
        found.append(str(raised.value))
    why = "can't be read (No such file or directory): check its path and rights"
    assert found == [f"api.key_file {why}", f"api.key_file keys/tlk_1 {why}"]


@pytest.mark.parametrize(
    ("file", "is_ours", "source"),
    [
        pytest.param(None, True, ANY_SOURCE, id="no file"),
        pytest.param("/etc/key", True, KeySource("api.key_file /etc/key", RE_READ), id="a file"),
        pytest.param("key", True, KeySource("api.key_file", RE_READ), id="one word"),
        pytest.param(
            "/etc/key",
            False,
            KeySource(
                "api.key_file /etc/key",
                f"{RE_READ}; a worker that gets it as a credential of systemd must be restarted",
            ),
            id="a file of another process",
        ),
        pytest.param(
            "/run/credentials/x.service/key",
            True,
            KeySource("api.key_file /run/credentials/x.service/key", CREDENTIAL),
            id="a credential",
        ),
        pytest.param(
            "/run/user/1000/credentials/x/key",
            False,
            KeySource("api.key_file /run/user/1000/credentials/x/key", CREDENTIAL),
            id="a credential of a user",
        ),
    ],
)
def test_the_source_of_the_key_says_what_to_do_if_it_is_refused(file: str | None, is_ours: bool, source: KeySource):
    path = None if file is None else Path(file)
    assert key_source(path, is_ours=is_ours) == source
    if is_ours:
        assert key_source(path) == source


def test_the_default_source_names_the_settings():
    hint = "set a key that works, and start again"
    assert KeySource("TWELVE_LABS_API_KEY or api.key", hint) == ANY_SOURCE


@pytest.mark.virtual_time
async def test_a_key_that_is_in_no_file_never_changes():
    key, changes = fixed("tlk_1"), list[None]()
    async with asyncio.timeout(9):
        await key.watch(Stop(), lambda: changes.append(None))
    assert key.reload(lambda: changes.append(None)) is False
    assert (key.value, changes) == ("tlk_1", [])


@pytest.mark.virtual_time
async def test_a_file_is_read_again_only_when_it_has_changed_or_on_request(tmp_path: Path):
    file, read, changes, stop = tmp_path / "key", list[str](), list[str](), Stop()
    file.write_text("tlk_1")
    file.chmod(0o600)
    key = ApiKey(value=None, file=file, on_read=read.append)
    watching = asyncio.create_task(key.watch(stop, lambda: changes.append(key.value)))
    await asyncio.sleep(3.5 * CHECK_SECONDS)
    assert read == ["tlk_1"]
    assert key.reload(lambda: changes.append("reload")) is False
    assert read == ["tlk_1"] * 2
    file.write_text("tlk_22")
    await asyncio.sleep(3 * CHECK_SECONDS)
    assert (read, changes) == (["tlk_1", "tlk_1", "tlk_22"], ["tlk_22"])
    file.write_text("tlk_333")
    assert key.reload(lambda: changes.append("reload")) is True
    assert (read[3:], changes) == (["tlk_333"], ["tlk_22", "reload"])
    stop.set("test")
    await watching


@pytest.mark.virtual_time
async def test_a_file_that_is_gone_is_logged_once_each_time(tmp_path: Path):
    file, stop = tmp_path / "key", Stop()
    file.write_text("tlk_1")
    file.chmod(0o600)
    key = ApiKey(value=None, file=file, on_read=lambda _: None)
    watching = asyncio.create_task(key.watch(stop, lambda: None))
    logged = []
    for _ in range(2):
        with capture_logs() as logs:
            file.rename(tmp_path / "moved")
            await asyncio.sleep(3 * CHECK_SECONDS)
            (tmp_path / "moved").rename(file)
            await asyncio.sleep(3 * CHECK_SECONDS)
        logged.append([line["event"] for line in logs])
    assert logged == [["api.key_unreadable"]] * 2
    stop.set("test")
    await watching
