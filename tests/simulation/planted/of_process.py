"""Faults of the process as a whole."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

from asset_worker.api.key import ApiKey
from asset_worker.runtime.log import get_logger
from asset_worker.worker import Worker
from tests.simulation.planted.registry import planted


@planted("grace-ignored", "to stop, with a grace", "did not end within")
def grace_ignored() -> Iterator[None]:
    """A stop waits for whatever is in progress, however long that takes."""

    async def wait(_self: Worker, tasks: list[asyncio.Task[None]], *, until: float) -> None:
        assert until
        await asyncio.wait(tasks)

    async def until_done(_self: Worker, tasks: list[asyncio.Task[None]]) -> None:
        await asyncio.wait(tasks)

    with patch.object(Worker, "_wait_or_cancel", wait), patch.object(Worker, "_until_delivered", until_done):
        yield


@planted("key-logged", "a secret is shown")
def key_logged() -> Iterator[None]:
    """The key is logged when it is read."""
    read = ApiKey._read

    def read_aloud(self: ApiKey, file: Any) -> str:
        get_logger().info("api.key_changed", path=str(file), key=(key := read(self, file)))
        return key

    with patch.object(ApiKey, "_read", read_aloud):
        yield
