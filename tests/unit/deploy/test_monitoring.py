"""deploy/kubernetes/monitoring: what the Prometheus operator reads is well-formed, and made from the alerting rules."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from textwrap import indent

import jsonschema
import pytest
import yaml

from tests.programs import checked, program
from tests.unit.deploy.manifests import MONITORING, OVERLAYS, PODMONITOR, ROOT, container
from tests.unit.deploy.rendering import committed, documents_of

DEPLOY = ROOT / "deploy"
SOURCES = ("alerts.yaml", "alerts.kubernetes.yaml")
[KUBERNETES_RULE] = yaml.safe_load((DEPLOY / "alerts.kubernetes.yaml").read_text())["groups"][0]["rules"]
SCHEMA = json.loads((Path(__file__).parent / "podmonitor.schema.json").read_text())


def prometheus_rule(source):
    """The text of a file of rules as a PrometheusRule."""
    head = f"""\
# Made from deploy/{source}: change it there, and make this again with
# RENEW_MANIFESTS=1 pytest tests/unit/deploy
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: {source.removesuffix(".yaml").replace("alerts", "asset-worker").replace(".", "-")}
spec:
"""
    return head + indent((DEPLOY / source).read_text(), "  ")


def test_the_prometheus_rules_are_made_from_the_alerts():
    made = "---\n".join(map(prometheus_rule, SOURCES))
    assert committed(MONITORING / "prometheusrule.yaml", made) == made


def test_the_folder_renders_the_monitor_and_all_rules():
    rendered = {(each["kind"], each["metadata"]["name"]): each["spec"] for each in documents_of(MONITORING)}
    names = ("asset-worker", "asset-worker-kubernetes")
    rules = {
        ("PrometheusRule", name): yaml.safe_load((DEPLOY / source).read_text())
        for name, source in zip(names, SOURCES, strict=True)
    }
    assert rendered == {("PodMonitor", "asset-worker"): PODMONITOR["spec"], **rules}


def test_the_pod_monitor_passes_its_schema_and_a_misspelt_field_does_not():
    jsonschema.validate(PODMONITOR, SCHEMA)
    wrong = json.loads(json.dumps(PODMONITOR).replace('"interval"', '"intervall"'))
    with pytest.raises(jsonschema.ValidationError, match="intervall"):
        jsonschema.validate(wrong, SCHEMA)


def test_the_rules_for_kubernetes_fire_and_stay_silent_as_their_tests_say(tmp_path):
    for name in (*SOURCES, "alerts.kubernetes.test.yaml"):
        shutil.copy(DEPLOY / name, tmp_path)
    checked(program("promtool"), "check", "rules", "--lint=all", tmp_path / "alerts.kubernetes.yaml")
    checked(program("promtool"), "test", "rules", tmp_path / "alerts.kubernetes.test.yaml")


def test_the_rule_for_kubernetes_is_one_that_the_runbook_explains_and_finds_the_workers_of_each_overlay():
    [known] = [
        rule
        for rule in yaml.safe_load((DEPLOY / "alerts.yaml").read_text())["groups"][0]["rules"]
        if (rule["alert"], rule["labels"]) == (KUBERNETES_RULE["alert"], KUBERNETES_RULE["labels"])
    ]
    assert KUBERNETES_RULE["annotations"]["runbook"] == known["annotations"]["runbook"]
    names = set(re.findall(r'container="([^"]+)"', KUBERNETES_RULE["expr"]))
    for overlay in OVERLAYS:
        assert all(container(overlay, name)["resources"]["requests"] for name in names)
