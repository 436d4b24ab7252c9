"""The alerting rules: each is tested, explained in the runbook, and about metrics that the program exports."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import promql_parser
import pytest
import yaml

from asset_worker.runtime.measures import LONG_SECONDS, SHORT_SECONDS
from tests.programs import program
from tests.unit.queries import LABELS, OF_TARGETS, VALUES, problems_of_query, selectors_of

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
[GROUP] = yaml.safe_load((DEPLOY / "alerts.yaml").read_text())["groups"]
RULES = GROUP["rules"]
NAMES = list(dict.fromkeys(rule["alert"] for rule in RULES))
ONLY_FROM_LOGS = ["AssetWorkerFailed", "AssetWorkerLoss"]
"""Alerts of deploy/logs that no metric can make."""
CASES = yaml.safe_load((DEPLOY / "alerts.test.yaml").read_text())["tests"]
BOUNDS = {*map(float, (*LONG_SECONDS, *SHORT_SECONDS)), float("inf")}

each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule['alert']}-{rule['labels']['severity']}")


def promtool(*arguments):
    done = subprocess.run(
        [program("promtool"), *arguments], cwd=DEPLOY, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_promtool_takes_the_rules():
    assert f"{len(RULES)} rules found" in promtool("check", "rules", "--lint=all", "alerts.yaml")


def test_the_rules_fire_and_stay_silent_as_their_tests_say():
    promtool("test", "rules", "alerts.test.yaml")


@pytest.mark.parametrize("name", NAMES)
def test_an_alert_has_a_test_in_which_it_fires_and_one_in_which_it_stays_silent(name):
    expected = [
        each["exp_alerts"] for case in CASES for each in case.get("alert_rule_test", ()) if each["alertname"] == name
    ]
    assert {bool(alerts) for alerts in expected} == {True, False}


@each_rule
def test_a_rule_fires_in_a_test_with_its_own_severity(rule):
    fired = {
        (each["alertname"], alert["exp_labels"]["severity"])
        for case in CASES
        for each in case.get("alert_rule_test", ())
        for alert in each["exp_alerts"]
    }
    assert (rule["alert"], rule["labels"]["severity"]) in fired


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_series_of_a_test_is_one_that_the_program_exports(case):
    for given in case["input_series"]:
        [selector] = selectors_of(given["series"])
        labels = {each.name: each.value for each in selector.matchers.matchers}
        assert set(labels) == LABELS[selector.name] | OF_TARGETS, given["series"]
        assert problems_of_query(given["series"]) == []
        assert "le" not in labels or float(labels["le"]) in BOUNDS, given["series"]


@each_rule
def test_a_rule_is_about_metrics_that_exist(rule):
    assert problems_of_query(rule["expr"]) == []


def test_a_rule_gives_way_only_to_alerts_that_come_before_it():
    """ALERTS must be up to date when the rule is evaluated."""
    for index, rule in enumerate(RULES):
        for selector in selectors_of(rule["expr"]):
            for matcher in selector.matchers.matchers:
                if matcher.name == "alertname":
                    assert set(matcher.value.split("|")) <= {each["alert"] for each in RULES[:index]}, rule["alert"]


@each_rule
def test_a_rule_says_how_urgent_it_is_what_it_means_and_where_to_read_on(rule):
    assert rule["labels"]["severity"] in VALUES["severity"]
    assert {"summary", "description", "runbook"} <= set(rule["annotations"])
    assert rule["annotations"]["runbook"] == f"docs/runbook.md#{rule['alert'].lower()}"
    assert rule["annotations"]["description"].endswith(".")


def test_the_runbook_has_a_section_for_each_alert_and_for_no_other():
    below = (ROOT / "docs" / "runbook.md").read_text().split("\n## Alerts\n", 1)[1]
    assert re.findall(r"^### (.+)$", below, re.MULTILINE) == [*NAMES, *ONLY_FROM_LOGS]


@pytest.mark.parametrize("path", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.name)
def test_a_query_in_the_docs_is_about_metrics_that_exist(path):
    """Of what stands in backticks, that which names a metric together with labels, a range or a function."""
    spans = re.findall(r"`([^`\n]*asset_worker_[^`\n]*)`", path.read_text())
    queries = [each for each in spans if re.search(r"[({\[]", each)]
    for query in queries:
        assert problems_of_query(query) == [], query


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("asset_worker_redy", "asset_worker_redy is no metric"),
        ('asset_worker_ready{reason="x"}', "asset_worker_ready has no label reason"),
        ('asset_worker_problem{reason=~"key_refused|sink_gone"}', "reason is never sink_gone"),
        (
            "sum by (sink) (rate(asset_worker_looks_total[5m]))",
            "asset_worker_looks_total has no label sink to group by",
        ),
        ("up and on (sink) asset_worker_sink_dead_letters", "up has no label sink to group by"),
        ("rate(asset_worker_detection_lag_seconds[5m])", "asset_worker_detection_lag_seconds is no metric"),
    ],
)
def test_a_query_about_what_does_not_exist_is_found(query, problem):
    assert problems_of_query(query) == [problem]


def test_a_query_that_is_no_query_is_found():
    with pytest.raises(ValueError, match="close"):
        promql_parser.parse("rate(asset_worker_looks_total[5m]")
