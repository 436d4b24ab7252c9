"""Alerts from the log alone: the script is run on lines that the program has written.

Vector and Fluent Bit are not run: the Lua script is, in the versions of Lua that they have; of their configurations,
what they name is looked at.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog
import yaml
from lupa import lua54, luajit21

from asset_worker.runtime.redaction import Secrets
from asset_worker.telemetry.events import EVENTS
from asset_worker.telemetry.heartbeat import heartbeat_fields
from asset_worker.telemetry.logs import configure
from asset_worker.telemetry.problems import Problem, Reason
from tests.doubles.snapshots import snapshot
from tests.unit.test_alerts import ONLY_FROM_LOGS, RULES
from tests.unit.test_docs import anchors_of

ROOT = Path(__file__).parents[2]
LOGS = ROOT / "deploy" / "logs"
SCRIPT = (LOGS / "asset_worker_alerts.lua").read_text()
VECTOR = yaml.safe_load((LOGS / "vector.yaml").read_text())
FLUENT_BIT = yaml.safe_load((LOGS / "fluent-bit.yaml").read_text())
FILTERS = FLUENT_BIT["pipeline"]["filters"]
[PARSER] = FLUENT_BIT["parsers"]
LEVELS = {each.name: each.level.split(", ") for each in EVENTS}
FIELDS = {each.name: {"event", "level", "timestamp", *each.fields} for each in EVENTS}
NOW = 1_700_000_000
MINUTE = 60


class Watching:
    """The script, and what it makes of a log, minute by minute."""

    def __init__(self, runtime, capsys):
        self.now = NOW
        self._lua = runtime.LuaRuntime(unpack_returned_tuples=True)
        self._lua.execute(SCRIPT)
        self._capsys = capsys
        configure("json", "info", Secrets())

    def line(self, event, level="info", *, at=None, **fields):
        """The alerts after a line, as the program writes it."""
        getattr(structlog.get_logger(), level)(event, **fields)
        line = json.loads(self._capsys.readouterr().err)
        assert level in LEVELS[event]
        assert set(fields) <= FIELDS[event]
        return self.raw({**line, "host": "media-1", **({} if at is None else {"timestamp": at})})

    def raw(self, line):
        return self._plain(self._lua.globals().alerts_of(self._table(line), self.now))

    def heartbeat(self, *reasons, **state):
        """The alerts after the next heartbeat."""
        self.now += MINUTE
        problems = tuple(Problem(each, f"a sentence about {each.value}", since=1.0) for each in reasons)
        fields = heartbeat_fields(snapshot(problems=problems, **state))
        return self.line("worker.heartbeat", "warning" if problems else "info", **fields)

    def tick(self, seconds=30):
        self.now += seconds
        return self._plain(self._lua.globals().silence_of(self.now))

    def fluent_bit(self, tag, line):
        code, _, made = self._lua.globals().fluent_bit(tag, 1.5, self._table(line))
        return code, self._plain(made)

    def _table(self, value):
        match value:
            case dict():
                return self._lua.table_from({name: self._table(each) for name, each in value.items()})
            case list():
                return self._lua.table_from([self._table(each) for each in value])
            case _:
                return value

    def _plain(self, value):
        """Python's form of a table."""
        if not hasattr(value, "items"):
            return value
        found = {name: self._plain(each) for name, each in value.items()}
        return list(found.values()) if all(isinstance(name, int) for name in found) else found


@pytest.fixture(params=[lua54, luajit21], ids=["Vector", "Fluent Bit"])
def watching(request, capsys):
    return Watching(request.param, capsys)


def shown(alerts):
    """Names and severities, with the reasons of problems."""
    labels = [each["labels"] for each in alerts]
    return sorted(f"{each['alertname']} {each['severity']} {each.get('reason', '')}".strip() for each in labels)


def test_a_problem_that_lasts_ten_minutes_is_a_page_that_leads_to_its_section(watching):
    for _ in range(9):
        assert watching.heartbeat(Reason.KEY_REFUSED) == []
    for _ in range(2):
        assert watching.heartbeat(Reason.KEY_REFUSED) == [
            {
                "labels": {
                    "alertname": "AssetWorkerProblem",
                    "severity": "page",
                    "job": "asset-worker",
                    "instance": "media-1",
                    "reason": "key_refused",
                },
                "annotations": {
                    "summary": "media-1: a sentence about key_refused",
                    "runbook": "docs/runbook.md#assetworkerproblem",
                    "runbook_reason": "docs/runbook.md#key_refused",
                },
                "endsAt": datetime.fromtimestamp(watching.now + 3 * MINUTE, UTC).isoformat().replace("+00:00", "Z"),
            }
        ]
    assert watching.heartbeat() == []


def test_a_problem_that_comes_and_goes_is_none_that_lasts(watching):
    for _ in range(5):
        for _ in range(9):
            assert watching.heartbeat(Reason.KEY_REFUSED, Reason.SINK_DOWN) == []
        assert watching.heartbeat() == []


