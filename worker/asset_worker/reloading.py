"""Reloads what may change while a service runs, without a restart: log, key file, TLS roots, secrets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeAlias

from asset_worker.api.key import ApiKey
from asset_worker.runtime.log import get_logger
from asset_worker.runtime.threads import DaemonThread
from asset_worker.runtime.tls import TlsRootsError
from asset_worker.settings.changes import changed_keys, with_reloaded
from asset_worker.settings.loading import SettingsError
from asset_worker.settings.tree import Settings

_log = get_logger()

Reload: TypeAlias = Callable[[], Coroutine[Any, Any, None]]


class Reloading:
    """Reads settings, key file and TLS roots again at each request. What can't be read changes nothing."""

    def __init__(
        self, settings: Settings, *, read: Callable[[], Settings], apply_log: Callable[[Settings], None]
    ) -> None:
        """`read` returns the settings as a start would find them now; `apply_log` sets up the log by them."""
        self._in_force = settings
        self._read = read
        self._apply_log = apply_log
        self._requested = asyncio.Event()

    def request(self) -> None:
        """Ask for a reload. Requests during a reload share the next one."""
        self._requested.set()

    async def run(
        self,
        key: ApiKey,
        *,
        key_changed: Callable[[], None],
        reload_tls: Reload,
        reload_others: Sequence[Reload] = (),
        announced: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """Reload at each request, forever, each time within `announced`.

        `key_changed` is called when the file holds another key.
        """
        while True:
            await self._requested.wait()
            self._requested.clear()
            with announced():
                await self.reload(key, key_changed=key_changed, reload_tls=reload_tls, reload_others=reload_others)

    async def reload(
        self, key: ApiKey, *, key_changed: Callable[[], None], reload_tls: Reload, reload_others: Sequence[Reload] = ()
    ) -> None:
        """Reload now. If the settings can't be read, nothing is reloaded."""
        thread = DaemonThread("settings")  # the file may be on a network file system that hangs
        try:
            settings = await thread.run(self._read)
        except Exception as error:  # noqa: BLE001 - nothing in the file may end a worker that runs
            problems = error.problems if isinstance(error, SettingsError) else [str(error)]
            _log.warning("worker.reload_failed", error="; ".join(problems))
            return
        finally:
            thread.close()
        before, self._in_force = self._in_force, with_reloaded(self._in_force, settings)
        changed = changed_keys(before, self._in_force)
        if changed:
            self._apply_log(self._in_force)
        if key.reload(key_changed):
            changed.append("api.key_file")
        try:
            await reload_tls()
        except TlsRootsError as error:
            _log.warning("worker.reload_failed", error=str(error))
        for reload_other in reload_others:
            await reload_other()
        _log.info("worker.reloaded", changed=changed, needs_restart=changed_keys(self._in_force, settings))
