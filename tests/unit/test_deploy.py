"""What is deployed is well-formed, and agrees with the program."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
BIN = Path(sys.executable).parent


def checked(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_dockerfile_passes_its_linter():
    checked(BIN / "hadolint", DEPLOY / "Dockerfile")


def test_the_kubernetes_example_passes_its_schema():
    checked(BIN / "kubernetes-validate", "--strict", DEPLOY / "kubernetes.yaml")


def test_the_kubernetes_example_runs_the_worker_as_a_native_sidecar_on_the_uploaders_volume():
    documents = {
        document["kind"]: document for document in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
    }
    pod = documents["StatefulSet"]["spec"]["template"]["spec"]
    [sidecar], [uploader] = pod["initContainers"], pod["containers"]
    assert sidecar["restartPolicy"] == "Always"
    spools = [next(m for m in c["volumeMounts"] if m["name"] == "spool") for c in (sidecar, uploader)]
    assert spools[0] == spools[1]
    assert pod["terminationGracePeriodSeconds"] > 25


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze comes with systemd, not from an index")
def test_the_unit_passes_systemds_check(tmp_path):
    unit = (DEPLOY / "asset-worker.service").read_text().replace("/opt/asset-worker/bin/asset-worker", "/bin/true")
    (tmp_path / "asset-worker.service").write_text(unit)
    # It exits 0 on an unknown key, with a line on stderr.
    assert checked("systemd-analyze", "verify", tmp_path / "asset-worker.service") == ""


def test_the_unit_does_not_start_again_what_cannot_start():
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment]
    unit.read(DEPLOY / "asset-worker.service")
    assert unit["Service"]["RestartPreventExitStatus"] == "2"
    assert int(unit["Service"]["TimeoutStopSec"]) > 25
