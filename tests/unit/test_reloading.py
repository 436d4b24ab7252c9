"""Reloads: what changes, what is reported, and what a bad file does."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from asset_worker.api.key import ApiKey
from asset_worker.reloading import Reloading
from asset_worker.runtime.tls import TlsRootsError
from asset_worker.settings.loading import load
from asset_worker.settings.tree import Settings


class Service:
    """A service that reloads: its files, and what it was made to do."""

    def __init__(self, folder: Path) -> None:
        self.config, self.key_file = folder / "worker.toml", folder / "key"
        self.config.write_text("[poll]\nmax = 40\n")
        self.key_file.write_text("tlk_one\n")
        self.flags: dict[str, Any] = {}
        self.applied: list[Settings] = []
        self.keys_changed = 0
        self.tls_reloads = 0
        self.tls_error: Exception | None = None
        self.key = ApiKey(value=None, file=self.key_file, on_read=lambda _: None)
        self.reloading = Reloading(self.read(), read=self.read, apply_log=self.applied.append)

    def read(self) -> Settings:
        return load(config=self.config, environ={}, overrides=self.flags)

    async def reload(self) -> list[dict[str, Any]]:
        """Reload once; return what was logged about it."""

        def key_changed() -> None:
            self.keys_changed += 1

        async def reload_tls() -> None:
            self.tls_reloads += 1
            if self.tls_error is not None:
                raise self.tls_error

        with capture_logs() as logs:
            await self.reloading.reload(self.key, key_changed=key_changed, reload_tls=reload_tls)
        return [dict(line) for line in logs if line["event"].startswith("worker.")]


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path)


def reloaded(*, changed: list[str], needs_restart: list[str]) -> dict[str, Any]:
    return {"event": "worker.reloaded", "log_level": "info", "changed": changed, "needs_restart": needs_restart}


async def test_a_reload_without_a_change_renews_the_tls_roots_alone(service: Service):
    assert await service.reload() == [reloaded(changed=[], needs_restart=[])]
    assert (service.applied, service.keys_changed, service.tls_reloads) == ([], 0, 1)


async def test_the_log_is_set_up_anew_and_the_rest_needs_a_restart_until_there_is_one(service: Service):
    service.config.write_text('[poll]\nmax = 60\n[log]\nlevel = "debug"\n[api]\nkey = "tlk_secret"\n')
    restart = ["api.key", "poll.max"]
    assert await service.reload() == [reloaded(changed=["log.level"], needs_restart=restart)]
    assert [settings.log.level for settings in service.applied] == ["debug"]
    assert await service.reload() == [reloaded(changed=[], needs_restart=restart)]
    assert len(service.applied) == 1


async def test_a_flag_still_wins(service: Service):
    service.flags = {"log": {"level": "error"}}
    service.reloading = Reloading(service.read(), read=service.read, apply_log=service.applied.append)
    service.config.write_text('[log]\nlevel = "debug"\n')
    [line] = await service.reload()
    assert "log.level" not in line["changed"]
    assert service.applied == []


async def test_the_key_file_is_read_even_if_it_looks_unchanged(service: Service):
    """A restored modification time, and a key of the same length."""
    service.key._seen = None
    service.key_file.write_text("tlk_two\n")
    assert await service.reload() == [reloaded(changed=["api.key_file"], needs_restart=[])]
    assert (service.key.value, service.keys_changed) == ("tlk_two", 1)


async def test_a_key_file_that_is_gone_leaves_the_key_and_the_rest_is_reloaded(service: Service):
    service.key_file.unlink()
    service.config.write_text('[log]\nlevel = "debug"\n[poll]\nmax = 40\n')
    assert await service.reload() == [reloaded(changed=["log.level"], needs_restart=[])]
    assert service.key.value == "tlk_one"


@pytest.mark.parametrize(
    "content",
    [b"poll = [", b"[poll]\nmax = 'x'\n", b"\xff", b"a=" + b"[" * 100_000],
    ids=["TOML", "type", "UTF-8", "deep"],
)
async def test_a_bad_settings_file_changes_nothing(service: Service, content: bytes):
    service.config.write_bytes(content)
    service.key_file.write_text("tlk_two\n")
    [line] = await service.reload()
    assert (line["event"], line["log_level"]) == ("worker.reload_failed", "warning")
    assert (service.applied, service.keys_changed, service.tls_reloads) == ([], 0, 0)
    service.config.write_text("[poll]\nmax = 40\n")
    assert (await service.reload())[0]["event"] == "worker.reloaded"


async def test_tls_roots_that_can_not_be_read_are_reported(service: Service):
    service.tls_error = TlsRootsError("the certificates …")
    failed, done = await service.reload()
    assert (failed["event"], failed["error"]) == ("worker.reload_failed", "the certificates …")
    assert done["event"] == "worker.reloaded"


async def test_requests_during_a_reload_share_the_next_one(service: Service):
    reloads = 0
    is_reloading, may_end = asyncio.Event(), asyncio.Event()

    async def reload_tls() -> None:
        nonlocal reloads
        reloads += 1
        is_reloading.set()
        await may_end.wait()

    running = asyncio.create_task(
        service.reloading.run(service.key, key_changed=lambda: None, reload_tls=reload_tls), name="reload"
    )
    async with asyncio.timeout(30):
        service.reloading.request()
        await is_reloading.wait()
        is_reloading.clear()
        for _ in range(3):
            service.reloading.request()
        may_end.set()
        await is_reloading.wait()
    await asyncio.sleep(0.1)
    assert reloads == 2
    running.cancel()
    await asyncio.wait([running])
