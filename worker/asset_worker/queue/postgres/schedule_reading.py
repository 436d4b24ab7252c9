"""What `asset-worker schedule` shows of a fleet: what its workers have learned, and one asset."""

from __future__ import annotations

from asset_worker.domain.assets import AssetId
from asset_worker.domain.progress import Progress
from asset_worker.queue.local.status_report import CompletedLine, PendingAsset
from asset_worker.queue.postgres.connection import Connection
from asset_worker.queue.postgres.learned_rows import LearnedRows
from asset_worker.queue.postgres.learning import readable
from asset_worker.queue.postgres.membership import read_time
from asset_worker.queue.postgres.pending_rows import PendingRows
from asset_worker.schedule.learned import LearnedState, sum_of


def read_learned(connection: Connection, schema: str) -> LearnedState | None:
    """Return what all workers of the fleet have learned together; None: nothing is kept yet."""
    learned = readable(LearnedRows(schema).all(connection))
    return sum_of(learned) if learned else None


def read_asset(connection: Connection, schema: str, asset_id: str) -> PendingAsset | CompletedLine | None:
    """Return what the database holds of one asset, whoever owns it; None: nothing."""
    rows, now = PendingRows(schema), read_time(connection)
    pending = rows.find(connection, AssetId(asset_id))
    if pending is not None:
        return PendingAsset(pending.submission.options, pending.accepted_at, pending.progress or Progress(), now)
    settled = rows.find_settled(connection, AssetId(asset_id))
    if settled is None:
        return None
    _, outcome, accepted_at, completed_at, _ = settled
    return CompletedLine(asset_id, outcome, max(0.0, completed_at - accepted_at), max(0.0, now - completed_at))
