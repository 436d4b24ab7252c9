"""Looks at one asset: retrieves it, and acts on what the retrieve shows.

An asset that was denied before is retrieved only after another one, if nobody else was looked at since: what the other
gets shows whether the denial is about the asset (`per_asset_refusals`).
"""

from __future__ import annotations

import asyncio

from asset_worker.api.errors import (
    ApiError,
    BadIdError,
    HeldError,
    KeyRefusedError,
    NotFoundError,
    UncertainNotFoundError,
)
from asset_worker.api.retry import retry_after_of
from asset_worker.domain.assets import AssetId, Missing, Observation, Unanswered
from asset_worker.poller.actions import KEY_REFUSED_DELAY_SECONDS, Actions
from asset_worker.poller.deadlines import age_limit, seconds_left, too_late
from asset_worker.poller.per_asset_refusals import PerAssetRefusals
from asset_worker.poller.policy import Policy
from asset_worker.poller.ports import Api
from asset_worker.queue.ports import Lease
from asset_worker.runtime.clock import Clock
from asset_worker.runtime.stop import Stop


class Retriever:
    """Looks at assets one by one."""

    def __init__(self, api: Api, actions: Actions, *, policy: Policy, clock: Clock, refusals: PerAssetRefusals) -> None:
        """`refusals` records which assets were answered and which were denied."""
        self._api = api
        self._actions = actions
        self._policy = policy
        self._clock = clock
        self._started_at = clock.monotonic()
        self._refusals = refusals
        self._asking = asyncio.Lock()

    async def look_at(self, lease: Lease, stop: Stop) -> Observation | None:
        """Retrieve an asset, then defer or settle it. Return what the retrieve showed.

        None: this does not count as a look. Either the key is refused, or no request was sent in an outage, and the
        asset is put back; or the stop ended the retrieve early, and the asset stays pending for the next start.
        """
        asset_id = lease.submission.asset_id
        was_denied = self._refusals.is_denied(asset_id)
        try:
            observation = await self._retrieve(lease)
        except KeyRefusedError as error:
            denied_for = self._refusals.denied(asset_id, self._clock.monotonic(), by_api=True)
            if denied_for is None and not (was_denied and self._is_over(lease)):
                observation = None
            else:
                is_final = self._policy.refusal_is_final
                observation = Unanswered(str(error), denied_for=denied_for if is_final else None)
        except HeldError as error:
            await self._actions.put_back([lease], retry_after_of(error))
            return None
        if observation is None:
            await self._actions.put_back([lease], KEY_REFUSED_DELAY_SECONDS)
            return None
        if not isinstance(observation, Unanswered):
            self._refusals.answered(asset_id)
        elif stop.is_set():
            return None
        await self._actions.act(lease, observation)
        return observation

    async def _retrieve(self, lease: Lease) -> Observation | None:
        """Return what a retrieve shows; None: the key is refused, as the retrieve of another asset has shown.

        Raises:
            KeyRefusedError: the key is refused, or only this asset is.
            HeldError: the request was not sent.
        """
        asset_id = lease.submission.asset_id
        try:
            async with asyncio.timeout(self._seconds_left(lease)):
                if await self._witness_is_refused(asset_id):
                    return None
                return await self._api.retrieve(asset_id)
        except NotFoundError:
            return Missing()
        except BadIdError as error:
            return Missing(refused=str(error))
        except TimeoutError:
            return too_late(self._api.latest_failure)
        except (KeyRefusedError, HeldError):
            raise
        except UncertainNotFoundError as error:
            denied_for = self._refusals.denied(asset_id, self._clock.monotonic(), by_api=False)
            return Unanswered(str(error), denied_for=denied_for)
        except ApiError as error:
            self._refusals.unanswered(asset_id)
            return Unanswered(str(error), retry_after_of(error))

    async def _witness_is_refused(self, asset_id: AssetId) -> bool:
        """Ask about a witness if this asset was denied and nobody was answered since. Return whether it is refused."""
        if self._refusals.witness_for(asset_id) is None:
            return False
        async with self._asking:
            witness = self._refusals.witness_for(asset_id)
            if witness is None:
                return False
            self._refusals.asked()
            try:
                await self._api.retrieve(witness)
            except (NotFoundError, BadIdError):
                pass
            except KeyRefusedError:
                self._refusals.witness_was_refused()
                return True
            except ApiError:
                return False
            self._refusals.answered(witness)
            return False

    def _seconds_left(self, lease: Lease) -> float:
        return seconds_left(
            lease,
            self._policy.expectations,
            last_look=self._policy.last_look,
            running_for=self._clock.monotonic() - self._started_at,
            stalled_for=self._api.stalled_for,
            now=self._clock.steady(),
        )

    def _is_over(self, lease: Lease) -> bool:
        """Return whether the wait ends without an answer."""
        limit = age_limit(lease.submission.options, self._policy.expectations)
        return lease.age + self._clock.steady() - lease.taken_at >= limit
