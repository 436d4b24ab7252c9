"""What the status page says."""

from __future__ import annotations

import msgspec
import pytest

from asset_worker.domain.assets import AssetId
from asset_worker.domain.progress import Progress
from asset_worker.domain.worker_report import InputReport, QuotaReport
from asset_worker.schedule.forecast import Forecast
from asset_worker.schedule.report import Brief
from asset_worker.telemetry.page.facts import Facts, InputFacts
from asset_worker.telemetry.page.texts import Instant, instant
from asset_worker.telemetry.page.view import Count, view_of
from asset_worker.telemetry.problems import ADVICE, Problem, Reason
from asset_worker.telemetry.values.deliveries import SinkState
from asset_worker.telemetry.waiting import WaitingAsset
from tests.doubles.facts import NOW, facts, finished


def replaced(base: Facts, **fields) -> Facts:
    return msgspec.structs.replace(base, **fields)


KEY = Problem(Reason.KEY_REFUSED, "the API refuses the key", NOW - 3_725, "401 expired", NOW + 12.4)
LETTERS = [SinkState("hooks", 0, 0.0, 3, None)]


@pytest.mark.parametrize(
    ("given", "state", "headline", "detail"),
    [
        pytest.param(facts(), "well", "All is well", "0 assets pending.", id="idle"),
        pytest.param(facts(pending=1), "well", "All is well", "1 asset pending.", id="one"),
        pytest.param(facts(pending=1_000_000), "well", "All is well", "1,000,000 assets pending.", id="a million"),
        pytest.param(
            facts(problems=(KEY,), pending=7),
            "problem",
            "1 problem",
            "7 assets pending; nothing is lost.",
            id="problem",
        ),
        pytest.param(
            facts(problems=(KEY, KEY)), "problem", "2 problems", "0 assets pending; nothing is lost.", id="problems"
        ),
        pytest.param(
            facts(sinks=LETTERS),
            "attention",
            "All is well, except for 3 dead letters",
            "0 assets pending.",
            id="letters",
        ),
        pytest.param(
            replaced(facts(), is_stopping=True),
            "attention",
            "The worker is stopping",
            "What is pending is kept for the next start.",
            id="stopping",
        ),
        pytest.param(
            facts(problems=(KEY,), sinks=LETTERS),
            "problem",
            "1 problem",
            "0 assets pending; nothing is lost.",
            id="both",
        ),
    ],
)
def test_the_first_line_says_whether_all_is_well(given, state, headline, detail):
    found = view_of(given)
    assert (found.state, found.headline, found.detail) == (state, headline, detail)
    assert found.care == ("3 dead letters to look at" if given.state.sinks else "")


def test_the_title_of_the_tab_says_what_is_wrong_and_where():
    assert view_of(facts(problems=(KEY,))).title == "✕ the API refuses the key – asset-worker on media-1"
    assert view_of(facts()).title == "✓ All is well – asset-worker on media-1"


def test_a_problem_is_shown_with_since_last_error_next_try_and_what_to_do():
    [card] = view_of(facts(problems=(KEY,))).problems
    assert (card.anchor, card.text, card.last_error) == ("key_refused", "The API refuses the key.", "401 expired")
    assert card.since == Instant("2026-11-27T01:53:07.000Z", "01:53:07 UTC", "1 h 2 min ago")
    assert card.lasted == "1 h 2 min"
    assert card.next_try is not None
    assert (card.next_try.text, card.next_try.distance) == ("02:55:24 UTC", "in 12 s")
    assert card.advice == ADVICE[Reason.KEY_REFUSED]
    assert card.runbook == "docs/runbook.md#key_refused"


def test_a_next_try_that_is_due_is_now_and_not_in_the_past():
    [card] = view_of(facts(problems=(msgspec.structs.replace(KEY, next_try=NOW - 5),))).problems
    assert card.next_try is not None
    assert card.next_try.text == "02:55:12 UTC"


def test_a_problem_of_which_little_is_known_is_shown_with_that():
    [card] = view_of(facts(problems=(Problem(Reason.JOURNAL_FAILING, "the journal can't be written"),))).problems
    assert (card.since, card.lasted, card.last_error, card.next_try) == (None, "", "", None)


def test_an_instant_of_another_day_has_its_date():
    assert instant(NOW - 86_400, NOW).text == "26 Nov 2026, 02:55:12 UTC"
    assert instant(NOW - 10_512, NOW).text == "00:00:00 UTC"


def test_pending_assets_are_counted_by_what_they_wait_for_the_most_first():
    found = view_of(facts(pending=9, waiting_on={"hls": 2, "asset": 6, "visibility": 1, "thumbnail": 0}))
    assert found.stages == [Count("processing", "6"), Count("hls", "2"), Count("not visible yet", "1")]


