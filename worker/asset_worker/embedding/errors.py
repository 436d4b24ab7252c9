"""The errors of the Python API.

AssetWorkerError
├── BadSettings        a variable of the environment or an argument can't be used
├── KeyMissing         there is no API key, or it can't be used
├── KeyRefused         the API refuses the key
├── StateUnusable      the state directory can't be used
├── ClientClosed       the client is not open, or was closed during the wait
└── AssetNotReady      raised by `raise_for_outcome` only
    ├── AssetFailed        the API could not process the asset
    ├── AssetDegraded      the asset is ready, and a rendition is not
    ├── AssetNotFound      the API knows no such asset
    └── AssetTimeout       the time ran out (a TimeoutError as well)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asset_worker.embedding.completion import Completion


class AssetWorkerError(Exception):
    """The base class of all errors of the Python API."""


class BadSettings(AssetWorkerError):
    """An argument of the client, or a variable of the environment, can't be used. The message names each."""


class KeyMissing(AssetWorkerError):
    """There is no API key, or it can't be used. The message says what to do, and holds no part of the key."""


class KeyRefused(AssetWorkerError):
    """The API refuses the key, so nothing can be known about any asset."""


class StateUnusable(AssetWorkerError):
    """The state directory can't be used, or not any more. The message says why and what to do."""


class ClientClosed(AssetWorkerError):
    """The client is not open: it was not entered with `async with`, was left, or belongs to another process."""


class AssetNotReady(AssetWorkerError):
    """The wait for an asset ended otherwise than `ready`."""

    def __init__(self, completion: Completion) -> None:
        """`completion` says how the wait ended."""
        super().__init__(completion)  # the only argument, so that it can be pickled, as Celery does with errors
        self.completion = completion
        """How the wait ended."""

    def __str__(self) -> str:
        """Return the asset, how the wait for it ended, and why."""
        reason = self.completion.reason
        return f"asset {self.completion.asset_id}: {self.completion.outcome}" + (f" ({reason})" if reason else "")


class AssetFailed(AssetNotReady):
    """The API could not process the asset; `completion.reason` is its message."""


class AssetDegraded(AssetNotReady):
    """The asset is ready, but a rendition that was awaited ended in an error, or came too late."""


class AssetNotFound(AssetNotReady):
    """The API knows no such asset: a wrong ID, a deleted asset, or another account's."""


class AssetTimeout(AssetNotReady, TimeoutError):
    """The timeout passed while the asset was not done. It may be ready later: wait again."""
