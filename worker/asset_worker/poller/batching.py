"""Looks at many assets with one list request, and checks by retrieves whether lists are right.

A list may lag, leave assets out, or be refused. So a list alone only defers assets (`can_act_on_list`). If it would
settle an asset, or contradicts what was seen before, a retrieve confirms it, and the event is made from that.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final, assert_never

import msgspec
import structlog

from asset_worker.api.errors import ApiError, HeldError, KeyRefusedError, RateLimitedError, TransientError
from asset_worker.api.retry import retry_after_of
from asset_worker.domain.assets import Asset, Missing, Observation, has_usual_form
from asset_worker.poller.actions import KEY_REFUSED_DELAY_SECONDS, Actions
from asset_worker.poller.deadlines import seconds_left, too_late
from asset_worker.poller.decide import can_act_on_list, is_older, last_seen_of
from asset_worker.poller.list_suspension import ListSuspension, Restored, Suspended
from asset_worker.poller.per_asset_refusals import PerAssetRefusals
from asset_worker.poller.policy import Batching, Policy
from asset_worker.poller.ports import Api
from asset_worker.queue.ports import Lease
from asset_worker.runtime.clock import Clock
from asset_worker.runtime.randomness import Uniform
from asset_worker.runtime.stop import Stop

_log = structlog.get_logger()

AUDIT_SHARE: Final = 0.05
"""In this share of lists, one asset is confirmed although it need not be: nothing else would show that lists always
lag."""


class ListFailure(msgspec.Struct, frozen=True):
    """A list that failed in a way that may concern everything: the network, a gateway, the key."""

    why: str
    asked_at: float
    """When the list was requested, in monotonic seconds."""


class Check(msgspec.Struct, frozen=True):
    """An asset that must be retrieved after a list request, and what to compare the retrieve with."""

    lease: Lease
    against: Asset | Missing | ListFailure | None
    """What the list showed about the asset, or how the list failed. None: the retrieve says nothing about lists."""


class ListLooker:
    """Looks at many assets with one request, while lists are usable."""

    def __init__(
        self, api: Api, actions: Actions, *, policy: Policy, clock: Clock, uniform: Uniform, refusals: PerAssetRefusals
    ) -> None:
        """`uniform` decides which lists are audited. `refusals` learns which assets lists show."""
        self._api = api
        self._actions = actions
        self._policy = policy
        self._clock = clock
        self._started_at = clock.monotonic()
        self._uniform = uniform
        self._refusals = refusals
        self._suspension = ListSuspension()

    def batching_at(self, now: float) -> Batching | None:
        """Return how looks share lists at `now` (monotonic seconds); None: each look is a retrieve."""
        return self._policy.batching if self._suspension.is_usable(now) and self._api.may_list else None

    async def look_at(self, leases: Sequence[Lease], stop: Stop) -> AsyncIterator[Check]:
        """List the assets, and act on what the list shows. Yield a check for each asset that must be retrieved."""
        asked_at = self._clock.monotonic()
        try:
            async with asyncio.timeout(self._seconds_left(leases)):
                shown = await self._api.list_assets([lease.submission.asset_id for lease in leases])
        except TimeoutError:
            observation = too_late(self._api.latest_failure)
            for lease in leases:
                await self._actions.act(lease, observation)
            return
        except RateLimitedError as error:
            if self._api.lists_are_limited:
                for lease in leases:
                    yield Check(lease, None)
            else:
                await self._actions.act_on_failure(leases, error)
            return
        except HeldError as error:
            await self._actions.put_back(leases, retry_after_of(error))
            return
        # If retrieves succeed again and again although lists fail, lists are at fault, not the API or the key.
        except KeyRefusedError as error:
            yield Check(leases[0], ListFailure(str(error), asked_at))
            await self._actions.put_back(leases[1:], KEY_REFUSED_DELAY_SECONDS)
            return
        except TransientError as error:
            yield Check(leases[0], ListFailure(str(error), asked_at))
            if not stop.is_set():
                await self._actions.act_on_failure(leases[1:], error)
            return
        except ApiError as error:
            _log_change(self._suspension.refused(self._clock.monotonic(), str(error)))
            for lease in leases:
                yield Check(lease, None)
            return
        self._suspension.answered()
        for asset_id in shown:
            self._refusals.shown(asset_id)
        is_audited = self._uniform() < AUDIT_SHARE
        for lease in leases:
            listed = shown.get(lease.submission.asset_id, Missing())
            if listed is None:
                yield Check(lease, None)
                continue
            if not is_audited:
                step = self._actions.decide(lease, listed)
                if can_act_on_list(lease, listed, step):
                    await self._actions.carry_out(lease, listed, step)
                    continue
            is_audited = False
            yield Check(self._actions.count_look(lease), listed)

    def compare(self, check: Check, observation: Observation | None) -> None:
        """Learn from the retrieve of a check whether lists are right. `observation` None: there was no look."""
        if not isinstance(observation, Asset | Missing):
            return
        now, against = self._clock.monotonic(), check.against
        match against:
            case None:
                pass
            case Asset() | Missing():
                _log_change(self._suspension.checked(now, agreed=_agree(against, observation)))
            case ListFailure(why, asked_at):
                _log_change(self._suspension.failed_alone(now, why, asked_at=asked_at))
            case _:
                assert_never(against)

    def _seconds_left(self, leases: Sequence[Lease]) -> float:
        """Return the seconds that a list request may take."""
        policy, stalled_for, now = self._policy, self._api.stalled_for, self._clock.steady()
        running_for = self._clock.monotonic() - self._started_at
        return min(
            seconds_left(
                each,
                policy.expectations,
                last_look=policy.last_look,
                running_for=running_for,
                stalled_for=stalled_for,
                now=now,
            )
            for each in leases
        )


def by_request(leases: list[Lease]) -> list[list[Lease]]:
    """Return the leases in groups, one for each request: a group of several is listed, a single one is retrieved."""
    if len(leases) == 1:
        return [leases]
    alone: list[list[Lease]] = []
    shared: list[Lease] = []
    for lease in leases:
        if _can_be_listed(lease):
            shared.append(lease)
        else:
            alone.append([lease])
    return [*alone, shared] if shared else alone


def _can_be_listed(lease: Lease) -> bool:
    """Return whether a list may ask for this ID. One that the API refuses would make the whole list fail."""
    last_seen = lease.progress.last_seen
    return has_usual_form(lease.submission.asset_id) or (last_seen is not None and last_seen.status != "missing")


def _agree(listed: Asset | Missing, retrieved: Asset | Missing) -> bool:
    """Return whether a list and the retrieve after it agree: neither shows an older state than the other."""
    if isinstance(listed, Missing) or isinstance(retrieved, Missing):
        return isinstance(listed, Missing) and isinstance(retrieved, Missing)
    in_list, in_retrieve = last_seen_of(listed, None), last_seen_of(retrieved, None)
    return not is_older(in_retrieve, in_list) and not is_older(in_list, in_retrieve)


def _log_change(change: Suspended | Restored | None) -> None:
    match change:
        case Suspended(why, seconds):
            _log.warning("api.list_doubted", why=why, seconds=seconds)
        case Restored():
            _log.info("api.list_trusted")
        case None:
            pass
