"""What systemd is sent, and when."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from itertools import pairwise

import pytest
from structlog.testing import capture_logs

from asset_worker.runtime.redaction import Secrets
from asset_worker.runtime.stop import Stop
from asset_worker.telemetry.announcing import STATUS_LENGTH, View, announcing, status_line
from asset_worker.telemetry.problems import Problem, Reason

AT = 1_795_745_645.0  # 2026-11-27T02:14:05Z


def problem(text="the API refuses the key", since=AT):
    return Problem(Reason.KEY_REFUSED, text, since)


@pytest.mark.parametrize(
    ("state", "line"),
    [
        ({}, "0 pending"),
        ({"pending": 1234, "oldest": 41.9}, "1,234 pending, oldest 41 s"),
        ({"pending": 1, "oldest": 125.0}, "1 pending, oldest 2 min"),
        ({"pending": 1, "oldest": 7200.0}, "1 pending, oldest 2 h"),
        ({"pending": 1, "oldest": 200_000.0}, "1 pending, oldest 2 d"),
        (
            {"pending": 1234, "oldest": 41.0, "problems": [problem()]},
            "1,234 pending, oldest 41 s; problem: the API refuses the key (since 02:14:05 UTC)",
        ),
        (
            {"problems": [problem(since=AT - 86_400), problem("another"), problem("a third")]},
            "0 pending; problem: the API refuses the key (since 2026-11-26 02:14:05 UTC), and 2 more",
        ),
        ({"problems": [problem("it is full", since=None)]}, "0 pending; problem: it is full"),
        ({"problems": [problem("a\nMAINPID=1", since=None)]}, "0 pending; problem: a\\nMAINPID=1"),
    ],
    ids=[
        "nothing",
        "seconds",
        "minutes",
        "hours",
        "days",
        "a problem",
        "several, since yesterday",
        "since is not known",
        "a newline in it",
    ],
)
def test_the_line_says_what_is_pending_and_what_is_wrong(state, line):
    assert status_line(**{"pending": 0, "oldest": 0.0, "problems": [], "now": AT + 600} | state) == line


def test_the_line_stays_one_line():
    line = status_line(pending=0, oldest=0.0, problems=[problem("x" * 10_000)], now=AT)
    assert len(line) == STATUS_LENGTH


def test_a_secret_is_redacted_before_the_line_is_cut():
    """A part of a short one would not be recognised."""
    secrets = Secrets()
    secrets.add("hunter2hunter")
    beginning = len(status_line(pending=0, oldest=0.0, problems=[problem("", since=None)], now=AT))
    text = "x" * (STATUS_LENGTH - beginning - 10) + " hunter2hunter"
    line = status_line(pending=0, oldest=0.0, problems=[problem(text, since=None)], now=AT, redact=secrets.redact_text)
    assert "hunter2" not in line
    assert len(line) <= STATUS_LENGTH


class Manager:
    """A service manager that keeps what it is sent, with the time; while it `fails`, it takes nothing."""

    def __init__(self, watchdog=None):
        self.watchdog = watchdog
        self.datagrams = []
        self.fails = False

    def send(self, *assignments):
        if self.fails:
            raise ConnectionRefusedError("refused")
        self.datagrams.append((round(asyncio.get_running_loop().time(), 1), list(assignments)))

    def times(self, assignment):
        return [at for at, datagram in self.datagrams if assignment in datagram]

    def lines(self):
        """All assignments so far, which are forgotten."""
        lines = [line for _, datagram in self.datagrams for line in datagram]
        self.datagrams = []
        return lines


@pytest.mark.virtual_time
class TestAnnouncing:
    """When what is sent, in virtual time."""

    @asynccontextmanager
    async def announced(self, *, watchdog=None, grace=25.0):
        """A worker that starts, and what its service manager is sent."""
        self.manager, self.stop = Manager(watchdog), Stop()
        self.status, self.is_following = "starting", False

        def look():
            return View(self.status, is_following=self.is_following, is_stopping=self.stop.is_set())

        async with announcing(self.manager, look, stop=self.stop, grace=grace) as self.announcer:
            yield

    async def follow(self):
        """The worker is ready, and that was reported."""
        self.is_following, self.status = True, "0 pending"
        await asyncio.sleep(0.1)
        assert self.manager.lines()[-2:] == ["READY=1", "STATUS=0 pending"]

    async def test_a_worker_is_ready_once_it_follows_its_inputs_and_only_once(self):
        async with self.announced():
            await asyncio.sleep(3)
            assert self.manager.lines() == ["STATUS=starting"]
            await self.follow()
            await asyncio.sleep(100)
            assert self.manager.lines() == []

    async def test_a_start_that_takes_long_is_prolonged_for_as_long_as_the_loop_lives(self):
        async with self.announced():
            await asyncio.sleep(300)
            asked = self.manager.times("EXTEND_TIMEOUT_USEC=60000000")
            assert asked[0] <= 10, "before TimeoutStartSec is over"
            assert max(later - earlier for earlier, later in pairwise(asked)) < 30
            await self.follow()
            await asyncio.sleep(100)
            assert self.manager.lines() == []

    async def test_the_line_is_sent_when_it_changes_and_at_most_once_a_second(self):
        async with self.announced():
            await self.follow()
            began = asyncio.get_running_loop().time()
            for pending in range(50):
                self.status = f"{pending} pending"
                await asyncio.sleep(0.1)
            await asyncio.sleep(3)
            sent = [datagram for _, [datagram] in self.manager.datagrams]
            assert 4 <= len(sent) <= asyncio.get_running_loop().time() - began
            assert sent[-1] == "STATUS=49 pending"

    async def test_the_loop_says_that_it_lives_at_half_of_the_watchdogs_time(self):
        async with self.announced(watchdog=7.0):
            await asyncio.sleep(5)
            await self.follow()
            began = asyncio.get_running_loop().time()
            await asyncio.sleep(100)
            self.stop.set("SIGTERM")
            await asyncio.sleep(20)
            alive = [began, *self.manager.times("WATCHDOG=1")]
            assert max(later - earlier for earlier, later in pairwise(alive)) <= 3.6
            assert len(alive) <= 120 / 3.5 + 2
            assert alive[-1] >= began + 116, "also while it stops"

    async def test_a_reload_is_announced_with_its_time_and_its_end(self, monkeypatch):
        monkeypatch.setattr(time, "clock_gettime", lambda _clock: 17.0000012)
        async with self.announced():
            await self.follow()
            with self.announcer.reloading():
                assert self.manager.lines() == ["RELOADING=1", "MONOTONIC_USEC=17000001"]
            assert self.manager.lines() == ["READY=1"]
            with suppress(ZeroDivisionError), self.announcer.reloading():
                raise ZeroDivisionError
            assert self.manager.lines()[-1] == "READY=1", "systemd waits for it"

    async def test_a_reload_during_the_start_does_not_make_the_worker_ready(self):
        async with self.announced():
            with self.announcer.reloading():
                pass
            await asyncio.sleep(1)
            assert self.manager.lines() == ["STATUS=starting"]

    async def test_a_stop_is_announced_at_once_with_the_time_that_it_may_take(self):
        async with self.announced(grace=40.0):
            await self.follow()
            await asyncio.sleep(10.3)
            self.stop.set("SIGTERM")
            await asyncio.sleep(0.01)
            assert self.manager.lines() == ["STOPPING=1", "EXTEND_TIMEOUT_USEC=45000000"]
            with self.announcer.reloading():
                pass
            assert self.manager.lines() == []

    async def test_a_stop_during_the_start_does_not_make_the_worker_ready(self):
        async with self.announced():
            self.stop.set("SIGTERM")
            await asyncio.sleep(10)
            assert [line for line in self.manager.lines() if line.endswith("=1")] == ["STOPPING=1"]

    async def test_a_run_that_is_over_at_once_was_ready_before(self):
        """Without READY=1, systemd takes the end of the process for a failure."""
        async with self.announced():
            self.is_following = True
            self.stop.set("done")
            await asyncio.sleep(0.1)
            assert [line for line in self.manager.lines() if line.endswith("=1")] == ["READY=1", "STOPPING=1"]

    async def test_what_the_manager_did_not_take_is_sent_again_and_logged_once(self):
        async with self.announced():
            await asyncio.sleep(0.1)
            self.manager.fails, self.is_following = True, True
            with capture_logs() as logs:
                await asyncio.sleep(10)
            [line] = logs
            assert (line["event"], line["error"]) == ("worker.notify_failed", "refused")
            self.manager.fails = False
            await asyncio.sleep(0.1)
            assert self.manager.times("READY=1") == [10.1]
