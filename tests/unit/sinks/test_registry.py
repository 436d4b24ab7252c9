"""The registry of sinks: a sink is one module and one line, imported when it is first used."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import cast

import pytest

import asset_worker.sinks.file.sink
import asset_worker.sinks.stdout
import asset_worker.sinks.webhook.sink
from asset_worker.runtime.redaction import Secrets
from asset_worker.settings.tree import Settings
from asset_worker.sinks import registry
from asset_worker.sinks.file.sink import FileSink
from asset_worker.sinks.ports import SinkContext
from asset_worker.sinks.registry import FORMS, SinkModule, checked_target, open_sink
from asset_worker.sinks.stdout import StdoutSink
from asset_worker.sinks.webhook.target import WebhookTarget
from tests.doubles.clocks import ManualClock

STDOUT: SinkModule[str] = asset_worker.sinks.stdout
FILE: SinkModule[str] = asset_worker.sinks.file.sink
WEBHOOK: SinkModule[WebhookTarget] = asset_worker.sinks.webhook.sink
"""The type checker holds the modules to the protocol."""
CONTEXT = SinkContext(ManualClock(), Secrets())


@pytest.mark.parametrize(
    ("target", "kind", "name"),
    [
        pytest.param("-", StdoutSink, "stdout", id="stdout"),
        pytest.param("/tmp/e", FileSink, "file:/tmp/e", id="a path"),
        pytest.param("/tmp/-", FileSink, "file:/tmp/-", id="a file of an odd name"),
    ],
)
def test_the_form_of_a_target_decides_its_sink(target: str, kind: type, name: str):
    sink = open_sink(checked_target(target), CONTEXT)
    assert isinstance(sink, kind)
    assert sink.name == name


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        pytest.param("-", "-", id="stdout"),
        pytest.param("./-", "./-", id="a file of that name stays a file"),
        pytest.param("e", "e", id="a relative path"),
        pytest.param("~/e", "/home/ada/e", id="a home directory"),
    ],
)
def test_a_target_as_the_settings_keep_it(target: str, expected: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/home/ada")
    assert checked_target(target) == expected


@pytest.mark.parametrize(
    ("target", "error"),
    [
        pytest.param("", "name a file, an https:// URL, or - for stdout", id="empty"),
        pytest.param(" ", "name a file, an https:// URL, or - for stdout", id="blank"),
        pytest.param("ftp://x", r"events go to stdout \(-\), to a file, or to an https:// URL", id="another URL"),
        pytest.param("https:/x/hooks", "write the URL as https://HOST/PATH", id="a URL without a slash"),
        pytest.param("http:x", "write the URL as https://HOST/PATH", id="a URL without slashes"),
        pytest.param("/a://b", "there is no sink for other URLs", id="almost a URL"),
        pytest.param("a\0b", "NUL", id="no path"),
        pytest.param("~nobody-here/e", "nobody here", id="no user"),
    ],
)
def test_a_target_that_can_not_be_used_is_refused(target: str, error: str):
    with pytest.raises(ValueError, match=error):
        checked_target(target)


def test_a_new_sink_is_a_module_and_a_line(monkeypatch: pytest.MonkeyPatch):
    """The settings accept its targets without another change."""
    opened: list[object] = []
    module = SimpleNamespace(checked_target=str.lower, open_sink=lambda *how: opened.append(how))
    monkeypatch.setitem(sys.modules, "a_new_sink", module)
    monkeypatch.setitem(cast("dict[str, str]", registry.FORMS), "queue", "a_new_sink")
    [target] = Settings.model_validate({"events": {"sinks": ["QUEUE://Somewhere"]}}).events.targets
    open_sink(target, CONTEXT)
    assert opened == [("queue://somewhere", CONTEXT)]


def test_every_form_has_a_module():
    for module in FORMS.values():
        assert module in sys.modules
