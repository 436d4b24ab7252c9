"""Looks at one asset: retrieves it, and acts on what the retrieve shows."""

from __future__ import annotations

import asyncio

from asset_worker.api.errors import ApiError, BadIdError, HeldError, KeyRefusedError, NotFoundError
from asset_worker.api.retry import retry_after_of
from asset_worker.domain.assets import Missing, Observation, Unanswered
from asset_worker.poller.actions import KEY_REFUSED_DELAY_SECONDS, Actions
from asset_worker.poller.deadlines import seconds_left, too_late
from asset_worker.poller.per_asset_refusals import PerAssetRefusals
from asset_worker.poller.policy import Policy
from asset_worker.poller.ports import Api
from asset_worker.queue.ports import Lease
from asset_worker.runtime.clock import Clock
from asset_worker.runtime.stop import Stop


class Retriever:
    """Looks at assets one by one."""

    def __init__(self, api: Api, actions: Actions, *, policy: Policy, clock: Clock, refusals: PerAssetRefusals) -> None:
        """`refusals` records which assets were answered and which were refused."""
        self._api = api
        self._actions = actions
        self._policy = policy
        self._clock = clock
        self._refusals = refusals

    async def look_at(self, lease: Lease, stop: Stop) -> Observation | None:
        """Retrieve an asset, then defer or settle it. Return what the retrieve showed.

        None: this does not count as a look. Either the key is refused, or no request was sent in an outage, and the
        asset is put back; or the stop ended the retrieve early, and the asset stays pending for the next start.
        """
        asset_id = lease.submission.asset_id
        try:
            observation = await self._retrieve(lease)
        except KeyRefusedError as error:
            if not self._refusals.refused(asset_id, self._clock.monotonic()):
                await self._actions.put_back([lease], KEY_REFUSED_DELAY_SECONDS)
                return None
            observation = Unanswered(str(error))
        except HeldError as error:
            await self._actions.put_back([lease], retry_after_of(error))
            return None
        if not isinstance(observation, Unanswered):
            self._refusals.answered(asset_id, self._clock.monotonic())
        elif stop.is_set():
            return None
        await self._actions.act(lease, observation)
        return observation

    async def _retrieve(self, lease: Lease) -> Observation:
        """Return what a retrieve shows.

        Raises:
            KeyRefusedError: the key is refused, or only this asset is.
            HeldError: the request was not sent.
        """
        try:
            async with asyncio.timeout(self._seconds_left(lease)):
                return await self._api.retrieve(lease.submission.asset_id)
        except NotFoundError:
            return Missing()
        except BadIdError as error:
            return Missing(refused=str(error))
        except TimeoutError:
            return too_late(self._api.latest_failure)
        except (KeyRefusedError, HeldError):
            raise
        except ApiError as error:
            return Unanswered(str(error), retry_after_of(error))

    def _seconds_left(self, lease: Lease) -> float:
        policy = self._policy
        return seconds_left(lease, policy.expectations, last_look=policy.last_look, now=self._clock.steady())
