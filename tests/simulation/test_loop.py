"""The simulated event loop: one step at a time, in virtual time, always in the same order."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.simulation import loop as loops
from tests.simulation.loop import SimulatedLoop, SpinningError


@pytest.fixture
def loop() -> Iterator[SimulatedLoop]:
    """A loop at the time 0."""
    loop = SimulatedLoop()
    yield loop
    loop.close()


def test_time_jumps_to_the_next_timer_and_stands_still_while_something_is_ready(loop: SimulatedLoop) -> None:
    seen: list[float] = []

    async def work() -> None:
        for seconds in (0, 10, 3_600):
            await asyncio.sleep(seconds)
            seen.append(loop.time())

    loop.create_task(work())
    loop.run_for(4_000)
    assert seen == [0, 10, 3_610]
    assert loop.time() == 4_000


def test_it_stops_between_two_steps_as_soon_as_that_is_asked_for(loop: SimulatedLoop) -> None:
    done: list[int] = []
    for number in range(5):
        loop.call_soon(done.append, number)
    assert loop.run_until(lambda: loop.steps == 3, at=100)
    assert done == [0, 1, 2]
    assert loop.time() == 0
    assert not loop.run_until(lambda: len(done) > 5, at=100)
    assert loop.time() == 100


def test_timers_of_one_moment_run_in_their_order_and_cancelled_ones_do_not(loop: SimulatedLoop) -> None:
    done: list[str] = []
    for name in "abc":
        handle = loop.call_later(5, done.append, name)
        if name == "b":
            handle.cancel()
    loop.run_for(4.9)
    assert done == []
    loop.run_for(0.1)
    assert done == ["a", "c"]


def test_a_program_that_spins_is_reported(loop: SimulatedLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would go on for ever: no time passes."""
    monkeypatch.setattr(loops, "MOST_STEPS_AT_ONCE", 100)

    def again() -> None:
        loop.call_soon(again)

    loop.call_later(5, again)
    with pytest.raises(SpinningError, match=r"5\.000"):
        loop.run_for(10)


def test_a_timeout_ends_what_it_limits(loop: SimulatedLoop) -> None:
    async def work() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                await asyncio.sleep(1_000)
        return loop.time()

    task = loop.create_task(work())
    assert loop.run_until(task.done, at=100)
    assert task.result() == 30
