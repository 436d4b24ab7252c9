"""The assets that are pending or were settled, in the tables `pending` and `settled`; and what producers submitted.

The rules, each of which holds off a race that was seen:

- A row is accepted by two statements. The second reads what was settled, after the first has waited for whoever was
  settling the asset: one statement that does both would not see that, and count the same completion twice.
- What is written for a life is written in a transaction that locks the row of that life first (`database`), so that a
  retired life accepts and claims nothing.
- A settlement deletes the pending row only if this life owns it. No row deleted: no event.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from asset_worker.domain.assets import AssetId
from asset_worker.domain.events import Event
from asset_worker.domain.inbox import Asked
from asset_worker.domain.progress import Progress
from asset_worker.domain.submissions import ACCOUNT_ORIGIN, Options, Submission
from asset_worker.queue.postgres.connection import Connection, execute

_encode = msgspec.json.Encoder().encode
_decode_options = msgspec.json.Decoder(Options).decode
_decode_progress = msgspec.json.Decoder(Progress).decode


class PendingRow(msgspec.Struct, frozen=True):
    """A pending asset, as it is kept."""

    submission: Submission
    accepted_at: float
    """In steady time."""
    completion: int
    progress: Progress | None


class Ending(msgspec.Struct, frozen=True):
    """How the wait for one asset ended."""

    asset_id: AssetId
    completion: int
    outcome: str
    accepted_at: float
    completed_at: float
    events: tuple[Event, ...]
    """Those of steps that the last look was the first to see, then the completion."""
    kept: str | None = None
    """The completion event's body, if it is kept to be asked for."""


_COLUMNS: Final = "asset_id, origin, line, options, accepted_at, completion, progress"


