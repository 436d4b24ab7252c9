"""The live display fits every terminal, whatever it shows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset_worker.cli.screen.frames import frame, last_frame
from asset_worker.cli.screen.plain import progress_line
from asset_worker.cli.screen.scene import AssetRow, Scene, end_of_all, shares_rows
from asset_worker.cli.screen.spans import width_of, without_styles
from asset_worker.runtime.text import visible
from asset_worker.schedule.forecast import Forecast
from asset_worker.telemetry.problems import Problem, Reason

ID = "6298d673f1090f1100476d4c"
TEXTS = st.text(max_size=40)
SHOWN = TEXTS.map(visible)
LEFT = st.none() | st.builds(Forecast, st.floats(0, 1e6), st.floats(0, 1e6))
ROWS = st.builds(
    AssetRow,
    st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True),
    age=st.floats(0, 1e6),
    stage=SHOWN,
    filename=SHOWN,
    file_type=SHOWN,
    left=LEFT,
    outcome=st.sampled_from([None, "ready", "failed"]),
)
INSTANTS = st.none() | st.floats(0, 1e9)
PROBLEMS = st.builds(Problem, TEXTS, since=INSTANTS, last_error=st.none() | TEXTS, next_try=INSTANTS)
SCENES = st.builds(
    Scene,
    title=st.just("waiting"),
    elapsed=st.floats(0, 1e6),
    pending=st.integers(0, 10**6),
    requests=st.integers(0, 10**9),
    outcomes=st.dictionaries(st.sampled_from(["ready", "failed", "other"]), st.integers(1, 10**6)),
    waiting=st.dictionaries(st.sampled_from(["asset", "hls", "answer"]), st.integers(1, 10**6)),
    assets=st.none() | st.lists(ROWS, max_size=12),
    left=LEFT,
    problems=st.lists(PROBLEMS, max_size=5),
    listening_to=st.lists(TEXTS, max_size=3),
    is_stopping=st.booleans(),
    now=st.floats(0, 1e9),
)


@given(scene=SCENES, columns=st.integers(1, 200), rows=st.integers(0, 50))
def test_it_never_exceeds_the_terminal_and_nothing_in_it_controls_one(scene, columns, rows):
    lines = frame(scene, columns=columns, rows=rows)
    assert len(lines) <= rows
    for line in [*lines, *last_frame(scene, columns=columns)]:
        assert width_of(line) <= columns
        assert not any(character in without_styles(line) for character in "\x1b\n\r\x9b\u202e\u2028")


def texts(scene, columns=80, rows=24):
    return [without_styles(line) for line in frame(scene, columns=columns, rows=rows)]


def test_assets_that_have_no_room_are_counted():
    assets = [AssetRow(ID, age=number, stage="processing") for number in range(10)]
    found = texts(Scene(title="waiting", elapsed=1.0, pending=10, assets=assets), rows=6)
    assert [line.split()[-1] for line in found[1:4]] == ["0:00", "0:01", "0:02"]
    assert found[4:] == ["  and 7 more", "waiting: 0/10 done · 0 requests · 1 s"]


def test_more_problems_than_are_shown_are_counted():
    scene = Scene(
        title="waiting",
        elapsed=1.0,
        pending=1,
        problems=[Problem(Reason.API_UNAVAILABLE, f"problem {n}") for n in range(5)],
    )
    assert texts(scene)[-2:] == ["problem: problem 2", "and 2 more problems"]


def test_the_expected_end_says_of_how_many_assets_it_is_not_known():
    scene = Scene(title="x", elapsed=1.0, pending=99, left=Forecast(130, 300), unforeseen=1)
    assert texts(scene)[1] == "  expected end in ~2 min (up to 5 min), not known of 1 asset"
    assert progress_line(scene).startswith("x: 0/99 done; left ~2 min (up to 5 min), not known of 1 asset; ")


def test_a_problem_takes_as_many_lines_as_it_needs():
    problem = Problem(
        Reason.API_UNAVAILABLE,
        "the API is unavailable",
        since=60.0,
        last_error="503 Service Unavailable",
        next_try=75.0,
    )
    scene = Scene(title="waiting", elapsed=1.0, pending=1, problems=[problem], now=65.0, assets=[])
    times = "since 00:01:00 (5 s) · next try in 10 s"
    assert texts(scene, 120)[-1:] == [f"problem: the API is unavailable · {times} · 503 Service Unavailable"]
    assert texts(scene, 80)[-2:] == ["problem: the API is unavailable", f"  {times} · 503 Service Unavailable"]
    assert texts(scene, 50)[-2:] == [f"  {times}", "  503 Service Unavailable"]
    assert texts(
        Scene(title="x", elapsed=1.0, problems=[Problem(Reason.JOURNAL_FAILING, "the journal can't be written")]), 20
    )[-1] == ("problem: the journa…")


def test_a_run_that_has_ended_tries_nothing_again():
    scene = Scene(
        title="x",
        elapsed=1.0,
        pending=1,
        problems=[Problem(Reason.API_UNAVAILABLE, "the API is unavailable", next_try=9.0)],
    )
    assert [without_styles(line) for line in last_frame(scene, columns=80)][1:] == ["problem: the API is unavailable"]


def test_the_spinner_moves_only_while_something_is_pending():
    at = [{*texts(Scene(title="x", elapsed=seconds, pending=1))} for seconds in (0.0, 0.3)]
    assert at[0] != at[1]
    idle = [texts(Scene(title="x", elapsed=seconds, listening_to=["stdin"])) for seconds in (0.0, 3600.0)]
    assert idle[0] == idle[1] == ["listening to stdin; nothing pending"]


def test_a_run_that_is_about_to_end_says_so():
    assert "asset-worker, stopping" in texts(Scene(title="asset-worker", elapsed=1.0, pending=99, is_stopping=True))[0]
    idle = Scene(title="asset-worker", elapsed=1.0, listening_to=["stdin"], is_stopping=True, assets=[])
    assert texts(idle) == ["asset-worker, stopping: 0/0 done · 0 requests · 1 s"]


@pytest.mark.parametrize(
    ("pending", "total", "ends_by_itself", "has_rows"),
    [(1, 10, True, True), (1, 11, True, False), (10, 1_000, False, True), (11, 1_000, False, False)],
)
def test_few_assets_have_rows(pending, total, ends_by_itself, has_rows):
    assert shares_rows(pending=pending, total=total, ends_by_itself=ends_by_itself) is has_rows


@pytest.mark.parametrize(
    ("lefts", "expected"),
    [
        ([], None),
        ([None], None),
        ([Forecast(5, 9), None], Forecast(5, 9)),
        ([Forecast(5, 9)], Forecast(5, 9)),
        ([Forecast(5, 9), Forecast(4, 20), Forecast(1, 2)], Forecast(5, 20)),
        ([Forecast(5, 9)] * 3 + [Forecast(4, 20)], Forecast(20, 20)),
    ],
)
def test_the_end_of_all_is_that_of_the_slowest(lefts, expected):
    assert end_of_all(lefts) == expected
