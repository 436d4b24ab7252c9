"""From lines read to submissions accepted: the only way into the queue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from uuid import uuid4

import msgspec
import structlog

from asset_worker.domain.events import Event, rejected
from asset_worker.domain.submissions import Batch, Rejection, Submission
from asset_worker.runtime.clock import Clock
from asset_worker.runtime.redaction import REDACTED, Secrets

_log = structlog.get_logger()

LOGGED_ONE_BY_ONE = 1000
"""A batch with more submissions is a backlog being read, and is logged in one line instead of thousands."""


class QueueWriter(Protocol):
    """The queue, as an intake sees it."""

    async def room(self) -> int:
        """How many submissions may be put now. Waits until there is room for one."""
        ...

    async def put(
        self, submissions: Sequence[Submission], *, events: Sequence[Event], intake: str, position: bytes | None
    ) -> list[Submission]:
        """Store submissions, events and the intake's position in one transaction.

        Returns the submissions that are no repeats.
        """
        ...


class Ingest:
    """Puts batches into the queue. A rejected line becomes a `rejected` event in the same transaction."""

    def __init__(self, queue: QueueWriter, clock: Clock, *, source: str, secrets: Secrets) -> None:
        """`source` is the CloudEvents source of the events."""
        self._queue = queue
        self._clock = clock
        self._source = source
        self._secrets = secrets
        self.accepted = 0
        """Submissions accepted since the start, without repeats."""
        self.rejected = 0
        """Lines rejected since the start."""

    async def room(self) -> int:
        """How many submissions may be handed over now. Waits until there is room for one."""
        return await self._queue.room()

    async def accept(self, batch: Batch) -> None:
        """Put a batch into the queue, without the API key if it is in there; durable when this returns."""
        batch = self._redacted(batch)
        now = self._clock.now()
        events = [rejected(rejection, at=now, source=self._source) for rejection in batch.rejections]
        accepted = await self._queue.put(batch.submissions, events=events, intake=batch.intake, position=batch.position)
        self.accepted += len(accepted)
        self.rejected += len(batch.rejections)
        if len(accepted) <= LOGGED_ONE_BY_ONE:
            for submission in accepted:
                _log.info("intake.accepted", asset_id=submission.asset_id, source=submission.source)
        else:
            _log.info(
                "intake.accepted",
                count=len(accepted),
                first=accepted[0].source,
                last=accepted[-1].source,
                repeats=len(batch.submissions) - len(accepted),
            )
        for rejection in batch.rejections:
            _log.warning("intake.rejected", source=f"{rejection.origin}:{rejection.line}", reason=rejection.reason)

    def _redacted(self, batch: Batch) -> Batch:
        """The batch without the API key, which somebody may have put into the queue file by mistake."""
        submissions: list[Submission] = []
        rejections = [
            msgspec.structs.replace(rejection, raw=self._secrets.redact(rejection.raw))
            for rejection in batch.rejections
        ]
        for submission in batch.submissions:
            if submission.asset_id in self._secrets:
                reason = "this is the API key, and no asset ID: it does not belong here"
                # Nothing of the line may be hashed for its key, and its number is not unique. So the key is random: an
                # event of this line that is repeated has another ID, but no two lines have the same.
                rejections.append(Rejection(submission.origin, submission.line, reason, REDACTED.encode(), uuid4().hex))
            elif submission.options is None:
                submissions.append(submission)
            else:
                metadata = self._secrets.redact(submission.options.metadata)
                options = msgspec.structs.replace(submission.options, metadata=metadata)
                submissions.append(msgspec.structs.replace(submission, options=options))
        return msgspec.structs.replace(batch, submissions=submissions, rejections=rejections)
