"""Two workers at once, and one that has been retired: each race that was seen has a rule, and each rule a test here."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import psycopg
import pytest

from asset_worker.domain.inbox import INBOX, TakenError, position_of
from asset_worker.domain.progress import LastSeen, Progress
from asset_worker.domain.submissions import ACCOUNT_ORIGIN, Options, Submission
from asset_worker.domain.transitions import Transition
from asset_worker.queue.postgres import ownership, pending_rows
from asset_worker.queue.postgres.connection import Link, execute
from asset_worker.queue.postgres.database import Database
from asset_worker.runtime.threads import DaemonThread
from tests.doubles.clocks import ManualClock
from tests.doubles.fleet import open_fleet, prune, tick
from tests.doubles.local_queue import event_for, put, rejection
from tests.unit.conftest import SYSTEM
from tests.unit.queue.conformance import DEDUPE_WINDOW, IDS
from tests.unit.queue.outbox_model import event_of

pytestmark = pytest.mark.parametrize("server", ["newest", SYSTEM], indirect=True)
LEASE = 9.0


async def sent(queue, sink="stdout"):
    return [stored.id for stored in await queue.outbox.read(sink, 1_000)]


async def accept(queue, *submissions):
    return await queue.put(submissions, events=[], intake="stdin", position=None)


def raising(error):
    async def run(_):
        raise error

    return run


# Retired workers


async def test_a_settlement_of_a_retired_worker_changes_nothing(opened, sql):
    queue = await opened()
    await put(queue, 0, 1)
    [lease, other] = await queue.take(2)
    first = queue.life
    sql("DELETE FROM workers WHERE id = %s", first)
    await queue.settle(lease, event_for(lease))
    assert sql("SELECT count(*) FROM settled") == [(0,)]
    assert (queue.life > first, queue.pending_count(), await sent(queue)) == (True, 0, [])
    await queue.defer(other, 1.0, Progress(polls=1))
    assert queue.pending_count() == 0


async def test_a_retired_worker_begins_anew_and_claims_again_what_it_owned(opened, sql):
    queue = await opened()
    await put(queue, 0, 1)
    [old] = await queue.take(1)
    sql("DELETE FROM workers")
    await tick(queue)
    await queue.claim()
    assert queue.pending_count() == 2
    leases = await queue.take(2)
    assert {lease.submission.asset_id for lease in leases} == set(IDS[:2])
    await queue.settle(old, event_for(old))
    assert queue.pending_count() == 2, "the lease of the life before ends nothing"
    for lease in leases:
        await queue.settle(lease, event_for(lease))
    assert sorted(await sent(queue)) == [f"{asset_id}.1" for asset_id in IDS[:2]]


async def test_what_a_retired_worker_puts_is_accepted_in_its_next_life(opened, sql):
    queue = await opened()
    sql("DELETE FROM workers")
    assert len(await put(queue, 0, position=b"7", events=[rejection("k")])) == 1
    assert (queue.pending_count(), await sent(queue)) == (1, ["rejected.k"])
    assert sql("SELECT owner, position FROM pending, checkpoints") == [(queue.life, b"7")]


async def test_nobody_retires_others_until_its_own_lease_was_extended_for_a_whole_one(opened, sql, clock):
    """After an outage of the database all seem to be dead."""
    dead = await opened("b", lease=LEASE)
    await put(dead, 0)
    queue = await opened("a", lease=LEASE)
    sql("UPDATE workers SET alive_until = clock_timestamp() - interval '1 hour' WHERE id = %s", dead.life)
    retired = []
    for _ in range(4):
        await tick(queue)
        retired.append(sql("SELECT count(*) FROM workers") == [(1,)])
        clock.move(LEASE / 3)
    assert retired == [False, False, False, True]
    await queue.claim()
    assert queue.pending_count() == 1


async def test_a_claim_that_is_committed_after_a_take_over_is_freed_by_the_next_one(opened, sql):
    """Or else the asset would be owned by nobody for ever."""
    other = await opened("b")
    await put(other, 0)
    queue = await opened("a")
    with sql.connection.transaction():
        sql("UPDATE pending SET owner = owner")
        with psycopg.connect(sql.connection.info.dsn, autocommit=True) as connection:
            connection.execute(f"DELETE FROM {sql('SHOW search_path')[0][0]}.workers WHERE id = {other.life}")
        await tick(queue)
        await queue.claim()
        assert queue.pending_count() == 0
    await tick(queue)
    await queue.claim()
    assert queue.pending_count() == 1


async def test_no_look_begins_after_the_lease_and_all_go_on_once_it_is_extended(opened, clock):
    queue = await opened(lease=LEASE)
    await put(queue, 0, 1, 2)
    [lease] = await queue.take(1)
    clock.suspend(LEASE)  # also a machine that sleeps, whose monotonic clock stands still
    taking = asyncio.ensure_future(queue.take(1))
    await asyncio.sleep(0.01)
    assert not taking.done()
    assert queue.lease(IDS, not_seen_since=float("inf")) == []
    assert queue.take_overdue(9, age_limit=lambda _: 0.0) == []
    await tick(queue)
    assert len(await taking) == 1
    await queue.settle(lease, event_for(lease))
    assert await sent(queue) == [f"{lease.submission.asset_id}.1"]


# Answers that are lost


class LosingLink(Link):
    """Loses the answers to its next commits."""

    lost = 0
    meanwhile = staticmethod(lambda: None)

    def transact(self, work):
        return self.after(super().transact(work))

    def ask(self, work):
        return self.after(super().ask(work))

    def after(self, result):
        if self.lost:
            self.lost -= 1
            self.close()
            self.meanwhile()
            raise psycopg.OperationalError("the connection was lost")
        return result


@pytest.fixture
def losing(monkeypatch):
    monkeypatch.setattr("tests.doubles.fleet.Link", LosingLink)
    monkeypatch.setattr("asset_worker.queue.commits.RETRY_SECONDS", 0.0)


@pytest.mark.usefixtures("losing")
@pytest.mark.parametrize("is_retired", [False, True], ids=["in the same life", "in the next life"])
async def test_what_was_committed_although_the_answer_was_lost_is_not_done_again(opened, sql, is_retired):
    queue = await opened()
    if is_retired:
        queue.links[0].meanwhile = lambda: sql("DELETE FROM workers")
    queue.links[0].lost = 1
    assert len(await put(queue, 0, position=b"7", events=[rejection("k")])) == 1
    queue.links[0].meanwhile = lambda: None
    await tick(queue)
    await queue.claim()
    assert (queue.pending_count(), await sent(queue)) == (1, ["rejected.k"])
    [lease] = await queue.take(1)
    queue.links[0].lost = 2
    await queue.settle(lease, event_for(lease))
    assert (queue.pending_count(), await sent(queue)) == (0, ["rejected.k", f"{IDS[0]}.1"])
    assert sql("SELECT count(*) FROM pending") == [(0,)]


@pytest.mark.usefixtures("losing")
async def test_a_life_whose_beginning_got_no_answer_ends_with_its_lease_and_another_begins(opened, sql, monkeypatch):
    """Its name is taken until then: by this worker itself."""
    monkeypatch.setattr("asset_worker.queue.postgres.membership.RETRY_SECONDS", 0.01)
    queue = await opened(lease=LEASE)
    sql("DELETE FROM workers")
    lease_link = queue.links[1]

    def end_its_lease():
        sql("UPDATE workers SET alive_until = clock_timestamp() + interval '0.2 seconds'")

    def lose_next():
        lease_link.lost, lease_link.meanwhile = 1, end_its_lease

    queue._membership._count_lapse = lose_next
    before = queue.life
    await queue.renew()
    assert queue.life > before + 1
    assert sql("SELECT id FROM workers") == [(queue.life,)]


async def test_the_numbers_of_old_groups_are_forgotten(opened, sql, clock):
    queue = await opened()
    for number in range(5):
        await put(queue, number)
    await prune(queue)
    assert len(sql("SELECT number FROM groups")) <= 2


# Two workers


async def test_an_asset_that_is_accepted_while_another_worker_settles_it_gets_the_next_number(
    opened, server, schema, sql, clock
):
    """The acceptance waits for the settlement, and must then see it."""
    first, thread = await opened("a", window=0.0), DaemonThread("database")
    await put(first, 0)
    [lease] = await first.take(1)
    clock.move(1.0)
    second = open_fleet(server, schema, clock, name="b", thread=thread, window=0.0)
    # What `settle` writes, in a transaction that stays open for a while.
    with sql.connection.transaction():
        sql("DELETE FROM pending")
        sql("INSERT INTO settled VALUES (%s, 1, %s, 'ready', 0, 0, NULL)", lease.submission.asset_id, first.life)
        putting = asyncio.ensure_future(put(second, 0))
        await asyncio.sleep(0.3)
        assert not putting.done()
    assert len(await putting) == 1
    [again] = await second.take(1)
    assert again.completion == 2
    await second.close()


async def test_an_asset_that_another_worker_waits_for_is_a_repeat(opened):
    first, second = await opened("a"), await opened("b")
    await put(first, 0, 1)
    assert [each.asset_id for each in await put(second, 1, 2)] == [IDS[2]]
    assert (first.pending_count(), second.pending_count()) == (2, 1)
    assert (await second.find(IDS[0])).pending is not None, "whoever owns it"


async def test_workers_that_accept_the_same_assets_in_another_order_do_not_hold_each_other_up(opened, server, schema):
    clock = ManualClock()
    queues = [open_fleet(server, schema, clock, name=name, thread=DaemonThread(name)) for name in "ab"]
    orders = (range(8), range(7, -1, -1))
    for _ in range(20):
        accepted = await asyncio.gather(*(put(queue, *order) for queue, order in zip(queues, orders, strict=True)))
        assert sorted(each.asset_id for some in accepted for each in some) == IDS
        for queue in queues:
            if queue.pending_count():
                for lease in await queue.take(8):
                    await queue.settle(lease, event_for(lease))
        clock.move(DEDUPE_WINDOW + 1)
    for queue in queues:
        await queue.close()


async def test_a_worker_that_ends_hands_its_assets_over_with_their_progress(opened, sql):
    first, second = await opened("a"), await opened("b")
    await put(first, 0, 1)
    [lease] = await first.take(1)
    seen = Progress(polls=3, last_seen=LastSeen("processing"), waiting_on=("asset",))
    await first.defer(lease, 60.0, seen)
    await first.finish()
    await second.claim()
    leases = await second.take(2)
    assert {each.submission.asset_id: each.progress for each in leases} == {
        lease.submission.asset_id: seen,
        IDS[1]: Progress(),
    }
    assert sql("SELECT name FROM workers") == [("b",)]


async def test_workers_share_the_assets_evenly(opened, clock, monkeypatch):
    monkeypatch.setattr(ownership, "CLAIMED_AT_ONCE", 7)
    first = await opened("a", lease=LEASE)
    await first.put([Submission(f"asset-{n}", "stdin", n) for n in range(100)], events=[], intake="i", position=None)
    second = await opened("b", lease=LEASE)

    async def counts_after_renewals(*queues):
        counts = []
        for _ in range(12):
            for queue in queues:
                await tick(queue)
                await queue.claim()
            clock.move(LEASE / 3)
            counts.append(tuple(queue.pending_count() for queue in queues))
        return counts

    counts = await counts_after_renewals(first, second)
    assert counts[:3] == [(100, 0)] * 3, "it gives assets back after a lease"
    assert counts[4:] == [(50, 50)] * 8
    third = await opened("c", lease=LEASE, max_pending=10)
    await first.finish()
    assert (await counts_after_renewals(second, third))[-1] == (90, 10), "that is all it has room for"


async def test_assets_that_others_should_claim_are_claimed_after_a_lease(opened, sql, clock):
    """They have no room, or are too slow."""
    queue = await opened("a", lease=LEASE)
    await put(queue, 0, 1)
    sql("INSERT INTO pending (asset_id, accepted_at, completion, origin, line) VALUES ('x', 0, 1, 'stdin', 1)")
    sql("INSERT INTO workers (name, version, alive_until, owned) VALUES ('b', '1', now() + interval '1 day', 0)")
    counts = []
    for _ in range(4):
        await tick(queue)
        await queue.claim()
        counts.append(queue.pending_count())
        clock.move(LEASE / 3)
    assert counts == [2, 2, 2, 3]


# The inbox


def from_inbox(rows):
    return {
        "submissions": [Submission(row.asset_id, "inbox", row.number) for row in rows],
        "events": [],
        "intake": INBOX,
        "position": position_of([row.number for row in rows]),
    }


async def test_what_is_submitted_is_accepted_once_by_one_of_the_workers(opened, schema, sql):
    queues = [await opened(name) for name in "ab"]
    for queue in queues:
        await tick(queue)
    sql("SELECT submit('asset-' || n) FROM generate_series(0, 7) AS n")
    accepted = [each.asset_id for queue in queues for each in await queue.put(**from_inbox(await queue.read_inbox(9)))]
    assert sorted(accepted) == IDS
    assert [queue.pending_count() for queue in queues] == [4, 4]
    assert sql("SELECT count(*) FROM inbox") == [(0,)]


async def test_of_what_another_worker_has_taken_nothing_is_accepted(opened, sql):
    first, second = await opened("a"), await opened("b")
    sql("SELECT submit('asset-' || n) FROM generate_series(0, 2) AS n")
    rows = await first.read_inbox(9)
    await second.put(**from_inbox(rows[:1]))
    with pytest.raises(TakenError):
        await first.put(**from_inbox(rows))
    assert (first.pending_count(), second.pending_count()) == (0, 1)
    assert len(await first.put(**from_inbox(rows[1:]))) == 2


async def test_a_producer_whose_transaction_stays_open_holds_up_nobody_and_loses_nothing(opened, server, schema, sql):
    """Its rows have lower numbers than those that are accepted meanwhile."""
    queue = await opened()
    with psycopg.connect(server) as producer:
        producer.execute(f"SELECT {schema}.submit('asset-0', '{{\"deadline\": 5}}')")
        sql("SELECT submit('asset-1')")
        [row] = await queue.read_inbox(9)
        await queue.put(**from_inbox([row]))
        assert await put(queue, 0, 2)
    [late] = await queue.read_inbox(9)
    assert (late.asset_id, late.options, late.number < row.number) == ("asset-0", '{"deadline": 5}', True)


@pytest.mark.parametrize("bad", ["", "a b", "x" * 65, "a'; DROP TABLE pending; --", None])
async def test_an_id_that_no_asset_can_have_is_refused_to_the_producer(sql, bad):
    with pytest.raises(psycopg.errors.IntegrityError):
        sql("SELECT submit(%s)", bad)


# What one worker does at a time


async def test_one_worker_at_a_time_follows_the_account_and_the_next_goes_on_where_it_was(opened, sql):
    first, second = await opened("a"), await opened("b")
    assert await first.take_turn("account") == {}
    taking = asyncio.ensure_future(second.take_turn("account"))
    over = asyncio.ensure_future(first.turn_is_over())
    await asyncio.sleep(0.05)
    assert not taking.done()
    found = [Submission(IDS[0], "account", 1)]
    await first.put(found, events=[], intake="account:url", position=b"7")
    with pytest.raises(TakenError):
        await second.put([Submission(IDS[1], "account", 1)], events=[], intake="account:url", position=b"3")
    assert sql("SELECT asset_id, owner FROM pending") == [(IDS[0], first.life)], "or else nobody would look at it"
    sql("DELETE FROM workers WHERE id = %s", first.life)
    assert await asyncio.wait_for(taking, 5) == {"account:url": b"7"}
    with pytest.raises(TakenError):
        await first.put(found, events=[], intake="account:url", position=b"4")
    await asyncio.wait_for(over, 1)
    assert sql("SELECT position FROM checkpoints") == [(b"7",)]


async def test_what_one_has_found_and_somebody_asks_for_at_another_is_the_others(opened, sql):
    """The metadata and options of who asked count; the one that found it notices when it saves what it has seen."""
    finder, asked = await opened("a"), await opened("b")
    found = [Submission(each, ACCOUNT_ORIGIN, 0) for each in IDS[:2]]
    await finder.take_turn(ACCOUNT_ORIGIN)
    await finder.put(found, events=[], intake="account:url", position=b"1")
    [_, lease] = await finder.take(2)
    await finder.defer(lease, 5.0, Progress(polls=1, last_seen=LastSeen("processing", {})))
    await finder._save_progress(with_counts=True)
    submission = Submission(lease.submission.asset_id, "stdin", 7, Options(metadata={"a": "b"}))
    assert await accept(asked, submission) == [submission]
    assert sql("SELECT owner, origin FROM pending WHERE asset_id = %s", submission.asset_id) == [(asked.life, "stdin")]
    [theirs] = await asked.take(1)
    assert (theirs.submission, theirs.progress.polls, theirs.completion) == (submission, 1, 1)
    assert await accept(finder, submission) == [], "it is asked for already"
    [mine] = finder.lease([submission.asset_id], not_seen_since=1e9)
    await finder.defer(mine, 5.0, Progress(polls=2))
    await finder._save_progress(with_counts=True)
    assert finder.pending_count() == 1
    await asked.settle(theirs, event_for(theirs))
    assert (asked.pending_count(), await sent(finder)) == (0, [])


# Leases


async def test_a_lease_that_could_not_be_extended_in_time_is_counted_once(opened, sql, clock, monkeypatch):
    queue = await opened(lease=LEASE)
    assert (queue.fleet.leases_lost, queue.fleet.lapse) == (0, None)
    with monkeypatch.context() as away:
        away.setattr(queue._membership, "_run", raising(psycopg.OperationalError("no route")))
        for _ in range(3):
            clock.move(LEASE / 2)
            with pytest.raises(psycopg.OperationalError):
                await queue.renew()
    assert queue.fleet.leases_lost == 1
    assert (queue.fleet.lapse.error, queue.fleet.workers) == ("no route", 0)
    await queue.renew()
    assert (queue.fleet.leases_lost, queue.fleet.lapse, queue.fleet.workers) == (1, None, 1)
    assert sql("SELECT leases_lost FROM workers") == [(1,)]
    sql("DELETE FROM workers")
    await queue.renew()
    assert queue.fleet.leases_lost == 2


async def test_a_renewal_that_gets_no_answer_within_a_lease_is_given_up(server, schema, sql):
    """Something in between may go on to acknowledge what is sent to a server that is gone."""
    queue = open_fleet(server, schema, ManualClock(), thread=DaemonThread("queue"), lease=1.0)
    sql("UPDATE workers SET alive_until = 'infinity'")
    with sql.connection.transaction():
        sql("UPDATE workers SET owned = 7")
        with pytest.raises(psycopg.OperationalError):
            await queue.renew()
    await queue.renew()
    assert sql("SELECT owned FROM workers") == [(0,)]
    queue.crash()


async def test_a_retired_worker_gives_up_a_call_that_hangs_and_begins_anew(server, schema, sql, monkeypatch):
    """After a partition, the connection for renewals is a new one, and the other one may still be silent."""
    monkeypatch.setattr(Database, "patience", 3600.0)
    queue = open_fleet(server, schema, ManualClock(), thread=DaemonThread("queue"))
    [(former,)] = sql("SELECT id FROM workers")
    with psycopg.connect(server) as other:
        other.execute(f"LOCK TABLE {schema}.pending")
        finding = asyncio.ensure_future(queue.find("x"))
        while not sql("SELECT pid FROM pg_locks WHERE NOT granted"):  # noqa: ASYNC110 - it happens in a thread
            await asyncio.sleep(0.01)
        sql("DELETE FROM workers")
        async with asyncio.timeout(60):
            await queue.renew()
        assert queue.life > former
    await finding
    queue.crash()


async def test_a_state_directory_of_another_worker_ends_nobodys_life(opened, sql):
    """It was copied, or the database was made anew and counts lives from 1 again."""
    first = await opened("a")
    await opened("b", former_life=first.life)
    assert sql("SELECT name FROM workers ORDER BY name") == [("a",), ("b",)]


async def test_a_life_whose_number_another_worker_got_from_a_database_that_has_lost_it_is_over(opened, sql):
    """As after a failover without a synchronous standby: the new primary counts lives from an earlier one on."""
    queue = await opened("a")
    former = queue.life
    await put(queue, 0)
    sql("UPDATE workers SET name = 'b'")
    [lease] = await queue.take(1)
    await queue.settle(lease, event_for(lease))
    assert sql("SELECT count(*) FROM settled") == [(0,)]
    await queue.renew()
    assert queue.life > former
    assert sql("SELECT name FROM workers ORDER BY name") == [("a",), ("b",)]


async def test_a_database_that_stood_still_is_an_outage_though_no_extension_failed(opened, sql, clock):
    """It stood still for all workers: the others seem to be dead."""
    other, queue = await opened("b", lease=LEASE), await opened("a", lease=LEASE)
    for _ in range(5):
        await other.renew()
        await tick(queue)
        clock.move(LEASE / 3)
    sql("UPDATE workers SET alive_until = clock_timestamp() - interval '1 s' WHERE id = %s", other.life)
    clock.move(LEASE)
    await tick(queue)
    assert sql("SELECT count(*) FROM workers") == [(2,)]


# Deliveries


async def test_what_a_dead_worker_owed_is_delivered_by_another_though_its_own_events_are_later(opened, sql):
    """There is no watermark: a lower position may be adopted after a higher one was delivered."""
    first, second = await opened("a"), await opened("b")
    await put(first, events=[rejection(f"a{n}") for n in range(3)])
    await put(second, events=[rejection("b")])
    [stored] = await second.outbox.read("stdout", 9)
    sql("DELETE FROM workers WHERE id = %s", first.life)
    await tick(second)
    assert second.outbox.owed("stdout") == 4
    await second.outbox.advance("stdout", stored.position, None)
    left = await second.outbox.read("stdout", 9)
    assert [each.id for each in left] == ["rejected.a0", "rejected.a1", "rejected.a2"]
    assert all(one.position < other.position for one, other in pairwise([*left, stored]))
    await second.outbox.advance("stdout", left[-1].position, None)
    assert sql("SELECT count(*) FROM events") == [(0,)]
    assert await first.outbox.read("stdout", 9) == [], "they are no longer its own"


async def test_an_event_is_counted_before_the_sink_has_seen_it_in_the_same_transaction(opened):
    """Or else the sink takes it for one that others have adopted, and never sends it again after a failure."""
    queue = await opened(sinks=["hook"])
    await put(queue, 0, 1, 2, events=[rejection("a")])
    leases = await queue.take(3)
    holding_up = asyncio.ensure_future(queue.find(IDS[0]))

    async def taken(now):
        return await queue.outbox.take("hook", 9, now=now, until=now, without=(), wants=lambda _: True)

    step = event_of(IDS[1], 1, Transition.PLAYABLE)
    together = await asyncio.gather(
        put(queue, events=[rejection("b")]),
        queue.settle(leases[0], event_for(leases[0])),
        queue.defer(leases[1], 0.0, Progress(polls=1), [step]),
        taken(5.0),
    )
    await holding_up
    assert queue.outbox.owed("hook") == 4
    assert {owed.event.id for owed in together[-1].events} == {"rejected.a", "rejected.b", f"{IDS[0]}.1"}
    for owed in together[-1].events:
        await queue.outbox.failed(
            "hook", owed.event.position, attempts=1, first_at=5.0, now=5.0, next_at=6.0, error="why"
        )
    assert [owed.event.id for owed in (await taken(7.0)).events] == [owed.event.id for owed in together[-1].events]
    assert queue.outbox.owed("hook") == 4


async def test_an_event_waits_for_an_earlier_one_of_its_asset_that_another_worker_sends(opened, sql):
    first, second = await opened("a", sinks=["hook"]), await opened("b", sinks=["hook"])
    await put(first, 0)
    [lease] = await first.take(1)
    await first.defer(lease, 0.0, Progress(polls=1), [event_of(IDS[0], 1, Transition.PLAYABLE)])
    await first.finish()
    sql("UPDATE deliveries SET owner = -1")  # nobody has adopted it yet
    await tick(second)
    await second.claim()
    sql("UPDATE deliveries SET owner = -1")
    second.outbox.reset()
    [lease] = await second.take(1)
    await second.settle(lease, event_for(lease))

    async def taken():
        return await second.outbox.take("hook", 9, now=5.0, until=5.0, without=(), wants=lambda _: True, transitions=9)

    found = await taken()
    assert (found.events, found.next_at) == ([], 6.0), "it is looked for again in a second"
    sql("DELETE FROM deliveries WHERE owner = -1")
    assert [owed.event.id for owed in (await taken()).events] == [f"{IDS[0]}.1"]


# Statements


async def test_a_settlement_finds_each_asset_by_its_id_whatever_the_statistics_say(opened, sql, schema):
    """By the index of owners it would visit all that the worker owns."""
    queue = await opened()
    many = [Submission(f"asset-{number}", "stdin", number) for number in range(5_000)]
    await queue.put(many, events=[], intake="i", position=None)
    sql("ANALYZE pending")
    plan = sql(
        "EXPLAIN DELETE FROM pending AS p USING unnest(%s::text[]) AS g (asset_id) "
        "WHERE p.asset_id = g.asset_id AND p.owner IS NOT DISTINCT FROM %s",
        [each.asset_id for each in many[:20]],
        queue.life,
    )
    text = "\n".join(line for [line] in plan)
    assert "pending_pkey" in text
    assert "pending_by_owner" not in text


@pytest.fixture
def plans(monkeypatch):
    """The plans of the statements about pending assets, as the server makes them when they are run."""
    found = []

    def explained(connection, query, parameters=None):
        if query.startswith(("SELECT", "UPDATE")):
            found.extend(line for [line] in execute(connection, f"EXPLAIN {query}", parameters).fetchall())
        return execute(connection, query, parameters)

    monkeypatch.setattr(pending_rows, "execute", explained)
    return found


async def test_of_many_that_wait_the_first_are_read_without_a_look_at_all_others(opened, sql, plans):
    """Also when the server has no statistics yet, as after a producer has submitted very many at once."""
    queue = await opened()
    sql("INSERT INTO inbox (asset_id) SELECT 'asked-' || n FROM generate_series(1, 20000) AS n")
    sql(
        "INSERT INTO pending (asset_id, accepted_at, completion, origin, line) "
        "SELECT 'left-' || n, n, 1, 'inbox', n FROM generate_series(1, 20000) AS n"
    )
    for table in ("inbox", "pending"):
        sql(f"DELETE FROM pg_statistic WHERE starelid = '{table}'::regclass")
    assert len(await queue.read_inbox(10)) == 10
    await queue.claim()
    assert queue.pending_count() == 20_000
    assert any("inbox_pkey" in line for line in plans)
    assert any("pending_unowned" in line for line in plans)
    assert not any("Sort" in line for line in plans), "\n".join(plans)