def test_two_sinks_that_are_down_are_one_alert(watching):
    for _ in range(9):
        assert watching.heartbeat(Reason.SINK_DOWN, Reason.SINK_DOWN) == []
    assert shown(watching.heartbeat(Reason.SINK_DOWN, Reason.SINK_DOWN)) == ["AssetWorkerProblem page sink_down"]


@pytest.mark.parametrize("reason", Reason)
def test_a_problem_is_as_urgent_as_the_rule_for_prometheus_says(watching, reason):
    page = next(
        each for each in RULES if each["alert"] == "AssetWorkerProblem" and each["labels"]["severity"] == "page"
    )
    [can_wait] = re.findall(r'reason!~"(.+)"', page["expr"])
    for _ in range(14):
        watching.heartbeat(reason)
    severity = "ticket" if reason.value in can_wait.split("|") else "page"
    assert shown(watching.heartbeat(reason)) == [f"AssetWorkerProblem {severity} {reason.value}"]


def test_a_problem_that_can_wait_is_a_ticket_after_fifteen_minutes(watching):
    for _ in range(14):
        assert watching.heartbeat(Reason.RATE_LIMITED) == []
    assert shown(watching.heartbeat(Reason.RATE_LIMITED)) == ["AssetWorkerProblem ticket rate_limited"]


def test_an_asset_past_its_deadline_is_a_page_unless_a_problem_explains_it(watching):
    for _ in range(20):
        assert watching.heartbeat(oldest_pending_age=14_400.0) == []
    for _ in range(2):
        assert watching.heartbeat(oldest_pending_age=0.0) == []
        for _ in range(14):
            assert watching.heartbeat(oldest_pending_age=14_401.0) == []
    assert shown(watching.heartbeat(oldest_pending_age=14_401.0)) == ["AssetWorkerPastDeadline page"]
    for _ in range(10):
        found = watching.heartbeat(Reason.API_UNAVAILABLE, oldest_pending_age=14_401.0)
    assert shown(found) == ["AssetWorkerProblem page api_unavailable"]


def test_no_heartbeat_for_three_minutes_is_a_page_whatever_else_comes(watching):
    watching.heartbeat()
    assert [watching.tick() for _ in range(6)] == [[]] * 6
    watching.line("asset.completed", asset_id="a", outcome="ready", reason=None, elapsed=1.0, polls=1)
    assert shown(watching.tick()) == ["AssetWorkerGone page"]
    watching.heartbeat()
    assert watching.tick() == []


def test_a_start_is_a_sign_of_life(watching):
    watching.heartbeat()
    watching.now += 2 * MINUTE
    watching.line("worker.started")
    assert watching.tick(2 * MINUTE) == []


def test_a_worker_that_was_never_heard_of_is_missed_after_three_minutes(watching):
    assert [watching.tick() for _ in range(7)] == [[]] * 7
    assert shown(watching.tick()) == ["AssetWorkerGone page"]


@pytest.mark.parametrize("form", ["text", "table"])
def test_four_starts_in_half_an_hour_are_a_page(watching, form):
    def at(minute):
        if form == "text":
            return f"2026-11-27T21:{minute:02d}:00.123456Z"
        return {"year": 2026, "month": 11, "day": 27, "hour": 21, "min": minute, "sec": 0, "nanosec": 5}

    found = [shown(watching.line("worker.started", at=at(minute))) for minute in (0, 10, 20, 31, 39)]
    assert found == [[], [], [], [], ["AssetWorkerRestarting page"]]


@pytest.mark.parametrize(("exit_code", "alerts"), [(0, []), (1, ["AssetWorkerFailed ticket"])])
def test_an_end_in_an_error_is_a_ticket(watching, exit_code, alerts):
    level = "error" if exit_code else "info"
    assert shown(watching.line("worker.stopped", level, exit_code=exit_code)) == alerts


def test_a_dead_letter_is_a_ticket_that_names_the_sink(watching):
    [found] = watching.line("sink.dead_letter", "error", sink="hooks", id="a.1", attempts=10, reason="HTTP 500")
    assert found["labels"]["sink"] == "hooks"
    assert shown([found]) == ["AssetWorkerDeadLetters ticket"]


@pytest.mark.parametrize(
    ("fields", "alerts"),
    [
        ({"source": "file:/q:3", "reason": "no"}, ["AssetWorkerRejectedLines ticket"]),
        ({"first": "file:/q:1", "last": "file:/q:9", "count": 9, "reason": "no"}, ["AssetWorkerRejectedLines ticket"]),
        ({"source": "http:3", "reason": "no"}, []),
    ],
)
def test_rejected_lines_are_a_ticket_unless_somebody_got_the_answer(watching, fields, alerts):
    assert shown(watching.line("intake.rejected", "warning", **fields)) == alerts


