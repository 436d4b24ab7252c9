"""What most runs don't need is not loaded for them: it would take a tenth of a second at each start."""

from __future__ import annotations

import subprocess
import sys

import pytest

FOR_FEW = ("jinja2", "opentelemetry", "prometheus_client", "asset_worker.telemetry.page", "asset_worker.overview")


@pytest.mark.parametrize("modules", ["asset_worker.cli.wait", "asset_worker.cli.run, asset_worker.service"])
def test_a_command_loads_neither_templates_nor_metrics_nor_traces(modules):
    code = f"import sys, {modules}; print(*[each for each in {FOR_FEW} if each in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("\n", "")
