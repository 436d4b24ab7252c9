"""Trying one request again: tenacity's strategies around one attempt.

This is not polling: an attempt that failed says nothing about an asset, so it is made again soon, a few times, and then
the asset goes back to wait.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)
from tenacity.wait import wait_base

from asset_worker.api.errors import TransientError
from asset_worker.runtime.stop import Stop

T = TypeVar("T")
_log = structlog.get_logger()

ATTEMPTS = 4
BACKOFF_SECONDS = 0.5
BACKOFF_MAX_SECONDS = 8.0
LONGEST_WAIT_SECONDS = 15.0
"""A longer told wait is not sat out with the request in hand: the asset goes back to wait."""


class wait_retry_after(wait_base):  # noqa: N801 - named as tenacity names its strategies
    """The wait that the server told (`Retry-After`), or another strategy's where it told less or nothing."""

    def __init__(self, otherwise: wait_base) -> None:
        self._otherwise = otherwise

    def __call__(self, retry_state: RetryCallState) -> float:
        return max(retry_after(_error(retry_state)), self._otherwise(retry_state))


def retry_after(error: BaseException | None) -> float:
    """The wait that the server told with this error, in seconds; 0 where it told none."""
    return (error.retry_after or 0.0) if isinstance(error, TransientError) else 0.0


def _error(retry_state: RetryCallState) -> BaseException | None:
    return retry_state.outcome.exception() if retry_state.outcome else None


def _is_worth_another_attempt(error: BaseException) -> bool:
    return isinstance(error, TransientError) and retry_after(error) <= LONGEST_WAIT_SECONDS


class Retries:
    """The retry policy of a client."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        # Shared: strategies keep nothing. The AsyncRetrying does, and is made for each call (see `again`).
        self._wait = wait_retry_after(wait_random_exponential(multiplier=BACKOFF_SECONDS, max=BACKOFF_MAX_SECONDS))
        self._retry = retry_if_exception(_is_worth_another_attempt)
        self.count = 0
        """Attempts made again so far."""
        self.latest_failure: str | None = None
        """What the last attempt that failed in passing failed of."""

    async def again(
        self,
        attempt: Callable[[], Awaitable[T]],
        failed: TransientError,
        *,
        attempts: int = ATTEMPTS,
        **about: str | int,
    ) -> T:
        """What `attempt`, which failed once, returns when it is made again while that is worth it, `attempts` in all.

        `about` goes into the log.

        Raises:
            ApiError: the last attempt's.
        """
        # tenacity costs tens of microseconds a call, so it is asked only when an attempt has failed: it is shown that
        # failure as its first attempt. One AsyncRetrying shared by concurrent calls loses attempts.
        failure: TransientError | None = failed
        self.latest_failure = str(failed)

        async def next_attempt() -> T:
            nonlocal failure
            if failure is not None:
                error, failure = failure, None
                raise error
            return await attempt()

        def log_retry(state: RetryCallState) -> None:
            wait = state.next_action.sleep if state.next_action else 0.0
            self.latest_failure = str(_error(state))
            _log.info("api.retry", attempt=state.attempt_number, wait=round(wait, 3), error=str(_error(state)), **about)

        out_of_attempts = stop_after_attempt(attempts)
        retrying = AsyncRetrying(
            wait=self._wait,
            stop=lambda state: self._stop.is_set() or out_of_attempts(state),
            retry=self._retry,
            sleep=self._stop.sleep,
            before_sleep=log_retry,
            reraise=True,
        )
        try:
            return await retrying(next_attempt)
        finally:
            self.count += int(retrying.statistics["attempt_number"]) - 1