@pytest.mark.parametrize(
    "event",
    [
        "intake.gap",
        "intake.zeros",
        "intake.not_accepted",
        "sink.dropped",
        "dead_letters.pruned",
        "api.list_contradicted",
    ],
)
def test_what_may_be_lost_is_a_ticket_that_names_the_event(watching, event):
    [level] = LEVELS[event]
    [found] = watching.line(event, level)
    assert found["labels"]["event"] == event
    assert shown([found]) == ["AssetWorkerLoss ticket"]


def test_what_is_no_line_of_the_log_asks_for_nothing(watching):
    for line in (
        {"message": "Traceback", "parsed": False},
        {"event": "worker.stopped"},
        {"event": 5, "level": "x"},
        {},
    ):
        assert watching.raw(line) == []


def test_fluent_bit_drops_what_asks_for_nothing_and_takes_a_list_of_alerts(watching):
    assert watching.fluent_bit("alerts.tick", {"tick": True})[0] == -1
    assert watching.fluent_bit("alerts.line", {"event": "api.retry", "level": "warning"})[0] == -1
    code, alerts = watching.fluent_bit("alerts.line", {"event": "worker.stopped", "level": "error", "exit_code": 1.0})
    assert code == 2
    assert shown(alerts) == ["AssetWorkerFailed ticket"]
    assert alerts[0]["annotations"]["summary"].endswith("it has ended with exit code 1")


def test_names_are_those_of_the_rules_or_of_the_runbook_alone():
    named = set(re.findall(r'alert\("(\w+)", "?(\w+)', SCRIPT))
    rules = {(each["alert"], each["labels"]["severity"]) for each in RULES}
    own = {(name, "ticket") for name in ONLY_FROM_LOGS}
    assert named - {("AssetWorkerProblem", "severity")} <= rules | own
    assert own <= named
    assert {name.lower() for name, _ in named} <= anchors_of(ROOT / "docs" / "runbook.md")


def test_every_event_that_the_script_names_is_one_of_the_log():
    named = set(re.findall(r'"([a-z_]+\.[a-z_]+)"', SCRIPT))
    assert len(named) > 8
    assert named <= set(LEVELS)


def test_fluent_bit_passes_on_to_the_script_all_that_it_knows():
    [rules] = [each["rule"] for each in FILTERS if each["name"] == "rewrite_tag"]
    events, levels = (re.compile(rule.split()[1]) for rule in rules)
    assert [rule.split()[0] for rule in rules] == ["$event", "$level"]
    for event in re.findall(r'"([a-z_]+\.[a-z_]+)"', SCRIPT):
        assert events.fullmatch(event) or all(levels.fullmatch(level) for level in LEVELS[event]), event
    tags = {rule.split()[2] for rule in rules} | {each["tag"] for each in FLUENT_BIT["pipeline"]["inputs"]}
    assert tags == {"alerts.line", "alerts.tick", "asset_worker"}


def test_fluent_bit_reads_the_time_of_a_line(capsys):
    configure("json", "info", Secrets())
    structlog.get_logger().info("worker.stopping")
    written = json.loads(capsys.readouterr().err)["timestamp"]
    assert (PARSER["format"], PARSER["time_key"], PARSER["time_keep"]) == ("json", "timestamp", True)
    form = PARSER["time_format"].replace("%L", "%f") if "." in written else "%Y-%m-%dT%H:%M:%S%z"
    read = datetime.strptime(written, form)  # noqa: DTZ007 - its form has the zone
    assert read == datetime.fromisoformat(written)
    assert PARSER["time_format"].endswith("%L%z")


def test_parts_of_the_configurations_are_connected():
    assert {name: each["inputs"] for name, each in (VECTOR["transforms"] | VECTOR["sinks"]).items()} == {
        "lines": ["worker"],
        "alerts": ["lines"],
        "logs": ["lines"],
        "alerts_out": ["alerts"],
    }
    named = {each["parser"] for each in FILTERS if "parser" in each}
    assert named == {PARSER["name"]}
    assert [each["script"] for each in FILTERS if each["name"] == "lua"] == ["asset_worker_alerts.lua"]
    assert VECTOR["transforms"]["alerts"]["source"] == 'require("asset_worker_alerts")'
    calls = VECTOR["transforms"]["alerts"]["hooks"]["process"] + VECTOR["transforms"]["alerts"]["timers"][0]["handler"]
    for function in [*re.findall(r"(\w+_of)\(", calls), next(each["call"] for each in FILTERS if "call" in each)]:
        assert f"function {function}(" in SCRIPT


def test_what_is_not_sent_yet_is_kept_on_the_disk_within_limits():
    assert {each["buffer"]["type"] for each in VECTOR["sinks"].values()} == {"disk"}
    assert all(each["buffer"]["max_size"] >= 268_435_488 for each in VECTOR["sinks"].values()), "what Vector asks for"
    assert FLUENT_BIT["pipeline"]["inputs"][0]["storage.type"] == "filesystem"
    assert all({"storage.total_limit_size", "retry_limit"} <= set(each) for each in FLUENT_BIT["pipeline"]["outputs"])
