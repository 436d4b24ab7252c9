"""What the worker promises (docs/architecture.md), held against the record of a history from outside.

Each promise is a function that returns what broke it, in words. None of them looks into the worker, but at how many
tasks it has.
"""

from __future__ import annotations

import errno
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from asset_worker.domain.run_plan import Exit
from tests.doubles import truth_check
from tests.doubles.truth_check import MILLISECONDS, Expected
from tests.doubles.world import EPOCH as EPOCH_OF_CHECK
from tests.simulation import frugality, instants
from tests.simulation.actions import Drift, SetClock
from tests.simulation.disk_faults import FilesFail, JournalFails
from tests.simulation.evidence import (
    Event,
    Journal,
    Known,
    events_of,
    known_of,
    lines_of_copies,
    lines_of_events,
    read_journal,
)
from tests.simulation.faults import AssetRefused, DatesOff, ListLags, ListMalformed, PagesShift
from tests.simulation.machine import EPOCH
from tests.simulation.setup import EVENTS_FILE, SECRETS, Setup, receiver

if TYPE_CHECKING:
    from tests.simulation.world import World

SECOND_SIGTERM: Final = 128 + 15
"""The exit code after a second SIGTERM, which ends the process at once."""
STOP_SLACK: Final = 9.0
"""Seconds that a stop may take beyond its grace: closing waits up to 1 s for a file, 3 s for the journal."""
MOST_PAGES: Final = 500
"""Pages of the journal: 2 MB, the most that a history should need."""
MOST_DESCRIPTORS: Final = 12
MOST_TASKS: Final = 60
QUIET_FAULTS: Final = (AssetRefused, ListLags, ListMalformed, PagesShift)
"""Faults of pages that may hide a new asset from whoever follows the account for longer than `account.overlap`."""


class Record(msgspec.Struct):
    """A history that is over."""

    world: World
    setup: Setup
    events: Sequence[Event]
    """At the events file, in order."""
    wrong_lines: Sequence[str]
    journal: Journal
    known: Known
    has_set_clock: bool
    """Whether the wall clock was ever wrong. After a start of the machine nothing else tells how much time passed."""
    is_clock_right: bool
    """Whether neither a clock was set nor the machine started again: instants in events are those of the loop."""

    @property
    def completions(self) -> Iterator[Event]:
        """The events that end a wait, in order."""
        return (each for each in self.events if each["data"]["outcome"] not in {None, "rejected"})

    @property
    def is_new(self) -> Callable[[Event], bool]:
        """Whether an event was made in this history, and not by an earlier version before it."""
        return lambda event: event["id"] not in self.world.events_before


def violations(world: World, actions: Sequence[object]) -> list[str]:
    """Return which promises were broken in a history that is over, in words."""
    stopped = [] if world.has_ended else ["the worker did not end within two minutes of SIGTERM"]
    if not world.is_settled:
        stopped.append(f"not all was settled and delivered: {world.left_before}")
    if stopped:
        return [*stopped, *_runs_on(world)]
    events, wrong = events_of(lines_of_events(world))
    if _may_repeat(world):
        events = [*{each["id"]: each for each in events}.values()]
    has_set_clock = any(isinstance(each, SetClock | Drift) for each in actions)
    is_clock_right = not has_set_clock and not world.power_cuts
    journal, known = read_journal(world), known_of(world)
    record = Record(world, world.setup, events, wrong, journal, known, has_set_clock, is_clock_right)
    return [*_runs_on(world), *(each for promise in PROMISES for each in promise(record))]


def _may_repeat(world: World) -> bool:
    """Return whether the events file may hold an event twice, which it may only after the worst.

    What could not be synced is cut off again, and written to the next file if the file is rotated then. If the machine
    dies before that cut is on the disk, both files have it. And what was written before a crash is not found in a
    rotated file that the worker may not open.
    """
    faults = [each.fault for each in world.troubles if isinstance(each.fault, FilesFail)]
    is_unsynced = bool(world.power_cuts) and any("fdatasync" in each.calls for each in faults)
    is_forbidden = any(each.number == errno.EACCES and "open" in each.calls for each in faults)
    was_killed = any(each.was_killed for each in world.exits)
    return bool(world.rotations[EVENTS_FILE]) and (is_unsynced or (is_forbidden and was_killed))