class PendingRows:
    """The statements about pending and settled assets."""

    def __init__(self, schema: str) -> None:
        self._insert = (
            f"INSERT INTO {schema}.pending (asset_id, owner, accepted_at, completion, origin, line, options) "
            "SELECT g.asset_id, %(life)s, %(at)s, 1, g.origin, g.line, g.options "
            "FROM unnest(%(ids)s::text[], %(origins)s::text[], %(lines)s::bigint[], %(options)s::text[]) "
            'AS g (asset_id, origin, line, options) ORDER BY g.asset_id COLLATE "C" '
            "ON CONFLICT (asset_id) DO NOTHING RETURNING asset_id"
        )
        self._settled_among = (
            f"SELECT asset_id, completion, completed_at FROM {schema}.settled WHERE asset_id = ANY(%s)"
        )
        self._take_back = f"DELETE FROM {schema}.pending WHERE asset_id = ANY(%s)"
        self._number = (
            f"UPDATE {schema}.pending AS p SET completion = g.completion "
            "FROM unnest(%s::text[], %s::integer[]) AS g (asset_id, completion) WHERE p.asset_id = g.asset_id"
        )
        self._replace = (
            f"UPDATE {schema}.pending SET origin = %s, line = %s, options = %s "
            "WHERE asset_id = %s AND owner IS NOT DISTINCT FROM %s"
        )
        self._take_found = (
            f"UPDATE {schema}.pending AS p SET owner = %(life)s, origin = g.origin, line = g.line, options = g.options "
            "FROM unnest(%(ids)s::text[], %(origins)s::text[], %(lines)s::bigint[], %(options)s::text[]) "
            "AS g (asset_id, origin, line, options) WHERE p.asset_id = g.asset_id AND p.origin = %(found)s RETURNING "
            + ", ".join(f"p.{name}" for name in _COLUMNS.split(", "))
        )
        self._claim = (
            f"UPDATE {schema}.pending AS p SET owner = %(life)s FROM (SELECT asset_id FROM {schema}.pending "
            "WHERE owner IS NULL ORDER BY accepted_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED) AS c "
            "WHERE p.asset_id = c.asset_id RETURNING " + ", ".join(f"p.{name}" for name in _COLUMNS.split(", "))
        )
        self._owned = f"SELECT {_COLUMNS} FROM {schema}.pending WHERE owner = %s"
        self._release = (
            f"UPDATE {schema}.pending SET owner = NULL "
            "WHERE asset_id = ANY(%s) AND owner IS NOT DISTINCT FROM %s RETURNING asset_id"
        )
        self._release_all = (
            f"UPDATE {schema}.pending SET owner = NULL WHERE asset_id IN (SELECT asset_id FROM {schema}.pending "
            "WHERE owner = %s LIMIT %s FOR UPDATE SKIP LOCKED)"
        )
        self._save = (
            f"UPDATE {schema}.pending AS p SET progress = g.progress "
            "FROM unnest(%s::text[], %s::text[]) AS g (asset_id, progress) "
            "WHERE p.asset_id = g.asset_id AND p.owner IS NOT DISTINCT FROM %s RETURNING p.asset_id"
        )
        # `IS NOT DISTINCT FROM` can't use the index by owner: by that, each settlement would visit all that is owned.
        self._settle = (
            "WITH given AS (SELECT * FROM unnest(%(ids)s::text[], %(completions)s::integer[], %(outcomes)s::text[], "
            "%(accepted)s::float8[], %(completed)s::float8[], %(kept)s::text[]) "
            "AS g (asset_id, completion, outcome, accepted_at, completed_at, event)), "
            f"gone AS (DELETE FROM {schema}.pending AS p USING given AS g WHERE p.asset_id = g.asset_id "
            "AND p.owner IS NOT DISTINCT FROM %(life)s RETURNING p.asset_id), "
            f"settled AS (INSERT INTO {schema}.settled "
            "(asset_id, completion, life, outcome, accepted_at, completed_at, event) "
            "SELECT g.asset_id, g.completion, %(life)s, g.outcome, g.accepted_at, g.completed_at, g.event "
            "FROM given AS g JOIN gone USING (asset_id) "
            "ON CONFLICT (asset_id) DO UPDATE SET completion = excluded.completion, life = excluded.life, "
            "outcome = excluded.outcome, accepted_at = excluded.accepted_at, completed_at = excluded.completed_at, "
            "event = excluded.event), "
            "made AS (SELECT * FROM unnest(%(subjects)s::text[], %(event_ids)s::text[], %(bodies)s::text[], "
            "%(steps)s::boolean[]) WITH ORDINALITY AS e (asset_id, id, body, is_transition, n) "
            "JOIN gone USING (asset_id)), "
            f"events AS (INSERT INTO {schema}.events (id, body) SELECT id, body FROM made ORDER BY n "
            "RETURNING position, id), "
            f"owed AS (INSERT INTO {schema}.deliveries (sink, position, owner, asset_id, is_transition) "
            "SELECT s.sink, events.position, %(life)s, made.asset_id, made.is_transition "
            "FROM events JOIN made USING (id) CROSS JOIN unnest(%(sinks)s::text[]) AS s (sink)) "
            "SELECT asset_id FROM gone"
        )
        self._add_events = (
            "WITH made AS (SELECT * FROM unnest(%(subjects)s::text[], %(event_ids)s::text[], %(bodies)s::text[], "
            "%(steps)s::boolean[]) WITH ORDINALITY AS e (asset_id, id, body, is_transition, n)), "
            f"events AS (INSERT INTO {schema}.events (id, body) SELECT id, body FROM made ORDER BY n "
            "RETURNING position, id) "
            f"INSERT INTO {schema}.deliveries (sink, position, owner, asset_id, is_transition) "
            "SELECT s.sink, events.position, %(life)s, made.asset_id, made.is_transition "
            "FROM events JOIN made USING (id) CROSS JOIN unnest(%(sinks)s::text[]) AS s (sink)"
        )
        self._find = f"SELECT {_COLUMNS} FROM {schema}.pending WHERE asset_id = %s"
        self._find_settled = (
            f"SELECT completion, outcome, accepted_at, completed_at, event FROM {schema}.settled WHERE asset_id = %s"
        )
        self._prune = (
            f"DELETE FROM {schema}.settled WHERE asset_id IN (SELECT asset_id FROM {schema}.settled "
            "WHERE completed_at < %s ORDER BY completed_at LIMIT %s FOR UPDATE SKIP LOCKED)"
        )
        self._unowned = f"SELECT count(*) FROM (SELECT FROM {schema}.pending WHERE owner IS NULL LIMIT %s) AS counted"
        self._owned_by_others = f"SELECT owned FROM {schema}.workers WHERE id <> %s AND alive_until > clock_timestamp()"
        self._take_task = (
            f"INSERT INTO {schema}.holders AS h (task, life) VALUES (%s, %s) ON CONFLICT (task) DO UPDATE "
            f"SET life = excluded.life WHERE h.life = excluded.life OR h.life NOT IN (SELECT id FROM {schema}.workers) "
            "RETURNING 1"
        )
        self._has_task = f"SELECT 1 FROM {schema}.holders WHERE task = %s AND life = %s FOR KEY SHARE"
        self._set_checkpoint = (
            f"INSERT INTO {schema}.checkpoints (name, file, position, life) VALUES (%s, %s, %s, %s) "
            "ON CONFLICT (name, file) DO UPDATE SET position = excluded.position, life = excluded.life"
        )
        self._checkpoints = f"SELECT file, position FROM {schema}.checkpoints WHERE name = %s"
        # By `coalesce`, the planner expects half of the rows, and reads them in order until there are enough. Else it
        # expects hardly any, and sorts all.
        self._read_inbox = (
            f"SELECT number, asset_id, options::text FROM {schema}.inbox "
            "WHERE coalesce(number %% %(count)s = ANY(%(places)s), false) ORDER BY number LIMIT %(limit)s"
        )
        self._lock_inbox = (
            f"SELECT number FROM {schema}.inbox WHERE number = ANY(%s) ORDER BY number FOR UPDATE SKIP LOCKED"
        )
        self._delete_inbox = f"DELETE FROM {schema}.inbox WHERE number = ANY(%s)"

    def accept(
        self,
        connection: Connection,
        submissions: Sequence[Submission],
        *,
        life: int,
        at: float,
        window_start: float,
    ) -> list[tuple[Submission, int]]:
        """Make assets pending, owned by this life, except those that are pending or were settled since `window_start`.

        Return those that were accepted, each with the number of the completion that its wait leads to.
        """
        if not submissions:
            return []
        rows = execute(connection, self._insert, {"life": life, "at": at, **_columns_of(submissions)}).fetchall()
        new = {each for [each] in rows}
        rows = execute(connection, self._settled_among, (list(new),)).fetchall() if new else []
        settled = {asset_id: (completion, completed_at) for asset_id, completion, completed_at in rows}
        if repeats := [each for each, (_, completed_at) in settled.items() if completed_at >= window_start]:
            execute(connection, self._take_back, (repeats,))
        again = {each: completion + 1 for each, (completion, _) in settled.items() if each not in repeats}
        if again:
            execute(connection, self._number, (list(again), list(again.values())))
        return [
            (each, again.get(each.asset_id, 1))
            for each in submissions
            if each.asset_id in new and each.asset_id not in repeats
        ]

    def replace(self, connection: Connection, submissions: Sequence[Submission], *, life: int) -> list[Submission]:
        """Let submissions take the place of those of the same pending assets. Return those that are still owned."""
        return [
            each
            for each in submissions
            if execute(
                connection, self._replace, (each.origin, each.line, _options_row(each), each.asset_id, life)
            ).rowcount
        ]

    def take_found(self, connection: Connection, submissions: Sequence[Submission], *, life: int) -> list[PendingRow]:
        """Take those of the assets that are pending because a worker has found them in the account; see `replace`."""
        if not submissions:
            return []
        parameters = {"life": life, "found": ACCOUNT_ORIGIN, **_columns_of(submissions)}
        return [_row(each) for each in execute(connection, self._take_found, parameters).fetchall()]

    def claim(self, connection: Connection, *, life: int, limit: int) -> list[PendingRow]:
        """Claim at most `limit` assets that nobody owns, those accepted first."""
        # Without statistics (after a bulk load) the planner would sort all that nobody owns, for each claim.
        execute(connection, "SET LOCAL enable_sort = off")
        rows = execute(connection, self._claim, {"life": life, "limit": limit}).fetchall()
        execute(connection, "SET LOCAL enable_sort TO DEFAULT")
        return [_row(each) for each in rows]

    def count_unowned(self, connection: Connection, limit: int) -> int:
        """Return how many assets nobody owns, counted up to `limit`."""
        row = execute(connection, self._unowned, (limit,)).fetchone()
        return 0 if row is None else int(row[0])

    def owned_by_others(self, connection: Connection, life: int) -> list[int]:
        """Return how many assets each of the other workers owned when it last extended its lease."""
        return [int(each) for [each] in execute(connection, self._owned_by_others, (life,)).fetchall()]

    def take_task(self, connection: Connection, task: str, *, life: int) -> bool:
        """Take a task that no worker has any more. Return whether this life has it."""
        return execute(connection, self._take_task, (task, life)).fetchone() is not None

    def has_task(self, connection: Connection, task: str, *, life: int) -> bool:
        """Return whether this life has a task, and keep it until the transaction ends."""
        return execute(connection, self._has_task, (task, life)).fetchone() is not None

    def set_checkpoint(self, connection: Connection, name: str, file: str, position: bytes, *, life: int) -> None:
        """Record how far an intake of the worker of this name has come, or what a sink of it stores."""
        execute(connection, self._set_checkpoint, (name, file, position, life))

    def checkpoints(self, connection: Connection, name: str) -> dict[str, bytes]:
        """Return what was recorded for the worker of this name."""
        return {file: bytes(position) for file, position in execute(connection, self._checkpoints, (name,)).fetchall()}

    def owned(self, connection: Connection, life: int) -> list[PendingRow]:
        """Return all that this life owns."""
        return [_row(each) for each in execute(connection, self._owned, (life,)).fetchall()]

    def release(self, connection: Connection, asset_ids: Collection[AssetId], *, life: int) -> list[AssetId]:
        """Let others claim these assets. Return those that this life owned."""
        return [AssetId(each) for [each] in execute(connection, self._release, (list(asset_ids), life)).fetchall()]

    def release_all(self, connection: Connection, life: int, *, limit: int) -> int:
        """Let others claim at most `limit` assets of this life. Return how many it owned."""
        return execute(connection, self._release_all, (life, limit)).rowcount

    def save_progress(self, connection: Connection, progress: Mapping[AssetId, Progress], *, life: int) -> set[AssetId]:
        """Record the progress of assets that this life owns. Return them."""
        if not progress:
            return set()
        states = [_encode(each).decode() for each in progress.values()]
        rows = execute(connection, self._save, (list(progress), states, life)).fetchall()
        return {AssetId(each) for [each] in rows}

    def settle(
        self, connection: Connection, endings: Sequence[Ending], *, life: int, sinks: Sequence[str]
    ) -> set[AssetId]:
        """Settle those of the assets that this life owns, in one statement. Return which these are."""
        parameters = {
            "life": life,
            "sinks": list(sinks),
            "ids": [each.asset_id for each in endings],
            "completions": [each.completion for each in endings],
            "outcomes": [each.outcome for each in endings],
            "accepted": [each.accepted_at for each in endings],
            "completed": [each.completed_at for each in endings],
            "kept": [each.kept for each in endings],
        }
        made = [(each.asset_id, event) for each in endings for event in each.events]
        rows = execute(connection, self._settle, parameters | _events_row(made)).fetchall()
        return {AssetId(each) for [each] in rows}

    def add_events(
        self,
        connection: Connection,
        events: Iterable[tuple[AssetId | None, Event]],
        *,
        life: int,
        sinks: Sequence[str],
    ) -> None:
        """Put events into the outbox, in this order, each with the asset that it is about."""
        execute(connection, self._add_events, _events_row(list(events)) | {"life": life, "sinks": list(sinks)})

    def find(self, connection: Connection, asset_id: AssetId) -> PendingRow | None:
        """Return a pending asset, whoever owns it; None: it is not pending."""
        row = execute(connection, self._find, (asset_id,)).fetchone()
        return None if row is None else _row(row)

    def find_settled(
        self, connection: Connection, asset_id: AssetId
    ) -> tuple[int, str, float, float, bytes | None] | None:
        """Return how the last wait for an asset ended: completion, outcome, acceptance, completion's time and event."""
        row = execute(connection, self._find_settled, (asset_id,)).fetchone()
        return None if row is None else (*row[:4], None if row[4] is None else row[4].encode())

    def prune(self, connection: Connection, *, before: float, limit: int) -> int:
        """Delete at most `limit` settlements older than `before`, in steady time. Return how many."""
        return execute(connection, self._prune, (before, limit)).rowcount

    def read_inbox(self, connection: Connection, limit: int, *, count: int, places: Sequence[int]) -> list[Asked]:
        """Return the first `limit` rows of the inbox whose numbers, modulo `count`, are among `places`."""
        rows = execute(connection, self._read_inbox, {"count": count, "places": list(places), "limit": limit})
        return [Asked(number, asset_id, options) for number, asset_id, options in rows.fetchall()]

    def take_from_inbox(self, connection: Connection, numbers: Sequence[int]) -> bool:
        """Delete these rows of the inbox, unless another worker takes or has taken one. Return whether it was done."""
        if len(execute(connection, self._lock_inbox, (list(numbers),)).fetchall()) < len(numbers):
            return False
        execute(connection, self._delete_inbox, (list(numbers),))
        return True


def _events_row(made: Sequence[tuple[AssetId | None, Event]]) -> dict[str, Any]:
    return {
        "subjects": [asset_id for asset_id, _ in made],
        "event_ids": [event.id for _, event in made],
        "bodies": [event.body.decode() for _, event in made],
        "steps": [event.outcome is None for _, event in made],
    }


def _columns_of(submissions: Sequence[Submission]) -> dict[str, list[Any]]:
    """Return what is kept of submissions, column by column."""
    return {
        "ids": [each.asset_id for each in submissions],
        "origins": [each.origin for each in submissions],
        "lines": [each.line for each in submissions],
        "options": [_options_row(each) for each in submissions],
    }


def _options_row(submission: Submission) -> str | None:
    return None if submission.options is None else _encode(submission.options).decode()


def _row(row: tuple[Any, ...]) -> PendingRow:
    asset_id, origin, line, options, accepted_at, completion, progress = row
    return PendingRow(
        Submission(AssetId(asset_id), origin, line, options and _decode_options(options)),
        accepted_at,
        completion,
        progress and _decode_progress(progress),
    )