def test_a_pending_asset_is_shown_with_name_age_stage_and_expected_time():
    waiting = [
        WaitingAsset(AssetId("a"), 75.0, None, Progress(waiting_on=("hls", "thumbnail")), Forecast(100.0, 290.0)),
        WaitingAsset(AssetId("b"), 9.0, 0.2, Progress()),
        WaitingAsset(AssetId("c"), 9.0, 12.9, Progress(waiting_on=("asset",))),
    ]
    found = view_of(replaced(facts(pending=5), waiting=waiting, names={AssetId("a"): "clip.mp4"}))
    assert [(each.filename, each.stage, each.age, each.left, each.next_look) for each in found.waiting] == [
        ("clip.mp4", "hls + thumbnail", "1 min 15 s", "~2 min (up to 5 min)", "looking now"),
        ("", "first look", "9 s", "", "due"),
        ("", "processing", "9 s", "", "in 12 s"),
    ]
    assert found.more_waiting == "2"


@pytest.mark.parametrize(
    ("outcome", "style", "mark"),
    [("ready", "well", "✓"), ("degraded", "attention", "!"), ("timed_out", "problem", "✕")],
)
def test_an_outcome_has_a_sign_besides_its_colour(outcome, style, mark):
    [row] = view_of(replaced(facts(), finished=[finished(outcome=outcome)])).finished
    assert (row.style, row.mark) == (style, mark)


def test_a_finished_asset_is_shown_with_when_how_long_and_its_links():
    addresses = {"hls": "https://cdn.example/a.m3u8?x=1&y=2", "thumbnail": "http://cdn.example/a.jpg"}
    [row] = view_of(replaced(facts(), finished=[finished(addresses=addresses, reason="why")])).finished
    assert (row.at.text, row.at.distance, row.took, row.reason) == ("02:54:12 UTC", "1 min ago", "12.5 s", "why")
    assert [(each.name, each.address) for each in row.links] == [("hls", "https://cdn.example/a.m3u8?x=1&y=2")]


DOWN = Problem(Reason.SINK_DOWN, "the sink hooks is down")
PAUSED = Problem(Reason.SINK_PAUSED, "the sink my hooks is paused")


def test_a_sink_is_shown_with_the_command_that_helps():
    sinks = [
        SinkState("file:e", 0, 0.0, 0, None),
        SinkState("hooks", 1_200, 3_600.0, 3, DOWN),
        SinkState("my hooks", 1, 5.0, 0, PAUSED),
    ]
    fine, down, paused = view_of(facts(sinks=sinks)).sinks
    assert (fine.state, fine.is_wrong, fine.oldest, fine.commands) == ("works", False, "", [])
    assert (down.state, down.backlog, down.oldest, down.dead_letters) == ("the sink hooks is down", "1,200", "1 h", "3")
    where = "--state-dir /var/lib/asset-worker"
    assert down.commands == [
        f"asset-worker dead-letters list --sink hooks {where}",
        f"asset-worker dead-letters retry --sink hooks {where}",
    ]
    assert paused.commands == [f"asset-worker dead-letters retry --sink 'my hooks' {where}"]


@pytest.mark.parametrize(
    ("one", "state", "position", "behind"),
    [
        (InputFacts("queue file", InputReport(812, 0)), "has been read to its end", "812 bytes", "0 bytes"),
        (InputFacts("queue file", InputReport(4_812_331, 1)), "is being read", "4.8 MB", "1 byte"),
        (InputFacts("account"), "is followed", "", ""),
        (InputFacts("queue file", InputReport(1_000, 0), "q: denied"), "can't be read: q: denied", "1.0 kB", "0 bytes"),
    ],
)
def test_an_input_is_shown_with_how_far_it_was_read(one, state, position, behind):
    [row] = view_of(replaced(facts(), inputs=[one])).inputs
    assert (row.state, row.position, row.behind, row.is_wrong) == (state, position, behind, one.unreadable is not None)


def test_a_quota_is_shown_with_what_is_left_of_it():
    quotas = [QuotaReport("minute", 600, 150, 23.9), QuotaReport("odd", 0, 5, 1.0), QuotaReport("more", 10, 50, 1.0)]
    first, odd, more = view_of(facts(quotas=quotas)).quotas
    assert (first.text, first.width, first.resets) == ("150 of 600 requests left", 25.0, "renewed in 23 s")
    assert (odd.width, more.width) == (0.0, 100.0)


def test_what_was_learned_is_shown_in_short():
    learned = [
        Brief("asset video/mp4 direct", 840.4, 41.0, 118.0, 260.0, 3.12, 1.44),
        Brief("x", 1, 2, 3, 4, None, None),
    ]
    found = view_of(replaced(facts(), learned=learned)).learned
    assert found is not None
    first, second = found
    assert (first.seen, first.half, first.most, first.nearly_all, first.looks, first.lag) == (
        "840", "40 s", "2 min", "4 min", "3.1", "1.4 s",
    )  # fmt: skip
    assert (second.looks, second.lag) == ("–", "–")


def test_a_count_of_due_assets_that_stopped_at_its_limit_says_so():
    assert Count("due now", "1,000 or more") in view_of(facts(due=1000)).figures
    assert Count("due now", "999") in view_of(facts(due=999)).figures
