"""The asynchronous client of the Python API."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from asset_worker.domain.assets import AssetId
from asset_worker.domain.events import Event
from asset_worker.embedding.background import SECRETS, Background, acquire, release
from asset_worker.embedding.completion import Completion, completion_of
from asset_worker.embedding.engine import Engine
from asset_worker.embedding.errors import ClientClosed
from asset_worker.embedding.source import defaults_of, source_of
from asset_worker.embedding.terms import Seconds, Terms, What, checked_id, checked_ids, terms_of
from asset_worker.embedding.waits import Wait

P = ParamSpec("P")
T = TypeVar("T")


class Client:
    """Waits for assets, for one account. Use it with `async with`, once, and for as long as you like.

    Its methods may be called from any number of tasks, also of other event loops. Clients with the same key and base
    URL share requests and limits, and what was learned about how long assets take.
    """

    def __init__(
        self,
        api_key: str | None = None,
        *,
        base_url: str | None = None,
        state_dir: str | os.PathLike[str] | None = None,
        timeout: Seconds | None = None,
        wait_for: What | None = None,
        not_found_grace: Seconds | None = None,
    ) -> None:
        """Check the arguments. Nothing starts before the client is entered with `async with`.

        Args:
            api_key: the API key; None: that of TWELVE_LABS_API_KEY, or of the file that ASSET_WORKER_API__KEY_FILE
                names.
            base_url: the API; None: TWELVELABS_BASE_URL, or the vendor's.
            state_dir: a directory of its own, in which waits outlast the process; None: they end with it.
            timeout: how long a wait takes at most, unless it says otherwise: seconds, a text such as `10m`, or a
                timedelta; None: four hours.
            wait_for: what must be ready, unless a wait says otherwise: `asset`, `hls`, `thumbnail` or `all` (the
                default: all that the API shows), or for each rendition whether it is awaited.
            not_found_grace: for how long the API may not know an asset, unless a wait says otherwise; None: a minute.

        Raises:
            KeyMissing: there is no key, or it can't be used.
            BadSettings: another argument, or a variable ASSET_WORKER_…, can't be used.
            ValueError: `timeout`, `wait_for` or `not_found_grace` can't be used.
        """
        self._source = source_of(api_key=api_key, base_url=base_url, state_dir=state_dir)
        self._defaults = defaults_of(self._source, timeout=timeout, wait_for=wait_for, not_found_grace=not_found_grace)
        self._background: Background | None = None
        self._engine: Engine | None = None
        self._waits: set[Wait] = set()

    async def __aenter__(self) -> Self:
        """Open the client.

        Raises:
            StateUnusable: the state directory can't be used, or another process uses it.
            ClientClosed: it is open already.
        """
        if self._background is not None:
            raise ClientClosed("this client is open already: make one for each `async with`")
        background = self._background = acquire()
        opening = background.submit(background.open(self._source))
        try:
            self._engine = await asyncio.shield(asyncio.wrap_future(opening))
        except Exception:
            self._background = None
            release(background)
            raise
        except BaseException:  # cancelled: the engine is closed as soon as it is open
            self._background = None
            background.submit(background.close_opened(opening)).add_done_callback(lambda _: release(background))
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the client: waits that have not ended raise ClientClosed. Nothing of it is left when this returns."""
        background, engine = self._background, self._engine
        self._background = self._engine = None
        if background is None or engine is None or background.pid != os.getpid():
            return
        for wait in list(self._waits):
            background.call(wait.end, ClientClosed("the client was closed during the wait"))
            background.call(engine.cancel, wait)
        closing = background.submit(background.close(engine))
        try:
            await asyncio.shield(asyncio.wrap_future(closing))
        finally:
            release(background)

    @property
    def kept(self) -> tuple[str, ...]:
        """The assets whose waits earlier clients with this state directory have not ended, and nobody has continued.

        They are not looked at: `watch(client.kept)` continues them, and so does `wait` for each.
        """
        return self._opened()[1].kept

    async def wait(
        self,
        asset_id: str,
        *,
        timeout: Seconds | None = None,  # noqa: ASYNC109 - how long the asset may take, by which its outcome is decided
        wait_for: What | None = None,
        not_found_grace: Seconds | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Completion:
        """Wait until an asset is done, and return how that ended.

        A timeout is an outcome, too (`timed_out`): `raise_for_outcome` makes an error of every outcome but `ready`.
        Cancelling this call ends only this wait. When nobody waits for an asset any more, no request is made for it.

        Args:
            asset_id: the asset.
            timeout: how long to wait at most, from now; None: as the client says.
            wait_for: what must be ready; None: as the client says.
            not_found_grace: for how long the API may not know the asset; None: as the client says.
            metadata: data of your own, JSON, which the completion returns.

        Raises:
            KeyRefused: the API refuses the key.
            ClientClosed: the client is not open, or was closed meanwhile.
            StateUnusable: the state directory was moved, or is damaged.
            ValueError, TypeError: an argument can't be used.
        """
        background, engine = self._opened()
        terms = self._terms(timeout, wait_for, not_found_grace, metadata)
        checked = checked_id(asset_id, redact=SECRETS.redact)
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[Event | Exception] = loop.create_future()

        def on_end(_: Wait, how: Event | Exception) -> None:
            _call_in(loop, _settle, ended, how)

        wait = Wait(checked, terms, on_end)
        self._waits.add(wait)
        background.call(engine.begin, [wait])
        try:
            how = await ended
        except BaseException:
            background.call(engine.cancel, wait)
            raise
        finally:
            self._waits.discard(wait)
        if isinstance(how, Exception):
            raise how
        background.call(engine.acknowledge, wait)
        return completion_of(how.body)

    def watch(
        self,
        asset_ids: Iterable[str],
        *,
        timeout: Seconds | None = None,
        wait_for: What | None = None,
        not_found_grace: Seconds | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> AsyncGenerator[Completion, None]:
        """Return an asynchronous iterator over the completions of assets, each as soon as it is done.

        An ID that is there twice is one. Leaving the loop early ends the waits that are left; with a state directory,
        they are kept, and so is the completion that the loop was at. The arguments, and the errors that the iterator
        raises, are those of `wait`.
        """
        self._opened()
        terms = self._terms(timeout, wait_for, not_found_grace, metadata)
        return self._watch(checked_ids(asset_ids, redact=SECRETS.redact), terms)

    async def _watch(self, asset_ids: list[AssetId], terms: Terms) -> AsyncGenerator[Completion, None]:
        loop = asyncio.get_running_loop()
        ends: asyncio.Queue[tuple[Wait, Event | Exception]] = asyncio.Queue()

        def on_end(wait: Wait, how: Event | Exception) -> None:
            _call_in(loop, ends.put_nowait, (wait, how))

        background, engine = self._opened()
        left = {Wait(each, terms, on_end) for each in asset_ids}
        self._waits |= left
        background.call(engine.begin, list(left))
        try:
            while left:
                wait, how = await ends.get()
                if isinstance(how, Exception):
                    raise how
                self._waits.discard(wait)
                yield completion_of(how.body)
                # Only now: until it asks for the next one, the caller is at work on this, and may fail.
                left.discard(wait)
                background.call(engine.acknowledge, wait)
        finally:
            self._waits -= left
            for wait in left:
                background.call(engine.cancel, wait)

    def _terms(
        self,
        timeout: Seconds | None,
        wait_for: What | None,
        not_found_grace: Seconds | None,
        metadata: Mapping[str, Any] | None,
    ) -> Terms:
        return terms_of(
            self._defaults,
            timeout=timeout,
            wait_for=wait_for,
            not_found_grace=not_found_grace,
            metadata=metadata,
            redact=SECRETS.redact,
        )

    def _opened(self) -> tuple[Background, Engine]:
        if self._background is None or self._engine is None:
            raise ClientClosed("the client is not open: use `async with Client(…) as client`")
        if self._background.pid != os.getpid():
            raise ClientClosed("the client was opened in another process: open one in this process, after the fork")
        return self._background, self._engine


def _call_in(loop: asyncio.AbstractEventLoop, function: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
    """Call a function soon on the caller's loop, unless that has been closed meanwhile."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(partial(function, *args, **kwargs))


def _settle(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)
