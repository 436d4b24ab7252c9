"""The retry policy alone, in virtual time."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from asset_worker.api.errors import HeldError, NotFoundError, RateLimitedError, TransientError
from asset_worker.api.retry import ATTEMPTS, BACKOFF_MAX_SECONDS, LONGEST_WAIT_SECONDS, Retries, retry_after_of
from asset_worker.runtime.stop import Stop

pytestmark = pytest.mark.virtual_time


class Attempts:
    """Fails with each of these, then returns how many attempts it took; it records when each was made."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.made_at: list[float] = []

    async def __call__(self) -> int:
        self.made_at.append(asyncio.get_running_loop().time())
        if self.failures:
            raise self.failures.pop(0)
        return len(self.made_at)


@pytest.mark.parametrize("error", [RateLimitedError, TransientError])
async def test_a_requested_wait_is_slept_before_the_next_attempt(error: type[TransientError]):
    attempt = Attempts(error("refused", 9.0))
    assert await Retries(Stop()).again(attempt, error("refused", 7.0)) == 2
    first, second = attempt.made_at
    assert 7 <= first < 7 + BACKOFF_MAX_SECONDS
    assert 9 <= second - first < 9 + BACKOFF_MAX_SECONDS


@pytest.mark.parametrize(
    "failure", [RateLimitedError("429", None), RateLimitedError("429", 0.0), TransientError("503")], ids=repr
)
async def test_where_no_wait_is_requested_it_backs_off(failure: TransientError):
    attempt = Attempts()
    await Retries(Stop()).again(attempt, failure)
    assert 0 < attempt.made_at[0] <= BACKOFF_MAX_SECONDS


async def test_with_a_requested_wait_that_is_too_long_no_attempt_is_made():
    retries, attempt = Retries(Stop()), Attempts()
    with pytest.raises(RateLimitedError, match="429"):
        await retries.again(attempt, RateLimitedError("429", LONGEST_WAIT_SECONDS + 0.1))
    assert (attempt.made_at, retries.count) == ([], 0)
    assert await retries.again(attempt, RateLimitedError("429", LONGEST_WAIT_SECONDS)) == 1


async def test_attempts_are_counted_and_bounded_and_the_last_failure_is_raised():
    retries = Retries(Stop())
    attempt = Attempts(*[TransientError(f"failure {number}") for number in range(2, 9)])
    with pytest.raises(TransientError, match=f"failure {ATTEMPTS}"):
        await retries.again(attempt, TransientError("failure 1"))
    assert (len(attempt.made_at), retries.count) == (ATTEMPTS - 1, ATTEMPTS - 1)


async def test_an_answer_that_is_final_ends_the_attempts():
    attempt = Attempts(NotFoundError("404"))
    with pytest.raises(NotFoundError):
        await Retries(Stop()).again(attempt, TransientError("503"))
    assert len(attempt.made_at) == 1


async def test_a_stop_ends_the_wait():
    stop = Stop()
    asyncio.get_running_loop().call_later(2, stop.set, "test")
    with pytest.raises(RateLimitedError):
        await Retries(stop).again(Attempts(RateLimitedError("429", 10.0)), RateLimitedError("429", 10.0))
    assert asyncio.get_running_loop().time() == 2


async def test_a_request_that_was_held_back_in_an_outage_is_not_repeated():
    retries, attempt = Retries(Stop()), Attempts()
    with pytest.raises(HeldError):
        await retries.again(attempt, HeldError("the API is unavailable"))
    assert attempt.made_at == []


async def test_the_latest_transient_failure_is_kept():
    retries = Retries(Stop())
    await retries.again(Attempts(), TransientError("503"))
    assert retries.latest_failure == "503"
    await retries.again(Attempts(TransientError("502")), TransientError("503"))
    assert retries.latest_failure == "502"


async def test_a_failure_that_is_not_repeated_is_kept_too():
    retries, attempt = Retries(Stop()), Attempts()
    with pytest.raises(TransientError):
        await retries.again(attempt, TransientError("503"), may_repeat=lambda _: False)
    assert (retries.latest_failure, attempt.made_at, retries.count) == ("503", [], 0)


async def test_each_retry_is_logged_with_its_wait():
    attempt = Attempts(TransientError("502"))
    with capture_logs() as logs:
        await Retries(Stop()).again(attempt, RateLimitedError("429", 12.0), asset_id="a")
    first, second = attempt.made_at
    waits = [line.pop("wait") for line in logs]
    assert waits == pytest.approx([first, second - first], abs=0.001)
    about = {"event": "api.retry", "log_level": "info", "asset_id": "a"}
    assert logs == [{**about, "attempt": 1, "error": "429"}, {**about, "attempt": 2, "error": "502"}]


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (TransientError("503", 7.0), 7.0),
        (RateLimitedError("429", 0.5), 0.5),
        (TransientError("503"), 0.0),
        (NotFoundError("404"), 0.0),
        (OSError("broken"), 0.0),
        (None, 0.0),
    ],
    ids=repr,
)
def test_only_an_error_that_may_pass_asks_for_a_wait(error: Exception | None, seconds: float):
    assert retry_after_of(error) == seconds
