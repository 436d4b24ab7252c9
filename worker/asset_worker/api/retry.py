"""Retries of one request, with tenacity's strategies.

A retry is not a poll: an attempt that failed says nothing about an asset. So it is repeated soon, a few times, and then
the asset goes back to the queue.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)
from tenacity.wait import wait_base

from asset_worker.api.errors import HeldError, TransientError
from asset_worker.runtime.log import get_logger
from asset_worker.runtime.stop import Stop

T = TypeVar("T")
_log = get_logger()

ATTEMPTS = 4
BACKOFF_SECONDS = 0.5
BACKOFF_MAX_SECONDS = 8.0
LONGEST_WAIT_SECONDS = 15.0
"""If the server asks for a longer wait than this, the request is not retried: its asset goes back to the queue."""


class wait_retry_after(wait_base):  # noqa: N801 - named as tenacity names its strategies
    """The wait that the server asked for with the error, or that of another strategy if it is longer."""

    def __init__(self, otherwise: wait_base) -> None:
        self._otherwise = otherwise

    def __call__(self, retry_state: RetryCallState) -> float:
        """Return the wait in seconds."""
        return max(retry_after_of(_error(retry_state)), self._otherwise(retry_state))


def retry_after_of(error: BaseException | None) -> float:
    """Return the wait that the server asked for with this error, in seconds; 0: it asked for none."""
    return (error.retry_after or 0.0) if isinstance(error, TransientError) else 0.0


def _error(retry_state: RetryCallState) -> BaseException | None:
    return retry_state.outcome.exception() if retry_state.outcome else None


def _is_worth_another_attempt(error: BaseException) -> bool:
    is_transient = isinstance(error, TransientError) and not isinstance(error, HeldError)
    return is_transient and retry_after_of(error) <= LONGEST_WAIT_SECONDS


class Retries:
    """The retry policy of a client: at most `ATTEMPTS`, with exponential backoff and full jitter, until the stop."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        # Strategies have no state, so calls share them. An AsyncRetrying has: each call makes its own (see `again`).
        self._wait = wait_retry_after(wait_random_exponential(multiplier=BACKOFF_SECONDS, max=BACKOFF_MAX_SECONDS))
        self._retry = retry_if_exception(_is_worth_another_attempt)
        self.count = 0
        """Retries so far."""
        self.latest_failure: str | None = None
        """The text of the latest transient failure; None: there was none."""

    async def again(
        self,
        attempt: Callable[[], Awaitable[T]],
        failed: TransientError,
        *,
        attempts: int = ATTEMPTS,
        may_repeat: Callable[[BaseException], bool] = lambda _: True,
        **about: str | int,
    ) -> T:
        """Repeat an attempt that failed, and return what it returns when it succeeds.

        Args:
            attempt: makes one attempt.
            failed: the error of the first attempt.
            attempts: the largest number of attempts, the first included.
            may_repeat: returns whether one more attempt may be made soon after an error. If not, it is raised at once.
            **about: fields for the log.

        Raises:
            ApiError: the last attempt failed with it.
        """
        # tenacity costs tens of microseconds per call, so it is used only after a failure, which is replayed to it as
        # the first attempt. An AsyncRetrying that concurrent calls share would lose attempts.
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
            retry=self._retry & retry_if_exception(may_repeat),
            sleep=self._stop.sleep,
            before_sleep=log_retry,
            reraise=True,
        )
        try:
            return await retrying(next_attempt)
        finally:
            self.count += int(retrying.statistics["attempt_number"]) - 1
