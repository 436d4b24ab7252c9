"""What is derived from the settings and the plan: one table for each policy."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from asset_worker import wiring
from asset_worker.api.client import LIST_LIMIT
from asset_worker.api.key import ApiKey
from asset_worker.domain.assets import Expectations, WaitFor
from asset_worker.domain.run_plan import RunPlan
from asset_worker.poller.policy import Batching
from asset_worker.runtime.clock import SystemClock
from asset_worker.runtime.redaction import REDACTED, Secrets
from asset_worker.runtime.stop import Stop
from asset_worker.schedule.adaptive import AdaptiveSchedule
from asset_worker.schedule.ports import WaitState
from asset_worker.settings.tree import Settings
from asset_worker.sinks.delivery import SHUTDOWN_RETRY_SECONDS
from asset_worker.sinks.ports import UnusableTargetError

KEEPS = RunPlan()
KEEPS_NOTHING = RunPlan(keeps_state=False)


def settings(**sections: dict[str, Any]) -> Settings:
    return Settings.model_validate(sections)


def test_only_a_run_that_keeps_state_gives_assets_past_their_age_limit_a_long_look() -> None:
    assert (wiring.last_look(KEEPS), wiring.last_look(KEEPS_NOTHING)) == (60.0, 0.0)


@pytest.mark.parametrize(
    ("poll", "ahead", "gather"),
    [
        pytest.param({}, 1.5, 0.5, id="the defaults"),
        pytest.param({"max": 300}, 15.0, 0.5, id="a long poll.max"),
        pytest.param({"initial": 0.4, "max": 300}, 15.0, 0.1, id="a long poll.max and a short poll.initial"),
        pytest.param({"initial": 0.5, "max": 1}, 0.1, 0.1 / 3, id="a poll.max so short that a list needs more"),
        pytest.param({"strategy": "fixed", "initial": 60, "max": 30}, 3.0, 0.5, id="fixed: poll.max plays no part"),
    ],
)
def test_how_looks_share_lists_follows_from_the_longest_and_the_shortest_delay(
    poll: dict[str, Any], ahead: float, gather: float
):
    batching = wiring.batching(settings(poll=poll).poll)
    assert isinstance(batching, Batching)
    assert batching.limit == LIST_LIMIT
    assert batching.ahead == pytest.approx(ahead)
    assert batching.gather == pytest.approx(gather)
    assert batching.gather < batching.ahead


def test_a_service_sends_nothing_to_a_webhook_in_the_second_half_of_its_grace_period():
    """A request that is cut off would be sent again."""
    ended = settings(shutdown={"grace": 10})
    assert wiring.last_start(ended, KEEPS) == 5
    assert wiring.last_start(ended, RunPlan(once=True, ends_by_itself=True)) == math.inf


def test_lists_can_be_turned_off():
    assert wiring.batching(settings(poll={"batch": "off"}).poll) is None


def test_the_expectations_by_default_are_those_of_the_core():
    assert wiring.expectations(Settings(), KEEPS) == Expectations()


@pytest.mark.parametrize(
    ("plan", "unanswered_factor", "unanswered_deadline"),
    [
        pytest.param(KEEPS, 2.0, 10.0, id="a service waits a second deadline for an answer"),
        pytest.param(KEEPS_NOTHING, 1.0, 5.0, id="a run that somebody waits for ends at the deadline"),
    ],
)
def test_when_a_wait_ends_that_was_never_answered(plan: RunPlan, unanswered_factor: float, unanswered_deadline: float):
    found = wiring.expectations(
        settings(
            poll={"deadline": 5, "not_found_grace": 7, "rendition_deadline": 9},
            wait_for={"hls": "required", "thumbnail": "ignore"},
        ),
        plan,
    )
    assert found == Expectations(
        wait_for={"hls": WaitFor.REQUIRED, "thumbnail": WaitFor.IGNORE},
        deadline=5,
        not_found_grace=7,
        rendition_deadline=9,
        unanswered_factor=unanswered_factor,
    )
    assert found.unanswered_deadline == unanswered_deadline


@pytest.mark.parametrize(
    ("plan", "grace"),
    [
        pytest.param(KEEPS, 12.0, id="a service"),
        pytest.param(KEEPS_NOTHING, SHUTDOWN_RETRY_SECONDS, id="a run that keeps nothing"),
    ],
)
def test_how_long_a_stop_may_take(plan: RunPlan, grace: float):
    assert wiring.shutdown_grace(settings(shutdown={"grace": 12}), plan) == grace


@pytest.mark.parametrize(
    ("plan", "patience"),
    [
        pytest.param(RunPlan(once=True, ends_by_itself=True), math.inf, id="a reader may be slow, as of any program"),
        pytest.param(RunPlan(keeps_state=False), 12, id="somebody waits for the end of a one-off"),
    ],
)
def test_how_long_a_run_that_is_done_waits_for_a_reader_that_takes_nothing(plan: RunPlan, patience: float):
    assert wiring.reader_patience(settings(shutdown={"grace": 12}), plan) == patience


@pytest.mark.parametrize(("concurrency", "looks"), [(1, 2), (20, 40), (1000, 2000)])
def test_looks_that_wait_to_retry_leave_requests_to_others(concurrency: int, looks: int):
    assert wiring.looks_at_once(settings(limits={"concurrency": concurrency}).limits) == looks


@pytest.mark.parametrize(
    ("count", "longest", "expected"),
    [
        pytest.param(0, 30, [], id="nothing pending"),
        pytest.param(1, 30, [0.0], id="one asset: at once"),
        pytest.param(4, 30, [0.005, 0.015, 0.025, 0.035], id="a hundredth of a second apart"),
        pytest.param(4, 0.02, [0.0025, 0.0075, 0.0125, 0.0175], id="all within poll.max"),
    ],
)
def test_first_looks_after_a_restart_are_spread(count: int, longest: float, expected: list[float]):
    poll = settings(poll={"initial": 0.02, "max": longest}).poll
    assert wiring.first_looks(count, poll, lambda: 0.5) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("strategy", "delays"),
    [
        pytest.param("fixed", [2, 2, 2, 2, 2], id="fixed"),
        pytest.param("exponential", [2, 3, 4.5, 5, 5], id="exponential"),
    ],
)
def test_the_schedule_is_the_one_that_the_strategy_names(strategy: str, delays: list[float]):
    poll = settings(poll={"strategy": strategy, "initial": 2, "multiplier": 1.5, "max": 5}).poll
    schedule = wiring.schedule(poll, None, lambda: 0.0)
    assert [schedule(WaitState(number)) for number in range(1, 6)] == pytest.approx(delays)


def test_a_fixed_schedule_has_no_other_longest_delay_than_its_interval():
    poll = settings(poll={"strategy": "fixed", "initial": 300, "max": 30}).poll
    assert wiring.schedule(poll, None, lambda: 0.0)(WaitState(7)) == 300
    assert wiring.longest_delay(poll) == 300


def test_the_adaptive_schedule_is_the_default():
    assert isinstance(wiring.schedule(Settings().poll, None, lambda: 0.5), AdaptiveSchedule)


@pytest.mark.parametrize("strategy", ["fixed", "exponential", "adaptive"])
def test_only_a_schedule_that_learns_and_a_run_that_keeps_state_write_it_down(strategy: str, tmp_path: Path):
    chosen = settings(poll={"strategy": strategy}, state={"dir": tmp_path})
    for plan in (KEEPS, KEEPS_NOTHING):
        keeper = wiring.make_schedule_keeper(chosen, plan, wiring.make_schedule(chosen, plan))
        assert (keeper is not None) == (strategy == "adaptive" and plan.keeps_state)


@pytest.mark.parametrize(
    ("queue", "expected"),
    [
        pytest.param({}, (), id="none"),
        pytest.param({"file": "/q"}, (Path("/q"),), id="a file"),
        pytest.param({"file": "-"}, (Path("-"),), id="a file of an odd name"),
        pytest.param({"stdin": True}, ("-",), id="stdin"),
        pytest.param({"file": "/q", "stdin": True}, (Path("/q"), "-"), id="both"),
    ],
)
def test_what_is_read(queue: dict[str, Any], expected: tuple[Path | str, ...]):
    assert wiring.inputs(settings(queue=queue).queue) == expected


def test_events_name_the_api_they_come_from():
    assert wiring.event_source(Settings().api) == "https://api.twelvelabs.io/v1.3/assets"


def test_the_key_is_redacted_from_the_start():
    secrets = Secrets()
    wiring.make_key(settings(api={"key": "tlk_4F2SECRET"}).api, secrets)
    assert secrets.redact("tlk_4F2SECRET") == REDACTED


@pytest.mark.parametrize("unused", ["tlk_4F2SECRET", " tlk_4F2SECRET\n"])
def test_a_key_that_is_not_used_is_redacted_as_well(tmp_path: Path, unused: str):
    """The file takes precedence, but the other one may be a key that works."""
    secrets = Secrets()
    (tmp_path / "key").write_text("tlk_5F3SECRET")
    wiring.make_key(settings(api={"key": unused, "key_file": str(tmp_path / "key")}).api, secrets)
    assert secrets.redact("tlk_4F2SECRET tlk_5F3SECRET") == f"{REDACTED} {REDACTED}"


@pytest.mark.parametrize(
    ("proxy", "text", "shown"),
    [
        (
            "http://me:pass%2Fword@proxy.example:3128",
            "407 for pass/word, pass%2fword",
            f"407 for {REDACTED}, {REDACTED}",
        ),
        ("http://me:proxy@proxy.example:3128", "the proxy refuses", "the proxy refuses"),
        ("http://proxy.example:3128", "the proxy refuses", "the proxy refuses"),
    ],
    ids=["a password", "a password that is a word", "no password"],
)
def test_the_password_of_a_proxy_is_redacted(monkeypatch: pytest.MonkeyPatch, proxy: str, text: str, shown: str):
    monkeypatch.setenv("https_proxy", proxy)
    secrets = Secrets()
    wiring.redact_proxy_password(Settings().api, secrets)
    assert secrets.redact_text(text) == shown


@pytest.mark.parametrize(
    ("plan", "is_final"),
    [
        pytest.param(RunPlan(), False, id="a service"),
        pytest.param(RunPlan(once=True, key_refused_limit=60.0), True, id="--once"),
        pytest.param(RunPlan(keeps_state=False, key_refused_limit=0.0), True, id="wait"),
    ],
)
def test_only_where_somebody_waits_the_refusal_of_one_asset_ends_its_wait(
    plan: RunPlan, is_final: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(wiring, "Poller", lambda *_, policy, **__: policy)
    nothing: Any = None
    fixed = wiring.schedule(settings(poll={"strategy": "fixed"}).poll, None, lambda: 0.5)
    policy: Any = wiring.make_poller(
        Settings(), plan, queue=nothing, api=nothing, gate=nothing, chosen=fixed, clock=SystemClock(), secrets=Secrets()
    )
    assert policy.refusal_is_final is is_final


@pytest.mark.parametrize("once", [True, False])
async def test_the_settings_of_the_queue_reach_its_intakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, once: bool):
    opened: list[Any] = []
    monkeypatch.setattr(wiring, "open_intake", lambda source, context: opened.append((source, context)))
    chosen = settings(queue={"file": str(tmp_path / "queue"), "rotated": ["done-NAME"], "partial_wait": 9})
    plan, key = RunPlan(once=once, keeps_state=False), ApiKey(value="tlk_test", file=None, on_read=lambda _: None)
    async with wiring.build(chosen, plan, key=key, secrets=Secrets(), clock=SystemClock(), stop=Stop()):
        pass
    [(source, context)] = opened
    assert source == tmp_path / "queue"
    assert (context.rotated, context.partial_wait, context.once) == (("done-NAME",), 9, once)


class Recorded:
    """An outbox that knows this about each sink."""

    def __init__(self, checkpoint: bytes | None) -> None:
        self._checkpoint = checkpoint

    async def checkpoint(self, _sink: str) -> bytes | None:
        return self._checkpoint


async def test_a_directory_is_refused_as_a_sink_unless_it_was_a_file_in_an_earlier_run(tmp_path: Path):
    """Other problems, such as a directory that is missing, may pass."""
    new: Any = Recorded(None)
    earlier: Any = Recorded(b"here")
    with pytest.raises(UnusableTargetError, match="is a directory: name a file in it"):
        await wiring.refuse_unusable(str(tmp_path), new, "file:x")
    await wiring.refuse_unusable(str(tmp_path), earlier, "file:x")
    await wiring.refuse_unusable(str(tmp_path / "missing" / "events"), new, "file:x")


async def test_a_sink_that_can_not_be_used_fails_before_anything_starts(tmp_path: Path):
    """So `/readyz` shows it in its first answer."""
    chosen = settings(events={"sinks": [str(tmp_path / "missing" / "events")]})
    key, clock = ApiKey(value="tlk_test", file=None, on_read=lambda _: None), SystemClock()
    async with wiring.build(chosen, KEEPS_NOTHING, key=key, secrets=Secrets(), clock=clock, stop=Stop()) as parts:
        [delivery] = parts.deliveries
        assert delivery.failing_since is not None
        assert "does not exist: create it" in (delivery.last_error or "")
