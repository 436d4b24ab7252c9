"""The policies that are derived from the settings."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from asset_worker import policies
from asset_worker.api.client import LIST_LIMIT
from asset_worker.domain.assets import Expectations, WaitFor
from asset_worker.domain.run_plan import RunPlan
from asset_worker.intake.account.filters import Filters
from asset_worker.intake.account.position import BEFORE_ALL
from asset_worker.poller.policy import Batching
from asset_worker.schedule.adaptive import AdaptiveSchedule
from asset_worker.schedule.learned import LearnedState
from asset_worker.schedule.ports import WaitState
from asset_worker.settings.tree import Settings
from asset_worker.sinks.delivery import SHUTDOWN_RETRY_SECONDS

KEEPS = RunPlan()
KEEPS_NOTHING = RunPlan(keeps_state=False)


def settings(**sections: dict[str, Any]) -> Settings:
    return Settings.model_validate(sections)


def test_only_a_run_that_keeps_state_gives_assets_past_their_age_limit_a_long_look() -> None:
    assert (policies.last_look(KEEPS), policies.last_look(KEEPS_NOTHING)) == (60.0, 0.0)


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
    expected = Batching(LIST_LIMIT, ahead=ahead, gather=pytest.approx(gather), confirm_all=False)
    assert policies.batching(settings(poll=poll).poll) == expected
    assert gather < ahead


def test_every_asset_that_a_list_shows_done_is_confirmed_if_the_settings_ask_for_it():
    batching = policies.batching(settings(poll={"batch": "confirm"}).poll)
    assert batching == Batching(LIST_LIMIT, ahead=1.5, gather=0.5, confirm_all=True)


def test_a_service_sends_nothing_to_a_webhook_in_the_second_half_of_its_grace_period():
    """A request that is cut off would be sent again."""
    ended = settings(shutdown={"grace": 10})
    assert policies.last_start(ended, KEEPS) == 5
    assert policies.last_start(ended, RunPlan(once=True, ends_by_itself=True)) == math.inf


def test_lists_can_be_turned_off():
    assert policies.batching(settings(poll={"batch": "off"}).poll) is None


def test_the_expectations_by_default_are_those_of_the_core():
    assert policies.expectations(Settings(), KEEPS) == Expectations()


@pytest.mark.parametrize(
    ("plan", "unanswered_factor", "unanswered_deadline"),
    [
        pytest.param(KEEPS, 2.0, 10.0, id="a service waits a second deadline for an answer"),
        pytest.param(KEEPS_NOTHING, 1.0, 5.0, id="a run that somebody waits for ends at the deadline"),
    ],
)
def test_when_a_wait_ends_that_was_never_answered(plan: RunPlan, unanswered_factor: float, unanswered_deadline: float):
    found = policies.expectations(
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
    assert policies.shutdown_grace(settings(shutdown={"grace": 12}), plan) == grace


@pytest.mark.parametrize(
    ("plan", "patience"),
    [
        pytest.param(RunPlan(once=True, ends_by_itself=True), math.inf, id="a reader may be slow, as of any program"),
        pytest.param(RunPlan(keeps_state=False), 12, id="somebody waits for the end of a one-off"),
    ],
)
def test_how_long_a_run_that_is_done_waits_for_a_reader_that_takes_nothing(plan: RunPlan, patience: float):
    assert policies.reader_patience(settings(shutdown={"grace": 12}), plan) == patience


@pytest.mark.parametrize(("concurrency", "looks"), [(1, 2), (20, 40), (1000, 2000)])
def test_looks_that_wait_to_retry_leave_requests_to_others(concurrency: int, looks: int):
    assert policies.looks_at_once(settings(limits={"concurrency": concurrency}).limits) == looks


@pytest.mark.parametrize(
    ("count", "longest", "expected"),
    [
        pytest.param(0, 30, [], id="nothing pending"),
        pytest.param(1, 30, [0.0], id="one asset: at once"),
        pytest.param(2, 30, [0.005, 0.015], id="two: already spread"),
        pytest.param(4, 30, [0.005, 0.015, 0.025, 0.035], id="a hundredth of a second apart"),
        pytest.param(4, 0.02, [0.0025, 0.0075, 0.0125, 0.0175], id="all within poll.max"),
    ],
)
def test_first_looks_after_a_restart_are_spread(count: int, longest: float, expected: list[float]):
    poll = settings(poll={"initial": 0.02, "max": longest}).poll
    assert policies.first_looks(count, poll, lambda: 0.5) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("strategy", "delays"),
    [
        pytest.param("fixed", [2, 2, 2, 2, 2], id="fixed"),
        pytest.param("exponential", [2, 3, 4.5, 5, 5], id="exponential"),
    ],
)
def test_the_schedule_is_the_one_that_the_strategy_names(strategy: str, delays: list[float]):
    poll = settings(poll={"strategy": strategy, "initial": 2, "multiplier": 1.5, "max": 5}).poll
    schedule = policies.schedule(poll, None, lambda: 0.0)
    assert [schedule(WaitState(number)) for number in range(1, 6)] == pytest.approx(delays)


def test_a_fixed_schedule_has_no_other_longest_delay_than_its_interval():
    poll = settings(poll={"strategy": "fixed", "initial": 300, "max": 30}).poll
    assert policies.schedule(poll, None, lambda: 0.0)(WaitState(7)) == 300
    assert policies.longest_delay(poll) == 300


def test_the_adaptive_schedule_is_the_default():
    assert isinstance(policies.schedule(Settings().poll, None, lambda: 0.5), AdaptiveSchedule)


def test_an_adaptive_schedule_expects_a_request_for_each_look_until_it_is_told_otherwise():
    poll = Settings().poll
    assert policies.adaptive(poll, None, lambda: 0.5).requests_per_look == 1.0
    assert policies.adaptive(poll, LearnedState(requests_per_look=0.25), lambda: 0.5).requests_per_look == 1.0


@pytest.mark.parametrize("strategy", ["fixed", "exponential", "adaptive"])
def test_reports_show_the_delays_without_jitter(strategy: str):
    poll = settings(poll={"strategy": strategy, "initial": 2, "max": 30}).poll
    assert policies.typical_schedule(poll, None)(WaitState(1)) == pytest.approx(2.0)


def test_reports_expect_a_look_to_cost_what_it_cost_the_worker_lately():
    poll, learned = Settings().poll, LearnedState(requests_per_look=0.25)
    for schedule in (policies.typical_schedule(poll, learned), policies.typical_adaptive(poll, learned)):
        assert isinstance(schedule, AdaptiveSchedule)
        assert schedule.requests_per_look == 0.25
    assert policies.typical_adaptive(poll, None).requests_per_look == 1.0


@pytest.mark.parametrize(
    ("plan", "patience"),
    [
        pytest.param(RunPlan(once=True, ends_by_itself=True), 12.0, id="a run that ends by itself: its grace period"),
        pytest.param(
            RunPlan(keeps_state=False, ends_by_itself=True), SHUTDOWN_RETRY_SECONDS, id="a run that keeps nothing"
        ),
        pytest.param(KEEPS, 0.0, id="a service leaves them to its next start"),
    ],
)
def test_how_long_a_run_that_is_done_waits_for_events_that_a_webhook_refused(plan: RunPlan, patience: float):
    assert policies.drain_patience(settings(shutdown={"grace": 12}), plan) == patience


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        pytest.param({}, (), id="none"),
        pytest.param({"queue": {"file": "/q"}}, (Path("/q"),), id="a file"),
        pytest.param({"queue": {"file": "-"}}, (Path("-"),), id="a file of an odd name"),
        pytest.param({"queue": {"stdin": True}}, ("-",), id="stdin"),
        pytest.param({"account": {"follow": True}}, ("account",), id="the account"),
        pytest.param({"queue": {"file": "account"}}, (Path("account"),), id="a file of another odd name"),
        pytest.param(
            {"queue": {"file": "/q", "stdin": True}, "account": {"follow": True}},
            (Path("/q"), "-", "account"),
            id="all",
        ),
    ],
)
def test_what_is_read(sections: dict[str, Any], expected: tuple[Path | str, ...]):
    assert policies.inputs(settings(**sections)) == expected


@pytest.mark.parametrize(
    ("since", "instant"), [("start", None), ("all", BEFORE_ALL), ("2026-11-27T08:00:00Z", 1_795_766_400.0)]
)
def test_since_when_assets_of_the_account_are_watched(since: str, instant: float | None):
    assert policies.account_since(settings(account={"since": since}).account) == instant


def test_which_assets_of_the_account_are_watched():
    chosen = settings(account={"types": ["video"], "filename": " a ", "metadata": {"k": 1}}).account
    assert policies.account_filters(chosen) == Filters(("video",), "a", {"k": 1})


def test_events_name_the_api_they_come_from():
    assert policies.event_source(Settings().api) == "https://api.twelvelabs.io/v1.3/assets"


@pytest.mark.parametrize(
    ("what", "hls", "thumbnail"),
    [
        ("asset", "ignore", "ignore"),
        ("hls", "required", "ignore"),
        ("thumbnail", "ignore", "required"),
        ("all", "if_requested", "if_requested"),
    ],
)
def test_what_wait_is_for_says_which_renditions_are_awaited(what, hls, thumbnail):
    assert policies.AWAITED[what] == {"hls": hls, "thumbnail": thumbnail}
