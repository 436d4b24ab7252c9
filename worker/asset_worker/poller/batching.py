"""Looks at many assets with one list request, and checks by retrieves whether lists are right.

A list may lag, leave assets out, or be refused. What it shows of an asset is acted on as far as it is evidence
(`evidence.Worth`, `confirmations`); otherwise a retrieve confirms it, and the event is made from that.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final, assert_never

import msgspec

from asset_worker.api.errors import ApiError, HeldError, KeyRefusedError, RateLimitedError, TransientError
from asset_worker.api.retry import retry_after_of
from asset_worker.domain.assets import Asset, AssetId, Expectations, Missing, Observation, has_usual_form
from asset_worker.domain.submissions import expectations_for
from asset_worker.poller.actions import KEY_REFUSED_DELAY_SECONDS, Actions
from asset_worker.poller.confirmations import Confirmations
from asset_worker.poller.deadlines import seconds_left, too_late
from asset_worker.poller.decide import Defer, Settle
from asset_worker.poller.evidence import Worth, agree_on_state, ends_the_wait, is_behind, worth_of
from asset_worker.poller.feedback import Feedback
from asset_worker.poller.list_health import Treatment
from asset_worker.poller.list_lag import ListLag
from asset_worker.poller.list_suspension import ListSuspension, Restored, Suspended
from asset_worker.poller.per_asset_refusals import PerAssetRefusals
from asset_worker.poller.policy import Batching, Policy
from asset_worker.poller.ports import Api
from asset_worker.queue.ports import Lease
from asset_worker.runtime.clock import Clock
from asset_worker.runtime.log import get_logger
from asset_worker.runtime.randomness import Uniform
from asset_worker.runtime.stop import Stop

_log = get_logger()

AUDIT_WITHIN_SECONDS: Final = 30.0
"""An audit is made of the asset that is likeliest to have ended within this time: lists may lag by so much."""


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
    is_news: bool = False
    """Whether the list showed the asset in a state that makes an event: it ends its wait, or is a new step."""
    is_held: bool = False
    """Whether it is retrieved only if `ListLooker.wait_for_release` says so: others may prove the list right."""
    is_audit: bool = False
    """Whether it may show how far lists lag, because the asset waits."""


class _Listed(msgspec.Struct, frozen=True):
    """What a list showed of an asset, and what would follow from it."""

    lease: Lease
    observation: Asset | Missing
    step: Settle | Defer
    worth: Worth


class ListLooker:
    """Looks at many assets with one request, while lists are usable."""

    def __init__(
        self,
        api: Api,
        actions: Actions,
        *,
        policy: Policy,
        clock: Clock,
        uniform: Uniform,
        feedback: Feedback | None,
        refusals: PerAssetRefusals,
    ) -> None:
        """`uniform` and `feedback` decide what is audited. `refusals` learns which assets lists show."""
        self._api = api
        self._actions = actions
        self._policy = policy
        self._clock = clock
        self._started_at = clock.monotonic()
        self._uniform = uniform
        self._feedback = feedback
        self._refusals = refusals
        self._suspension = ListSuspension()
        self._lag = ListLag()
        confirm_all = policy.batching is not None and policy.batching.confirm_all
        self.settled = 0
        """Assets settled from lists so far."""
        self.confirmations = Confirmations(api, confirm_all=confirm_all, clock=clock, uniform=uniform)

    def batching_at(self, now: float) -> Batching | None:
        """Return how looks share lists at `now` (monotonic seconds); None: each look is a retrieve."""
        batching = self._policy.batching
        may_list = self._suspension.is_usable(now) and self.confirmations.may_list and self._api.may_list
        if batching is None or not may_list:
            return None
        followed = len(self._lag.followed)
        return msgspec.structs.replace(batching, limit=batching.limit - followed) if followed else batching

    async def look_at(self, leases: Sequence[Lease], stop: Stop) -> AsyncIterator[Check]:
        """List the assets, and act on what the list shows. Yield a check for each asset that must be retrieved."""
        asked_at = self._clock.monotonic()
        asset_ids = self._asked_for(leases)
        try:
            async with asyncio.timeout(self._seconds_left(leases)):
                shown = await self._api.list_assets(asset_ids)
        except TimeoutError:
            observation = too_late(self._api.latest_failure)
            for lease in leases:
                await self._actions.act(lease, observation, "list")
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
        self._learn_lag({asset_id: shown.get(asset_id) for asset_id in asset_ids}, asked_at)
        async for check in self.act_on(leases, {asset_id: shown.get(asset_id, Missing()) for asset_id in asset_ids}):
            yield check

    async def act_on(
        self, leases: Sequence[Lease], shown: Mapping[AssetId, Asset | Missing | None]
    ) -> AsyncIterator[Check]:
        """Act on what a list shows of the assets. Yield a check for each asset that must be retrieved.

        `shown` has each asset of the leases. `Missing`: the list leaves it out; None: it can't be read there.
        """
        for asset_id, document in shown.items():
            if not isinstance(document, Missing):
                self._refusals.shown(asset_id)
        listed: list[_Listed] = []
        for lease in leases:
            document = shown[lease.submission.asset_id]
            if document is None:
                yield Check(lease, None)
            else:
                listed.append(self._judged(lease, document))
        audited = self._to_be_audited(listed)
        believed: list[_Listed] = []
        for each in listed:
            if each is audited:
                yield Check(self._actions.count_look(each.lease), each.observation, is_audit=True)
            elif each.worth is Worth.STATE:
                await self._actions.carry_out(each.lease, each.observation, each.step, "list")
            elif (check := self._check_of(each)) is not None:
                yield check
            else:
                believed.append(each)
        # Together, so that they share the journal's transactions.
        await asyncio.gather(*map(self._carry_out, believed))

    def _asked_for(self, leases: Sequence[Lease]) -> list[AssetId]:
        """Return the assets that a list is asked for: those of the leases, and as many others to follow as it can hold.

        Their number may have grown since the leases were taken.
        """
        asset_ids = dict.fromkeys(lease.submission.asset_id for lease in leases)
        assert self._policy.batching is not None
        room = self._policy.batching.limit - len(asset_ids)
        followed = [asset_id for asset_id in self._lag.followed if asset_id not in asset_ids]
        return [*asset_ids, *followed[:room]]

    def _judged(self, lease: Lease, observation: Asset | Missing) -> _Listed:
        step = self._actions.decide(lease, observation, is_retrieve=False)
        expectations = self._expectations_for(lease)
        worth = worth_of(
            observation,
            lease.progress,
            step.progress,
            expectations,
            is_over=isinstance(step, Settle),
            steps=step.progress.announced[len(lease.progress.announced) :] if step.steps else (),
            now=self._clock.steady(),
        )
        return _Listed(lease, observation, step, worth)

    def _check_of(self, listed: _Listed) -> Check | None:
        """Return how an asset is confirmed. None: what follows is done from the list."""
        observation, lease = listed.observation, listed.lease
        is_step = listed.worth is Worth.STEP
        is_end = isinstance(observation, Asset) and ends_the_wait(observation, self._expectations_for(lease))
        if not isinstance(observation, Asset) or not (is_end or is_step):
            waits = isinstance(listed.step, Defer) and bool(listed.step.steps)
            return Check(self._actions.count_look(lease), observation, is_audit=waits)
        asset_id = lease.submission.asset_id
        match self.confirmations.treat(asset_id, observation, is_doubtful=listed.worth is Worth.DOUBTFUL):
            case Treatment.SETTLE:
                return None
            case Treatment.CONFIRM:
                return Check(self._actions.count_look(lease), observation, is_news=True, is_audit=is_step)
            case Treatment.HOLD:
                return Check(lease, observation, is_news=True, is_audit=is_step, is_held=True)

    async def _carry_out(self, listed: _Listed) -> None:
        """Do what follows from a list, of which nothing is to be confirmed."""
        self.settled += isinstance(listed.step, Settle)
        await self._actions.carry_out(listed.lease, listed.observation, listed.step, "list")

    def _to_be_audited(self, listed: Sequence[_Listed]) -> _Listed | None:
        """Return the waiting asset that is likeliest to have ended, in some lists; otherwise None."""
        if self._uniform() >= self._lag.audit_share:
            return None
        waiting = [each for each in listed if each.worth is Worth.STATE and isinstance(each.observation, Asset)]
        return max(waiting, key=self._chance_of_end, default=None)

    def _chance_of_end(self, listed: _Listed) -> tuple[float, float]:
        """Return the chance that an asset has ended lately, and a random number to choose between equal chances."""
        if self._feedback is None or not isinstance(listed.step, Defer):
            return 0.0, self._uniform()
        return self._feedback.chance_of_end(listed.step.look, within=AUDIT_WITHIN_SECONDS), self._uniform()

    async def wait_for_release(self, check: Check) -> Check | None:
        """Wait until a held asset is released. Return the check to be made; None: the list is believed."""
        asset_id, listed = check.lease.submission.asset_id, check.against
        assert isinstance(listed, Asset)
        treatment = await self.confirmations.released(asset_id, listed, within=self._seconds_left([check.lease]))
        if treatment is Treatment.SETTLE:
            judged = self._judged(check.lease, listed)
            if judged.worth is not Worth.DOUBTFUL:  # a deadline may have come meanwhile
                await self._carry_out(judged)
                return None
            check = msgspec.structs.replace(check, is_news=False)
        return msgspec.structs.replace(check, lease=self._actions.count_look(check.lease), is_held=False)

    def compare(self, check: Check, observation: Observation | None) -> None:
        """Learn from the retrieve of a check whether lists are right. `observation` None: there was no look."""
        against = check.against
        if check.is_news and isinstance(against, Asset):
            self.confirmations.compare(
                check.lease.submission.asset_id, against, observation, self._expectations_for(check.lease)
            )
        if not isinstance(observation, Asset | Missing):
            return
        now = self._clock.monotonic()
        match against:
            case None:
                pass
            case Asset() | Missing():
                if check.is_audit and isinstance(observation, Asset) and is_behind(against, observation):
                    self._suspension.behind()
                    self._lag.behind(check.lease.submission.asset_id, observation, now)
                else:
                    _log_change(self._suspension.checked(now, agreed=agree_on_state(against, observation)))
            case ListFailure(why, asked_at):
                _log_change(self._suspension.failed_alone(now, why, asked_at=asked_at))
            case _:
                assert_never(against)

    def _learn_lag(self, shown: Mapping[AssetId, Asset | None], asked_at: float) -> None:
        if (lag := self._lag.listed(shown, asked_at)) is not None:
            _log_change(self._suspension.lagged(self._clock.monotonic(), lag))

    def _expectations_for(self, lease: Lease) -> Expectations:
        return expectations_for(lease.submission.options, self._policy.expectations)

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


def _log_change(change: Suspended | Restored | None) -> None:
    match change:
        case Suspended(why, seconds):
            _log.warning("api.list_doubted", why=why, seconds=seconds)
        case Restored():
            _log.info("api.list_trusted")
        case None:
            pass