def _runs_on(world: World) -> Iterator[str]:
    """It ends when it is asked to, within its grace, and otherwise only for a reason that may pass."""
    for each in world.exits:
        if each.was_killed:
            continue
        disks = [one for one in world.troubles if isinstance(one.fault, JournalFails | FilesFail)]
        is_disk = any(one.begins <= each.at and each.started_at <= one.ends for one in disks)
        if each.error is not None and not (each.code == Exit.TEMPORARY and is_disk):
            yield f"it ended by an error at {each.at:.3f}: {each.error}"
        elif each.asked_at is None and each.error is None:
            yield f"it ended by itself at {each.at:.3f} with code {each.code}"
        elif each.error is None and each.code != (SECOND_SIGTERM if each.signals > 1 else Exit.DONE):
            yield f"it ended with code {each.code} after SIGTERM"
        if each.asked_at is not None and each.at - each.asked_at > world.setup.grace + STOP_SLACK:
            yield f"it took {each.at - each.asked_at:.1f} s to stop, with a grace of {world.setup.grace:g} s"
    yield from (f"unhandled: {each}" for each in dict.fromkeys(world.unhandled))
    for line in world.log_lines:
        if line.fields.get("exc_info"):
            yield f"a traceback in the log: {line.event} {dict(line.fields)}"


def _settles_each_submission_once(record: Record) -> Iterator[str]:
    """Promises 1 and 2: an accepted submission is never lost, and there is one completion for each wait."""
    world = record.world
    submitted: Counter[str] = Counter()
    for each in world.submissions:
        submitted[each.asset_id] += 1 + each.repeats
    counts: dict[str, list[str]] = {}
    for event in record.completions:
        counts.setdefault(event["subject"], []).append(event["id"])
    reported = _reported_times(record)
    for asset_id in submitted:
        lost = [each for each in world.submissions if each.asset_id == asset_id and asset_id not in counts]
        if any(each.through != "file" or not reported(each.at) for each in lost):
            yield f"lost: {asset_id}, submitted {lost}"
    for asset_id, ids in counts.items():
        if ids != [f"{asset_id}.{number}" for number in range(1, len(ids) + 1)]:
            yield f"the completions of {asset_id} are {ids}"
        if asset_id not in world.api.account.assets:
            yield f"nobody has ever uploaded {asset_id}"
        is_window_sure = record.setup.dedupe_window >= ALWAYS and not (world.power_cuts and record.has_set_clock)
        most = 1 if is_window_sure else submitted[asset_id] + record.setup.account
        if (before := world.completions_before.get(asset_id)) is not None:
            # Some of the lines that an earlier version has left unread are about assets that it has settled.
            most += before - is_window_sure
        if len(ids) > max(1, most):
            yield f"{asset_id} was settled {len(ids)} times, and may be {most} times"
        if asset_id not in submitted and not record.setup.account:
            yield f"nobody has submitted {asset_id}"


ALWAYS: Final = 86_400.0
"""A window of this length outlasts every history."""


def _rejects_each_bad_line_once(record: Record) -> Iterator[str]:
    """A line that holds no usable submission is one rejected event."""
    expected = Counter(each.line.strip() for each in record.world.rejected if each.line.strip())
    rejected = [each for each in record.events if each["data"]["outcome"] == "rejected" and record.is_new(each)]
    found = Counter(each["data"]["line"].strip() for each in rejected)
    reported = _reported_times(record)
    unread = Counter(each.line.strip() for each in record.world.rejected if reported(each.at))
    missing, unexpected = expected - found - unread, found - expected
    if missing or unexpected:
        yield f"rejected lines: missing {dict(missing)}, unexpected {dict(unexpected)}"


def _reported_times(record: Record) -> Callable[[float], bool]:
    """Return whether lines that were written at a moment may be in a file that was reported and not read.

    The clock of the file system was set back meanwhile, so a file that was made and rotated while the worker was down
    seems to be older than the last look.
    """
    world = record.world
    gaps = [line.at for line in world.log_lines if line.event == "intake.gap" and SEEMS_OLD in line.fields["detail"]]
    downs = [(max((each.at for each in world.exits if each.at < gap), default=0.0), gap) for gap in gaps]
    return lambda at: record.has_set_clock and any(began <= at <= gap for began, gap in downs)


