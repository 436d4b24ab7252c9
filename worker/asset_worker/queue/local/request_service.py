"""Carries out the requests of commands in a running worker."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Final

from asset_worker.queue.commits import Commits
from asset_worker.queue.dead_letters import Answer, Request
from asset_worker.queue.local.dead_letter_requests import Done, carry_out
from asset_worker.queue.local.journal import Journal
from asset_worker.queue.local.outbox import LocalOutbox
from asset_worker.queue.local.request_files import Refused, RequestFiles, UnusableRequestsError
from asset_worker.runtime.clock import Clock
from asset_worker.runtime.log import get_logger

_log = get_logger()

KEEP_ANSWERS_SECONDS: Final = 7 * 86_400.0
"""How long a request is known to be carried out after its file was deleted: a disk that loses power may bring the file
back. It is then found by the first look of the next start, before anything is forgotten."""


class RequestService:
    """Finds requests, carries each out once, and answers it."""

    def __init__(
        self, state: Path, commits: Commits[Journal], outbox: LocalOutbox, clock: Clock, *, receivers: Collection[str]
    ) -> None:
        """`state` is the state directory; `receivers` are the independent sinks of this run."""
        self._files = RequestFiles(state)
        self._path = str(state)
        self._commits = commits
        self._outbox = outbox
        self._clock = clock
        self._receivers = frozenset(receivers)
        self._problem: str | None = None
        """Why requests could not be read at the last look; None: they could."""

    async def serve(self) -> None:
        """Carry out the requests that are there now. A failure is logged once, and the next call tries again."""
        try:
            for found in await self._commits.read(lambda _: self._files.find()):
                if isinstance(found, Refused):
                    await self._refuse(found)
                else:
                    await self._serve(found.id, found.request)
        except (OSError, UnusableRequestsError) as error:
            self._report(str(error))
        else:
            self._problem = None

    async def clean(self) -> None:
        """Delete what commands have left behind, and forget old requests."""
        before = self._clock.steady() - KEEP_ANSWERS_SECONDS
        await self._commits.write(lambda journal: journal.requests.prune(before=before))
        try:
            await self._commits.read(lambda _: self._files.clean())
        except (OSError, UnusableRequestsError) as error:
            self._report(str(error))

    async def _serve(self, request_id: str, request: Request) -> None:
        now = self._clock.steady()
        done = await self._commits.write(
            lambda journal: carry_out(journal, request_id, request, receivers=self._receivers, now=now),
            applied=partial(self._count, request),
        )
        if done.is_new:
            _log_done(request_id, request, done.answer)
        await self._commits.read(lambda _: self._files.answer(request_id, done.answer))

    def _count(self, request: Request, done: Done) -> None:
        if done.is_new and done.answer.error is None:
            is_retry = request.action == "retry"
            self._outbox.count_request(done.answer.counts, is_retry=is_retry)
            if is_retry and request.sink is not None:
                self._outbox.ask_for_retry(request.sink)

    async def _refuse(self, refused: Refused) -> None:
        _log.warning("dead_letters.request_refused", file=refused.name, reason=refused.reason)
        if refused.id is not None:
            request_id, answer = refused.id, Answer(error=f"the request was refused: {refused.reason}")
            await self._commits.read(lambda _: self._files.answer(request_id, answer))

    def _report(self, problem: str) -> None:
        if problem != self._problem:
            self._problem = problem
            _log.warning("dead_letters.requests_unusable", path=self._path, error=problem)


def _log_done(request_id: str, request: Request, answer: Answer) -> None:
    if answer.error is not None:
        _log.warning("dead_letters.request_refused", file=f"{request_id}.json", reason=answer.error)
    elif request.action == "retry":
        counts = answer.counts or ({} if request.sink is None else {request.sink: 0})
        for sink, count in counts.items():
            _log.info("dead_letters.retried", sink=sink, count=count, request=request_id)
    else:
        for sink, count in answer.counts.items():
            _log.info("dead_letters.dropped", sink=sink, count=count, request=request_id)
