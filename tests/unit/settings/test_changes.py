"""What a reload finds changed, and what of it is in force."""

from __future__ import annotations

from pathlib import Path

import pytest

from asset_worker.settings.changes import changed_keys, with_reloaded
from asset_worker.settings.loading import load
from asset_worker.settings.tree import Settings


def settings(**sections) -> Settings:
    return load(config=None, environ={}, overrides=sections)


@pytest.mark.parametrize(
    ("after", "keys"),
    [
        pytest.param({}, [], id="nothing"),
        pytest.param({"log": {"level": "debug"}}, ["log.level"], id="the log"),
        pytest.param({"api": {"key": "tlk_another"}}, ["api.key"], id="a secret, by its key only"),
        pytest.param(
            {"poll": {"max": 60}, "queue": {"file": Path("q")}, "events": {"sinks": ["-", "e"]}},
            ["poll.max", "queue.file", "events.sinks"],
            id="several, in the order of the tree",
        ),
    ],
)
def test_the_keys_of_settings_that_differ(after, keys):
    before = settings(api={"key": "tlk_one"})
    assert changed_keys(before, settings(**{"api": {"key": "tlk_one"}} | after)) == keys


def test_only_the_log_is_in_force_after_a_reload():
    before = settings(poll={"max": 40})
    after = settings(poll={"max": 60}, log={"level": "error", "format": "json"})
    in_force = with_reloaded(before, after)
    assert changed_keys(before, in_force) == ["log.format", "log.level"]
    assert changed_keys(in_force, after) == ["poll.max"]