SEEMS_OLD: Final = "not modified since the last look"


def _watches_the_account(record: Record) -> Iterator[str]:
    """Each asset that was created since the account is followed is settled, without being submitted."""
    world = record.world
    if not record.setup.account or any(isinstance(each.fault, QUIET_FAULTS) for each in world.troubles):
        return
    following = next((line.at for line in world.log_lines if line.event == "account.following"), math.inf)
    pages = (each for each in world.api.requests if each.kind == "page" and each.was_seen)
    first = next((each.answered_at for each in pages), math.inf)
    wrong = [each.fault for each in world.troubles if each.begins <= first and each.ends >= following]
    # Following begins at the date of the first answer, also if that is ahead.
    following += max([0.0, *(each.seconds for each in wrong if isinstance(each, DatesOff))])
    settled = {each["subject"] for each in record.completions}
    for asset_id, truth in world.api.account.assets.items():
        is_shown = truth.deleted == math.inf and truth.lifecycle.visible_after < SHOWN_SOON
        if is_shown and truth.born > following and asset_id not in settled:
            yield f"{asset_id} was uploaded at {truth.born:.1f}, and is not settled"


SHOWN_SOON: Final = 60.0
"""Seconds: half of `account.overlap`."""


def _delivers_everything_everywhere(record: Record) -> Iterator[str]:
    """Every event is at every sink, under one ID, in the order of each asset's steps; a file repeats nothing."""
    yield from record.wrong_lines
    ids = [each["id"] for each in record.events]
    if repeated := [each for each, count in Counter(ids).items() if count > 1]:
        yield f"the events file repeats {repeated}"
    yield from (f"events file: {each}" for each in _out_of_order(ids))
    if record.setup.earlier:
        copies = [each["id"] for each in events_of(lines_of_copies(record.world))[0]]
        if sorted(copies) != sorted(ids):
            yield f"the second events file differs by {sorted({*copies} ^ {*ids})}, or repeats some"
    for number in range(record.setup.webhooks):
        host = receiver(number)
        received = record.world.receivers[host].received
        taken = {each.event_id for each in received if each.is_taken}
        sink = record.setup.sink(number)
        dead = {event_id for name, event_id in record.journal.dead_letters if name == sink}
        owed = [*record.world.owed_before.get(sink, ())]
        owed += [each for each in ids if each not in record.world.events_before]
        if missing := [each for each in dict.fromkeys(owed) if each not in taken | dead]:
            yield f"{host} never got {missing}"
        if strange := taken - {*ids}:
            yield f"{host} got {sorted(strange)}, which the events file lacks"
        yield from (f"{host}: {each}" for each in _out_of_order([each.event_id for each in received if each.is_taken]))
        bodies: dict[str, bytes] = {}
        for each in received:
            if bodies.setdefault(each.event_id, each.body) != each.body:
                yield f"{host} got {each.event_id} with two bodies"


def _out_of_order(ids: Sequence[str]) -> Iterator[str]:
    """Yield the events of an asset that come after its completion, or after a later one."""
    latest: dict[str, tuple[int, int]] = {}
    for event_id in ids:
        asset_id, *rest = event_id.split(".")
        if asset_id == "rejected":
            continue
        place = (int(rest[0]), len(rest) == 1)
        if place < latest.get(asset_id, place):
            yield f"{event_id} comes after {latest[asset_id]}"
        latest[asset_id] = max(place, latest.get(asset_id, place))


