"""The settings of webhooks: a URL, or a table in events.sinks."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from asset_worker.settings.changes import changed_keys
from asset_worker.settings.loading import SettingsError, load
from asset_worker.settings.showing import as_toml, json_schema
from asset_worker.settings.tree import Settings
from asset_worker.settings.webhook import Webhook
from asset_worker.sinks.webhook.target import WebhookTarget

URL = "https://app.example/hooks"
LOCAL = "http://127.0.0.1:8123/hooks"
DEFAULT_RETRY = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)


def loaded(*sinks: object, environ: dict[str, str] | None = None, **events: object) -> Settings:
    given = {"sinks": list(sinks) or None} | {"secret_file": "/run/secrets"} | events
    return load(config=None, environ=environ or {}, overrides={"events": given})


def webhook(*sinks: object, **how: Any) -> WebhookTarget:
    [target] = loaded(*sinks, **how).events.targets
    assert isinstance(target, WebhookTarget)
    return target


def problem(*sinks: object, **how: Any) -> str:
    with pytest.raises(SettingsError) as raised:
        loaded(*sinks, **how)
    [text] = raised.value.problems
    return text


def test_a_url_is_a_webhook_with_every_default():
    """Each is a public promise."""
    found = webhook(URL)
    assert found == WebhookTarget(
        url=URL,
        name="https://app.example/hooks#3382dd71",
        secret_file=Path("/run/secrets"),
        outcomes=None,
        headers={},
        timeout=15,
        concurrency=8,
        mode="structured",
        retry=DEFAULT_RETRY,
        allow_private=False,
    )
    assert webhook({"url": URL}) == found


def test_a_table_says_more():
    found = webhook(
        {
            "url": f" {URL} ",
            "name": "hooks",
            "secret_file": "~/s",
            "outcomes": ["failed", "timed_out"],
            "headers": {"X-Team": " films ", "Authorization": {"file": "/run/token"}},
            "timeout": "1m30s",
            "concurrency": 2,
            "mode": "binary",
            "retry": ["500ms", 2, "1h"],
            "allow_private": True,
        }
    )
    assert found == WebhookTarget(
        url=URL,
        name="hooks",
        secret_file=Path("~/s").expanduser(),
        outcomes=frozenset({"failed", "timed_out"}),
        headers={"X-Team": "films", "Authorization": Path("/run/token")},
        timeout=90,
        concurrency=2,
        mode="binary",
        retry=(0.5, 2, 3600),
        allow_private=True,
    )


def test_an_empty_plan_is_one_attempt_alone():
    assert webhook({"url": URL, "retry": []}).retry == ()


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (URL, 1),
        (f"-,{URL},/tmp/e", 3),
        (f'[{{"url": "{URL}", "timeout": 5}}, "-"]', 2),
        (f'{{"url": "{URL}"}}', 1),
    ],
    ids=["a URL", "commas", "JSON", "a table alone"],
)
def test_webhooks_from_the_environment(text: str, count: int):
    settings = loaded(environ={"ASSET_WORKER_EVENTS__SINKS": text})
    assert len(settings.events.sinks) == count
    assert sum(isinstance(each, Webhook) for each in settings.events.sinks) == 1


@pytest.mark.parametrize("form", ["[[events.sinks]]", "[events.sinks]"])
def test_a_table_of_a_file_may_have_its_keys_on_lines(tmp_path: Path, form: str):
    file = tmp_path / "worker.toml"
    file.write_text(f'{form}\nurl = "{LOCAL}"\ntimeout = "5s"\n')
    [target] = load(config=file, environ={}, overrides={}).events.targets
    assert isinstance(target, WebhookTarget)
    assert target.timeout == 5


def test_a_flag_replaces_the_sinks_and_keeps_the_secrets(tmp_path: Path):
    file = tmp_path / "worker.toml"
    file.write_text('[events]\nsinks = ["-"]\nsecret_file = "/run/one"\n')
    [target] = load(config=file, environ={}, overrides={"events": {"sinks": [URL]}}).events.targets
    assert isinstance(target, WebhookTarget)
    assert target.secret_file == Path("/run/one")


@pytest.mark.parametrize("url", [URL, "https://10.0.0.7/", "https://localhost.example/"])
def test_a_webhook_elsewhere_needs_a_secret(url: str):
    text = problem(url, secret_file=None)
    assert text.startswith("--events: requests to https://")
    assert "events.secret_file" in text
    assert "or secret_file in the table" in text
    assert "openssl rand" in text
    assert webhook({"url": url, "secret_file": "/run/s"}, secret_file=None).secret_file == Path("/run/s")


@pytest.mark.parametrize("events", [{"secret_file": "whsec_c2Vj/cmV0"}, {}], ids=["all webhooks", "one"])
def test_a_secret_in_the_place_of_its_file_is_refused_and_not_shown(events: dict[str, str]):
    text = problem(URL if events else {"url": URL, "secret_file": "whsec_c2Vj/cmV0"}, **events)
    assert text.endswith("secret_file: it must be the path of a file, and not a secret: put the secret into a file")


def test_the_schema_has_the_longest_delay_of_a_plan():
    """As the keyword that editors understand."""
    assert '"maximum": 2678400' in json.dumps(json_schema())


@pytest.mark.parametrize("url", [LOCAL, "http://localhost:1/", "https://[::1]/"])
def test_a_webhook_on_this_machine_needs_none(url: str):
    assert webhook(url, secret_file=None).secret_file is None


def test_what_is_wrong_with_a_url_does_not_show_its_secrets():
    for url in ("https://u:S3CRET@x/?S3CRET", "https://u:S3CRET@x/#S3CRET", "http://u:S3CRET@x/?S3CRET"):
        assert "S3CRET" not in problem({"url": url, "name": "-"} if "#" not in url and "https" in url else url)
    assert "S3CRET" not in problem("https://u:S3CRET@x/?S3CRET", secret_file=None)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        pytest.param({}, "--events, entry 1, url: it is missing", id="no URL"),
        pytest.param({"url": "x"}, "url: write the URL as https://HOST/PATH", id="a path as URL"),
        pytest.param({"url": "-"}, "url: write the URL as https://HOST/PATH", id="stdout as URL"),
        pytest.param({"url": 5}, "url: it must be text", id="a number as URL"),
        pytest.param({"url": "ftp://x/"}, "url: write the URL as https://HOST/PATH", id="another scheme"),
        pytest.param({"url": "http://x/"}, "--events, entry 1: plain http would show", id="plain http"),
        pytest.param(
            {"urll": URL, "url": URL}, "entry 1: there is no 'urll' in this table: did you mean url?", id="a slip"
        ),
        pytest.param({"url": URL, "xyzzy": 1}, "it may have url, name, secret_file, outcomes", id="an unknown key"),
        pytest.param({"url": URL, "name": "stdout"}, "name: - and stdout are names", id="a name of stdout"),
        pytest.param({"url": URL, "name": "file:/e"}, "choose another name", id="a name of a file"),
        pytest.param({"url": URL, "name": 5}, "name: it must be text", id="a number as name"),
        pytest.param({"url": URL, "secret_file": ""}, "secret_file: it is empty", id="an empty path"),
        pytest.param(
            {"url": URL, "outcomes": ["redy"]},
            "outcomes, entry 1: there is no such outcome: did you mean ready?",
            id="a slip in an outcome",
        ),
        pytest.param(
            {"url": URL, "outcomes": ["x"]},
            "choose from ready, degraded, failed, not_found, timed_out, rejected",
            id="no outcome",
        ),
        pytest.param({"url": URL, "outcomes": [5]}, "there is no such outcome", id="a number as outcome"),
        pytest.param({"url": URL, "outcomes": []}, "outcomes: it must not be empty", id="no outcomes"),
        pytest.param(
            {"url": URL, "headers": {"X": 5}},
            'headers, X: it must be text, or a table {file = "PATH"}',
            id="a number as header",
        ),
        pytest.param(
            {"url": URL, "headers": {"X": {"file": "/h", "fil": 1}}}, "did you mean file?", id="a slip in a header"
        ),
        pytest.param({"url": URL, "headers": {"X": {}}}, "headers, X, file: it is missing", id="a table without file"),
        pytest.param(
            {"url": URL, "headers": {"X": "S3CRET\r\nY: z"}}, "headers, X: the value of the header", id="a line break"
        ),
        pytest.param({"url": URL, "headers": {"webhook-id": "x"}}, "set by the worker itself", id="our header"),
        pytest.param({"url": URL, "headers": []}, "headers: it must be a table", id="a list as headers"),
        pytest.param(
            {"url": "https://u:p@x/", "headers": {"authorization": "x"}}, "leave one of them out", id="two credentials"
        ),
        pytest.param({"url": URL, "timeout": 0}, "timeout: it must be more than 0", id="no time"),
        pytest.param(
            {"url": URL, "timeout": "15"}, "timeout: it must be a number of seconds, or text with units", id="no unit"
        ),
        pytest.param({"url": URL, "concurrency": 0}, "concurrency: it must be 1 or more", id="no requests"),
        pytest.param({"url": URL, "concurrency": 1001}, "concurrency: it must be 1000 or less", id="too many requests"),
        pytest.param({"url": URL, "mode": "batch"}, "mode: it must be 'structured' or 'binary'", id="another mode"),
        pytest.param(
            {"url": URL, "retry": ["5s", "x"]}, "retry, entry 2: it must be a number of seconds", id="no duration"
        ),
        pytest.param({"url": URL, "retry": [0]}, "retry, entry 1: it must be more than 0", id="no wait"),
        pytest.param({"url": URL, "retry": ["32d"]}, "retry, entry 1: it must be 2678400 or less", id="a long wait"),
        pytest.param({"url": URL, "retry": 5}, "retry: it must be a list", id="a number as plan"),
        pytest.param(
            {"url": URL, "allow_private": "yes"}, "allow_private: it must be true or false", id="a word for a boolean"
        ),
    ],
)
def test_what_is_wrong_in_a_table_is_one_plain_line(table: dict[str, object], said: str):
    text = problem(table)
    assert said in text
    assert "S3CRET" not in text
    assert "\n" not in text


@pytest.mark.parametrize("wrong", [5, None, True, []], ids=repr)
def test_a_target_is_text_or_a_table(wrong: object):
    assert problem(wrong) == "--events: it must be -, a path, a URL, or a table with a url"


def test_the_entry_of_a_list_is_counted_from_one():
    assert problem("-", {"url": URL, "timeout": 0}).startswith("--events, entry 2, timeout: ")


def test_all_names_differ():
    assert "two sinks have the name" in problem(URL, URL)
    assert "two sinks have the name 'a'" in problem({"url": URL, "name": "a"}, {"url": LOCAL, "name": "a"})
    assert len(loaded(URL, {"url": URL, "name": "other"}, f"{URL}?x").events.targets) == 3


def test_settings_show_where_secrets_are_and_not_what_they_are():
    settings = loaded(
        "-",
        {
            "url": "https://S3CRETuser:S3CRETpass@app.example/hooks?t=S3CRETquery",
            "headers": {"X-A": "S3CRETheader", "X.B": {"file": "/run/token"}},
        },
    )
    for text in (
        repr(settings),
        str(settings),
        as_toml(settings),
        settings.model_dump_json(),
        repr(settings.events.targets),
    ):
        assert "S3CRET" not in text
    [dash, table] = tomllib.loads(as_toml(settings))["events"]["sinks"]
    assert dash == "-"
    assert table["url"] == "https://********@app.example/hooks?********"
    assert table["headers"] == {"X-A": "********", "X.B": {"file": "/run/token"}}
    assert table["name"].startswith("https://app.example/hooks#")


def test_what_config_prints_of_a_webhook_is_a_settings_file(tmp_path: Path):
    table = {
        "url": LOCAL,
        "name": 'a "b"',
        "outcomes": ["ready"],
        "retry": [0.5, "1d"],
        "headers": {"X": {"file": "/h"}},
    }
    settings, file = loaded(table), tmp_path / "worker.toml"
    file.write_text(as_toml(settings))
    assert load(config=file, environ={}, overrides={}) == settings


def test_a_changed_webhook_needs_a_restart():
    assert changed_keys(loaded(URL), loaded({"url": URL, "timeout": 5})) == ["events.sinks"]
    assert changed_keys(loaded(URL), loaded({"url": URL})) == []


def test_only_targets_of_this_machine_are_compared_with_inputs():
    assert loaded("-", URL, "/e").events.local_targets == ("-", "/e")


@pytest.mark.parametrize(
    ("sinks", "is_valid"),
    [
        ([URL, {"url": URL, "timeout": "15s", "retry": ["5s", 10], "headers": {"X": {"file": "/h"}, "Y": "z"}}], True),
        ([{"url": URL, "urll": URL}], False),
        ([{"timeout": 5}], False),
        ([{"url": URL, "outcomes": ["redy"]}], False),
        ([{"url": URL, "concurrency": 0}], False),
        ([5], False),
    ],
)
def test_an_editor_sees_what_is_wrong_in_a_table(sinks: list[object], is_valid: bool):
    assert Draft202012Validator(json_schema()).is_valid({"events": {"sinks": sinks}}) == is_valid
    json.dumps(json_schema())


def with_steps(*outcomes: str, transitions: bool) -> Settings:
    events = {"sinks": [{"url": LOCAL, "outcomes": [*outcomes]}], "transitions": transitions}
    return load(config=None, environ={}, overrides={"events": events})


def test_a_webhook_may_want_steps():
    [target] = with_steps("playable", "ready", transitions=True).events.targets
    assert isinstance(target, WebhookTarget)
    assert target.outcomes == frozenset({"playable", "ready"})
    with_steps("playable", "ready", transitions=False)  # it gets the others


def test_a_webhook_that_would_get_nothing_is_refused():
    with_steps("playable", "processed", transitions=True)
    with pytest.raises(SettingsError, match=r"would get no events: all of its outcomes are steps.*transitions = true"):
        with_steps("playable", "processed", transitions=False)


def test_a_step_that_is_misspelt_is_named():
    with pytest.raises(SettingsError, match="did you mean thumbnail_ready"):
        with_steps("thumbnail-ready", transitions=True)
