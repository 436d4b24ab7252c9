"""The exit code, decided from values alone."""

import msgspec
import pytest

from asset_worker.domain.run_plan import Exit, RunEnd, RunPlan, exit_code

WAIT = RunPlan(keeps_state=False, ends_by_itself=True)
ONCE = RunPlan(once=True, ends_by_itself=True)
STDIN = RunPlan(ends_by_itself=True)
SERVICE = RunPlan()
ALL_READY = RunEnd(
    is_refused=False,
    has_lost_input=False,
    has_left=False,
    outcomes={"ready"},
    signalled=None,
    is_done=True,
    was_reading=False,
)
TERMINATED = 128 + 15


def test_scripts_rely_on_the_exit_codes():
    assert {each.name: each.value for each in Exit} == {
        "DONE": 0, "NOT_READY": 1, "USAGE": 2, "KEY_REFUSED": 3, "TIME_RAN_OUT": 4, "TEMPORARY": 75
    }  # fmt: skip


def test_without_anything_said_a_run_is_a_service_that_keeps_what_it_knows():
    assert msgspec.structs.asdict(SERVICE) == {
        "asset_ids": (),
        "once": False,
        "keeps_state": True,
        "ends_by_itself": False,
        "key_refused_limit": None,
        "may_be_traced": True,
    }
    assert [plan.is_one_off for plan in (WAIT, ONCE, STDIN, SERVICE)] == [True, True, False, False]


@pytest.mark.parametrize("plan", [WAIT, ONCE, STDIN, SERVICE])
@pytest.mark.parametrize(
    ("end", "code"),
    [
        pytest.param({}, Exit.DONE, id="all ready"),
        pytest.param({"outcomes": set()}, Exit.DONE, id="nothing to do"),
        pytest.param({"is_refused": True, "has_left": True}, Exit.KEY_REFUSED, id="key refused"),
        pytest.param({"has_lost_input": True}, Exit.NOT_READY, id="input lost"),
    ],
)
def test_what_ends_every_kind_of_run_alike(plan: RunPlan, end: dict[str, object], code: int):
    assert exit_code(plan, msgspec.structs.replace(ALL_READY, **end)) == code


@pytest.mark.parametrize(
    "end",
    [
        pytest.param({"outcomes": {"ready", "failed"}}, id="one failed"),
        pytest.param({"outcomes": {"failed"}, "was_reading": True}, id="one failed, before the input ended"),
        pytest.param({"outcomes": {"timed_out", "degraded"}}, id="time ran out, and one is degraded"),
        pytest.param({"outcomes": {"timed_out", "dead_letter"}}, id="time ran out, and an event was refused"),
        pytest.param({"outcomes": {"timed_out"}, "has_left": True}, id="time ran out, and an event is left"),
        pytest.param({"outcomes": {"ready", "dead_letter"}}, id="an event that a webhook refused for good"),
        pytest.param({"outcomes": None}, id="outcomes not known"),
        pytest.param({"has_left": True}, id="something left"),
    ],
)
def test_a_run_that_ends_by_itself_reports_what_is_not_ready(end: dict[str, object]):
    ended = msgspec.structs.replace(ALL_READY, **end)
    assert [exit_code(plan, ended) for plan in (WAIT, ONCE, STDIN)] == [Exit.NOT_READY] * 3
    assert exit_code(SERVICE, ended) == Exit.DONE


@pytest.mark.parametrize("outcomes", [{"timed_out"}, {"ready", "timed_out"}])
def test_time_that_ran_out_has_a_code_of_its_own_if_all_others_are_ready(outcomes: set[str]):
    ended = msgspec.structs.replace(ALL_READY, outcomes=outcomes)
    assert [exit_code(plan, ended) for plan in (WAIT, ONCE, STDIN)] == [Exit.TIME_RAN_OUT] * 3
    assert int(Exit.TIME_RAN_OUT) == 4
    assert exit_code(SERVICE, ended) == Exit.DONE


@pytest.mark.parametrize(
    ("end", "codes"),
    [
        pytest.param({"is_done": False}, [TERMINATED, TERMINATED, Exit.DONE, Exit.DONE], id="before the end"),
        pytest.param({"has_left": True}, [TERMINATED, TERMINATED, Exit.NOT_READY, Exit.DONE], id="events left"),
        pytest.param(
            {"is_done": False, "has_left": True, "was_reading": True},
            [TERMINATED, TERMINATED, Exit.DONE, Exit.DONE],
            id="while input was read",
        ),
        pytest.param({}, [Exit.DONE] * 4, id="after the end"),
        pytest.param({"outcomes": {"failed"}}, [Exit.NOT_READY] * 3 + [Exit.DONE], id="after the end, and one failed"),
    ],
)
def test_only_a_one_off_dies_of_the_signal_that_stops_it(end: dict[str, object], codes: list[int]):
    ended = msgspec.structs.replace(ALL_READY, signalled=TERMINATED, **end)
    assert [exit_code(plan, ended) for plan in (WAIT, ONCE, STDIN, SERVICE)] == codes