def _tells_the_truth(record: Record) -> Iterator[str]:
    """No outcome is false against what was true of the asset."""
    world, setup = record.world, record.setup
    completed = {line.fields["asset_id"]: line.at for line in world.log_lines if line.event == "asset.completed"}
    for event in filter(record.is_new, record.completions):
        asset_id, outcome = event["subject"], event["data"]["outcome"]
        words = {word for at, word in world.api.timeline(asset_id) if at <= completed.get(asset_id, math.inf)}
        if outcome in {"ready", "failed"} and outcome not in words:
            yield f"{asset_id} is said to be {outcome}, and was only {sorted(words)}"
        if outcome in {"timed_out", "not_found"} and words <= {"ready", "failed"}:
            yield f"{asset_id} is said to be {outcome}, and was {sorted(words)}"
    if not record.is_clock_right or setup.dedupe_window < ALWAYS:
        return
    firsts: dict[str, float] = {}
    for each in world.submissions:
        firsts.setdefault(each.asset_id, each.at)
    judged = [
        each
        for each in filter(record.is_new, record.completions)
        if record.known.answers.get(each["subject"]) and not (each["data"]["reason"] or "").startswith(UNANSWERED)
    ]
    expected = {
        each["subject"]: Expected(
            accepted=min(firsts.get(each["subject"], math.inf), _accepted_at(each)),
            deadline=setup.deadline,
            rendition_deadline=setup.rendition_deadline,
            grace=setup.not_found_grace,
        )
        for each in judged
    }
    named = [line.fields["asset_id"] for line in world.log_lines if line.event == "api.list_contradicted"]
    known = _until_completion(record.known, judged)
    yield from truth_check.check(known, [_in_loop_time(each) for each in judged], expected, named).violations


UNANSWERED: Final = "no answer about it"
"""How the reason begins of a wait that ended although the last looks had no answer."""


def _until_completion(known: Known, events: Sequence[Event]) -> Known:
    """Return what was known of each asset when it was settled: pages of the account may show it later, too."""
    ends = {
        each["subject"]: datetime.fromisoformat(each["data"]["completed_at"]).timestamp() - EPOCH + MILLISECONDS
        for each in events
    }
    answers = {
        asset_id: [each for each in found if each.seen <= ends.get(asset_id, math.inf)]
        for asset_id, found in known.answers.items()
    }
    return Known(known.assets, answers)


def _in_loop_time(event: Event) -> Event:
    """Return an event whose end is given as `truth_check` reads it."""
    ended = datetime.fromisoformat(event["data"]["completed_at"]) - timedelta(seconds=EPOCH - EPOCH_OF_CHECK)
    return {**event, "data": {**event["data"], "completed_at": ended.isoformat()}}


def _accepted_at(event: Event) -> float:
    return datetime.fromisoformat(event["data"]["submitted_at"]).timestamp() - EPOCH


def _leaks_no_secret(record: Record) -> Iterator[str]:
    """No secret is in the log, in an event or in the file of events."""
    text = repr([line.fields for line in record.world.log_lines]) + repr(record.events)
    yield from (f"a secret is shown: {each}" for each in SECRETS if each in text)


def _stays_small(record: Record) -> Iterator[str]:
    """When all is done, nothing of it is left: no rows, no descriptors, no tasks."""
    journal = record.journal
    if journal.pending or journal.undelivered:
        yield f"the journal keeps {journal.pending} pending and {journal.undelivered} undelivered"
    if left := journal.outbox - {event_id for _, event_id in journal.dead_letters}:
        yield f"the outbox keeps {sorted(left)}"
    if journal.pages > MOST_PAGES:
        yield f"the journal has {journal.pages} pages"
    if record.world.open_at_end:
        yield f"not closed: {record.world.open_at_end}"
    if record.world.tasks_at_end > MOST_TASKS:
        yield f"{record.world.tasks_at_end} tasks are left when all is done"


def _is_frugal(record: Record) -> Iterator[str]:
    """Promise 3, and the limits of its own; see `frugality`."""
    yield from frugality.keeps_own_rate(record.world)
    yield from frugality.obeys_the_server(record.world)
    yield from frugality.spares_a_refused_key(record.world)


PROMISES: Final[Sequence[Callable[[Record], Iterator[str]]]] = (
    _settles_each_submission_once,
    _rejects_each_bad_line_once,
    _watches_the_account,
    _delivers_everything_everywhere,
    _tells_the_truth,
    instants.keeps_instants,
    instants.ends_no_wait_early,
    _is_frugal,
    _leaks_no_secret,
    _stays_small,
)
