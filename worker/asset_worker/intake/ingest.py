"""Puts what intakes have read into the queue: the only way into it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Final, Protocol
from uuid import uuid4

import msgspec

from asset_worker.domain.assets import AssetId
from asset_worker.domain.events import Event, rejected
from asset_worker.domain.submissions import Batch, Options, Rejection, Submission
from asset_worker.intake.rejections import REPORTED_IN_A_ROW, RejectedRow, row_after, shown_rejections, shown_zeros
from asset_worker.runtime.clock import Clock
from asset_worker.runtime.log import get_logger
from asset_worker.runtime.redaction import REDACTED, Secrets

_log = get_logger()

NAMED_IN_LOG = 100
"""The line about a batch names so many of its assets, so that the log can be searched for them."""
MADE_AT_ONCE: Final = 250
"""Events of rejected lines that are made before everything else in the event loop gets its turn: some milliseconds."""


class QueueWriter(Protocol):
    """The queue, as `Ingest` uses it."""

    async def room(self) -> int:
        """Wait until there is room. Return how many submissions and events may be put."""
        ...

    def has_room_for(self, asset_ids: Collection[AssetId]) -> bool:
        """Return whether all of these assets may be put now that are not pending yet."""
        ...

    async def put(
        self,
        submissions: Sequence[Submission],
        *,
        events: Sequence[Event],
        intake: str,
        position: bytes | None,
        accepts_settled: bool = True,
    ) -> list[Submission]:
        """Store submissions, events and the intake's position in one transaction.

        Without `accepts_settled`, an asset that was ever settled is a repeat, as far as that is known. Return the
        submissions that were accepted; the others are repeats.
        """
        ...


class Ingest:
    """Puts batches into the queue. A rejected line becomes a `rejected` event in the same transaction."""

    def __init__(self, queue: QueueWriter, clock: Clock, *, source: str, secrets: Secrets) -> None:
        """`source` is the CloudEvents source of the events; `secrets` are redacted in what is accepted."""
        self._queue = queue
        self._clock = clock
        self._source = source
        self._secrets = secrets
        self.lines: Counter[tuple[str, str]] = Counter()
        """Lines and other submissions since the start, by the kind of their source and by what became of them:
        `accepted`, `repeat` or `rejected`."""
        self.read_at: dict[str, float] = {}
        """When each kind of source last provided something, which was durable then, in seconds since the epoch, UTC."""
        self._rows: dict[str, RejectedRow | None] = {}
        """The lines rejected in a row, by the intake."""

    @property
    def rejected(self) -> int:
        """Lines rejected since the start."""
        return sum(count for (_, result), count in self.lines.items() if result == "rejected")

    @property
    def rejected_inputs(self) -> list[RejectedRow]:
        """The last lines of each input that holds nothing but rejected ones; `since` is by the wall clock."""
        behind = self._clock.now() - self._clock.steady()
        rows = [row for row in self._rows.values() if row is not None and row.count >= REPORTED_IN_A_ROW]
        return [msgspec.structs.replace(row, since=row.since + behind) for row in rows]

    async def room(self) -> int:
        """Wait until there is room. Return how many lines may be handed over."""
        return await self._queue.room()

    def has_room_for(self, asset_ids: Collection[AssetId]) -> bool:
        """Return whether all of these assets that are not pending yet may be accepted now."""
        return self._queue.has_room_for(asset_ids)

    async def accept(self, batch: Batch) -> list[Submission]:
        """Put a batch into the queue, with secrets redacted in it; durable when this returns.

        Return the submissions that were accepted; the others are repeats. Without rejections, the queue has what is new
        in the batch before this first waits.
        """
        batch = self._redacted(batch)
        events = await self._events_of(batch.rejections)
        accepted = await self._queue.put(
            batch.submissions,
            events=events,
            intake=batch.intake,
            position=batch.position,
            accepts_settled=batch.accepts_settled,
        )
        self._count(batch, accepted)
        row = self._rows.get(batch.intake)
        self._rows[batch.intake] = row_after(row, batch, now=self._clock.steady())
        self._log(batch, accepted)
        return accepted

    def _count(self, batch: Batch, accepted: Sequence[Submission]) -> None:
        kind = kind_of(batch.intake)
        repeats = len(batch.submissions) - len(accepted)
        for result, count in (("accepted", len(accepted)), ("repeat", repeats), ("rejected", len(batch.rejections))):
            self.lines[kind, result] += count
        self.read_at[kind] = self._clock.now()

    async def _events_of(self, rejections: Sequence[Rejection]) -> list[Event]:
        now = self._clock.now()
        events: list[Event] = []
        for start in range(0, len(rejections), MADE_AT_ONCE):
            if start:
                await asyncio.sleep(0)
            some = rejections[start : start + MADE_AT_ONCE]
            events += [rejected(rejection, at=now, source=self._source) for rejection in some]
        return events

    def _log(self, batch: Batch, accepted: Sequence[Submission]) -> None:
        if len(accepted) == 1:
            _log.info("intake.accepted", asset_id=accepted[0].asset_id, source=accepted[0].source)
        elif accepted:
            _log.info(
                "intake.accepted",
                count=len(accepted),
                asset_ids=[each.asset_id for each in accepted[:NAMED_IN_LOG]],
                first=accepted[0].source,
                last=accepted[-1].source,
                repeats=len(batch.submissions) - len(accepted),
            )
        if batch.zeros:
            _log.warning("intake.zeros", **shown_zeros(batch.zeros))
        if batch.rejections:
            _log.warning("intake.rejected", **shown_rejections(batch.rejections))

    def _redacted(self, batch: Batch) -> Batch:
        """Return the batch with the API key redacted: somebody may have put it into the queue file by mistake."""
        submissions: list[Submission] = []
        redact = self._secrets.redact
        # A rotated file may have a key in its name. There are few origins, and many submissions.
        origins = {origin: redact(origin) for origin in {each.origin for each in batch.submissions}}
        rejections = [
            msgspec.structs.replace(
                each,
                origin=redact(each.origin),
                reason=redact(each.reason),
                raw=redact(each.raw),
                tail=redact(each.tail),
            )
            for each in batch.rejections
        ]
        for submission in batch.submissions:
            origin = origins[submission.origin]
            if redact(submission.asset_id) != submission.asset_id:
                reason = "this is the API key, and no asset ID: it does not belong here"
                # A rejection's key is a hash of its line, which here is the secret, and the line's number is not
                # unique. So the key is random: a repeated event of this line has another ID, but no two lines share it.
                rejections.append(Rejection(origin, submission.line, reason, REDACTED.encode(), uuid4().hex))
            elif submission.options is None and origin == submission.origin:
                submissions.append(submission)
            else:
                options = submission.options and self._redacted_options(submission.options)
                submissions.append(msgspec.structs.replace(submission, origin=origin, options=options))
        return msgspec.structs.replace(batch, submissions=submissions, rejections=rejections)

    def _redacted_options(self, options: Options) -> Options:
        traceparent = options.traceparent
        if self._secrets.redact(traceparent) != traceparent:
            traceparent = None  # with asterisks in it, it would be invalid
        return msgspec.structs.replace(
            options, metadata=self._secrets.redact(options.metadata), traceparent=traceparent
        )


def kind_of(intake: str) -> str:
    """Return the kind of an intake, as a label shows it: `file`, `stdin`, `account`, `http`, `command`.

    The account is read by two: for what is new, and for what is older (`account-backfill:`).
    """
    return intake.partition(":")[0].partition("-")[0]
