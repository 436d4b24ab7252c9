"""The dashboard for Grafana: it is up to date, well-formed, and about metrics that the program exports.

No Grafana is run here. What is checked of the form is what Grafana needs to import and lay out a dashboard.
"""

from __future__ import annotations

import json
import re
import runpy
from itertools import pairwise, product
from pathlib import Path

import pytest

from tests.unit.queries import problems_of_query, selectors_of
from tests.unit.test_docs import anchors_of

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "deploy" / "grafana"
TEXT = (GRAFANA / "dashboard.json").read_text()
DASHBOARD = json.loads(TEXT)
PANELS = [each for each in DASHBOARD["panels"] if each["type"] != "row"]
QUERIES = [(panel["title"], target) for panel in PANELS for target in panel["targets"]]
VARIABLES = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
UNITS = {"s", "short", "bytes", "cpm", "ops", "reqps"}
"""Those of Grafana's that are used: `cpm` counts a minute, `ops` operations and `reqps` requests a second."""

each_panel = pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])


def test_the_dashboard_is_what_its_script_writes(monkeypatch):
    monkeypatch.syspath_prepend(GRAFANA)
    assert runpy.run_path(str(GRAFANA / "generate.py"))["dashboard"]() == TEXT


@pytest.mark.parametrize(("title", "target"), QUERIES, ids=[f"{title}-{target['refId']}" for title, target in QUERIES])
def test_a_query_is_about_metrics_that_exist(title, target):
    query = target["expr"].replace("$__rate_interval", "5m")
    assert problems_of_query(query) == []
    labels = re.findall(r"{{(\w+)}}", target["legendFormat"])
    assert problems_of_query(f"sum by ({', '.join(labels)}) ({query})") == [], "its legend names what the series have"


@each_panel
def test_a_panel_shows_the_workers_that_the_variables_name(panel):
    for target in panel["targets"]:
        for selector in selectors_of(target["expr"].replace("$__rate_interval", "5m")):
            matchers = {each.name: each.value for each in selector.matchers.matchers}
            if selector.name != "ALERTS":  # that no worker is there at all has no instance
                assert matchers.items() >= {"job": "$job", "instance": "$instance"}.items()


@each_panel
def test_a_panel_says_how_to_read_it(panel):
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["type"] in {"stat", "timeseries", "state-timeline"}
    assert [each["refId"] for each in panel["targets"]] == ["A", "B"][: len(panel["targets"])]


def test_links_to_the_runbook_lead_to_a_section():
    named = set(re.findall(r"docs/runbook\.md#(\w+)", TEXT))
    assert len(named) > 5
    assert named <= anchors_of(ROOT / "docs" / "runbook.md")


def test_everything_asks_the_datasource_of_the_variable():
    assert VARIABLES["datasource"]["type"] == "datasource"
    assert VARIABLES["datasource"]["query"] == "prometheus"
    asked = [*PANELS, *(target for _, target in QUERIES), VARIABLES["job"], VARIABLES["instance"]]
    assert {json.dumps(each["datasource"]) for each in asked} == {'{"type": "prometheus", "uid": "${datasource}"}'}


def test_the_variables_are_the_labels_of_a_metric_that_each_worker_has():
    assert list(VARIABLES) == ["datasource", "job", "instance"]
    for name in ("job", "instance"):
        found = re.fullmatch(rf"label_values\((.+), {name}\)", VARIABLES[name]["definition"])
        assert found is not None
        assert problems_of_query(found[1]) == []
        assert VARIABLES[name]["query"]["query"] == VARIABLES[name]["definition"]


def test_panels_have_numbers_of_their_own_and_do_not_overlap():
    numbers = [each["id"] for each in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)
    cells = [
        (x, y)
        for place in (each["gridPos"] for each in DASHBOARD["panels"])
        for x, y in product(range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"]))
    ]
    assert len(set(cells)) == len(cells)
    assert {x for x, _ in cells} == set(range(24))
    assert all(later - earlier <= 1 for earlier, later in pairwise(sorted({y for _, y in cells}))), "there is no gap"


def test_the_rows_are_those_that_a_reader_needs_in_this_order():
    rows = [each["title"] for each in DASHBOARD["panels"] if each["type"] == "row"]
    assert rows == ["Is it well", "Assets", "API", "Delivery", "Fleet", "Process"]
    assert DASHBOARD["schemaVersion"] >= 36, "from Grafana 9 on"
