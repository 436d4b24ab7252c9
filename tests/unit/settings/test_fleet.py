"""The settings of a fleet, and the example of them."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from asset_worker import policies
from asset_worker.domain.run_plan import RunPlan
from asset_worker.settings.loading import load
from asset_worker.settings.tree import Settings

CONFIG = Path(__file__).parents[3] / "config"
EXAMPLE = CONFIG / "fleet.toml"
PROPOSED = re.sub(r"^# (\w+ = )", r"\1", EXAMPLE.read_text("utf-8"), flags=re.MULTILINE)
"""The example with its comments that are settings put into force."""
RECOMMENDED = {"queue.engine", "postgres.url_file", "api.key_file", "events.sinks", "events.secret_file"} | {
    "state.dir",
    "admin.port",
}
"""What the example sets to something else than the default. All else is shown with the default."""

each_text = pytest.mark.parametrize(
    "text", [pytest.param(EXAMPLE.read_text("utf-8"), id="as it is"), pytest.param(PROPOSED, id="with all it proposes")]
)


@each_text
def test_the_example_makes_a_worker_share_its_queue(text, tmp_path):
    (tmp_path / "fleet.toml").write_text(text)
    its = load(config=tmp_path / "fleet.toml", environ={}, overrides={})
    assert policies.shares_queue(its, RunPlan())
    assert its.fleet.name


@each_text
def test_an_editor_with_the_schema_takes_the_example(text):
    schema = json.loads((CONFIG / "schema.json").read_text())
    assert list(Draft202012Validator(schema).iter_errors(tomllib.loads(text))) == []


def test_the_example_shows_defaults_where_it_recommends_nothing_else(tmp_path):
    (tmp_path / "fleet.toml").write_text(EXAMPLE.read_text("utf-8"))
    its, default = load(config=tmp_path / "fleet.toml", environ={}, overrides={}), Settings()
    shown = {(section, name) for section, values in tomllib.loads(EXAMPLE.read_text()).items() for name in values}
    changed = {
        f"{section}.{name}"
        for section, name in shown
        if getattr(getattr(its, section), name) != getattr(getattr(default, section), name)
    }
    assert changed == RECOMMENDED
