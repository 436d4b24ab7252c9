"""The types of the Python API, as a program sees them under `mypy --strict`: this file is checked, and never run.

Where a comment ignores an error, mypy must find that error: an ignore that is not needed is an error itself.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, assert_type

import asset_worker
from asset_worker import (
    AssetFailed,
    AssetNotReady,
    AssetTimeout,
    AssetWorkerError,
    Client,
    Completion,
    KeyRefused,
    Outcome,
)


async def right() -> None:
    """Each call is as documented."""
    path: os.PathLike[str] = Path("state")
    Client()
    Client("tlk_key", state_dir="state", timeout=timedelta(minutes=10), wait_for="hls", not_found_grace="1m")
    async with Client(api_key="tlk_key", base_url="https://api.example", state_dir=path) as client:
        assert_type(client, Client)
        assert_type(client.kept, tuple[str, ...])
        completion = await client.wait("id", timeout=600, wait_for={"hls": "required"}, metadata={"user": 1})
        assert_type(completion, Completion)
        async for each in client.watch(str(number) for number in range(3)):
            assert_type(each, Completion)
        later: AsyncIterator[Completion] = client.watch(["id"], timeout="10m")
        assert_type(await anext(later), Completion)
    assert_type(asset_worker.wait("id", timeout=1.5), Completion)
    assert_type(completion.raise_for_outcome(), Completion)


def attributes(completion: Completion) -> None:
    """Each attribute has its type."""
    assert_type(completion.asset_id, str)
    assert_type(completion.outcome, Outcome)
    assert_type(completion.reason, str | None)
    assert_type(completion.renditions, Mapping[str, str | None])
    assert_type(completion.asset, dict[str, Any] | None)
    assert_type(completion.metadata, dict[str, Any])
    assert_type(completion.submitted_at, datetime)
    assert_type(completion.ready_at, datetime | None)
    assert_type(completion.completed_at, datetime)
    assert_type(completion.polls, int)
    assert_type(completion.is_ready, bool)
    assert_type(completion.event, dict[str, Any])
    assert_type(asset_worker.__version__, str)


def errors(completion: Completion) -> None:
    """Errors have their completion, and one base class."""
    try:
        completion.raise_for_outcome()
    except (AssetFailed, AssetTimeout) as error:
        assert_type(error.completion, Completion)
    except AssetNotReady as error:
        assert_type(error.completion.reason, str | None)
    except KeyRefused as error:
        base: AssetWorkerError = error
        raise base from None


async def wrong(client: Client, completion: Completion) -> None:
    """What can't work is an error of the type checker."""
    await client.wait(12)  # type: ignore[arg-type]
    await client.wait("id", 600)  # type: ignore[call-arg]
    await client.wait("id", wait_for="video")  # type: ignore[arg-type]
    await client.wait("id", wait_for={"hls": "yes"})  # type: ignore[dict-item]
    await client.wait("id", timeout=[1])  # type: ignore[arg-type]
    await client.watch(["id"])  # type: ignore[misc]
    completion.outcome = Outcome.READY  # type: ignore[misc]
    completion.hls  # type: ignore[attr-defined]  # noqa: B018
    with Client():  # type: ignore[attr-defined]
        pass
    asset_worker.clint  # type: ignore[attr-defined]  # noqa: B018
