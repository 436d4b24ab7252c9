"""The settings are a contract: every default, where values come from, and how bad ones are explained."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from asset_worker.settings.loading import SettingsError, load
from asset_worker.settings.showing import as_toml, json_schema
from asset_worker.settings.starter import starter
from asset_worker.settings.tree import Settings, known_keys
from asset_worker.settings.variables import misnamed_key, nearest_key

ROOT = Path(__file__).parents[3]
KEY = "tlk_4F2SECRET"

MACHINES = {"state.dir", "fleet.name"}
"""Those whose defaults are a machine's own."""
DEFAULTS = {
    "api.base_url": "https://api.twelvelabs.io/v1.3",
    "api.key": None,
    "api.key_file": None,
    "api.timeout": 10,
    "poll.strategy": "adaptive",
    "poll.initial": 2,
    "poll.multiplier": 1.5,
    "poll.max": 30,
    "poll.deadline": 14400,
    "poll.rendition_deadline": 3600,
    "poll.not_found_grace": 60,
    "poll.looks": None,
    "poll.batch": "auto",
    "limits.requests_per_second": 10,
    "limits.concurrency": 20,
    "limits.share": 0.8,
    "wait_for.hls": "if_requested",
    "wait_for.thumbnail": "if_requested",
    "queue.engine": "local",
    "queue.file": None,
    "queue.stdin": False,
    "queue.dedupe_window": 86400,
    "queue.partial_wait": 5,
    "queue.max_pending": 1_000_000,
    "queue.rotated": ("NAME.*[0-9]*", "NAME.old", "NAME-DATE*", "STEM-DATE*SUFFIX", "STEM.[0-9]*SUFFIX"),
    "postgres.url": None,
    "postgres.url_file": None,
    "fleet.schema": "asset_worker",
    "fleet.lease": 10,
    "account.follow": False,
    "account.interval": 10,
    "account.overlap": 120,
    "account.since": "start",
    "account.types": (),
    "account.filename": "",
    "account.metadata": {},
    "events.sinks": ("-",),
    "events.secret_file": None,
    "events.dead_letter_retention": 2592000,
    "events.transitions": False,
    "log.format": None,
    "log.level": "info",
    "admin.host": "127.0.0.1",
    "admin.port": None,
    "admin.token_file": None,
    "shutdown.grace": 25,
}


def loaded(toml=None, environ=None, overrides=None, tmp_path=None):
    config = None
    if toml is not None:
        config = tmp_path / "worker.toml"
        config.write_text(toml)
    return load(config=config, environ=environ or {}, overrides=overrides or {})


def problems(**given_):
    with pytest.raises(SettingsError) as raised:
        loaded(**given_)
    return raised.value.problems


def value(settings_, path):
    section, name = path.split(".")
    return getattr(getattr(settings_, section), name)


def test_every_default_is_a_public_promise():
    found = Settings()
    assert {path: value(found, path) for path in known_keys() if path not in MACHINES} == DEFAULTS


def test_the_later_source_wins(tmp_path):
    toml = "[poll]\ninitial = 3\nmax = 50\ndeadline = 7\n"
    environ = {"ASSET_WORKER_POLL__MAX": "60", "ASSET_WORKER_POLL__DEADLINE": "600"}
    found = loaded(toml, environ, {"poll": {"deadline": 5.0, "max": None}}, tmp_path)
    assert (found.poll.initial, found.poll.max, found.poll.deadline) == (3, 60, 5)


def test_the_vendors_variables_work_and_ours_win(tmp_path):
    vendors = {"TWELVE_LABS_API_KEY": f" {KEY} ", "TWELVELABS_BASE_URL": "http://127.0.0.1:8765/v1.3/"}
    found = loaded('[api]\nkey = "other"\n', vendors, tmp_path=tmp_path)
    assert found.api.key_value.strip() == KEY
    assert found.api.base_url == "http://127.0.0.1:8765/v1.3"
    ours = loaded(environ=vendors | {"ASSET_WORKER_API__KEY": "ours"})
    assert ours.api.key_value == "ours"


def test_an_empty_variable_is_not_set():
    assert loaded(environ={"TWELVE_LABS_API_KEY": "", "ASSET_WORKER_POLL__MAX": ""}) == Settings()


@pytest.mark.parametrize(
    ("text", "sinks"),
    [("-", ("-",)), ("/a/b", ("/a/b",)), ('["-", "/a,b"]', ("-", "/a,b")), ("-, /a", ("-", "/a"))],
    ids=["dash", "file", "json", "commas"],
)
def test_sinks_from_the_environment(text, sinks):
    assert loaded(environ={"ASSET_WORKER_EVENTS__SINKS": text}).events.sinks == sinks


@pytest.mark.parametrize(
    ("text", "globs"), [("NAME.*", ("NAME.*",)), ("a*, b*", ("a*", "b*")), ('["a,*"]', ("a,*",)), ("[]", ())]
)
def test_the_names_of_rotated_files_from_the_environment(text, globs):
    assert loaded(environ={"ASSET_WORKER_QUEUE__ROTATED": text}).queue.rotated == globs


def test_targets_that_are_one_file_are_refused_by_whatever_names(tmp_path, monkeypatch):
    """Each event would come twice. Standard output has names of its own, which are let be."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "e").touch()
    (tmp_path / "soft").symlink_to("e")
    (tmp_path / "hard").hardlink_to(tmp_path / "e")
    for other in (str(tmp_path / "e"), "~/e", "soft", "hard"):
        [problem] = problems(overrides={"events": {"sinks": ["e", "-", other]}})
        assert problem.startswith("--events: 'e' and ")
    assert len(loaded(overrides={"events": {"sinks": ["-", "/dev/stdout", "./-", "e"]}}).events.sinks) == 4


def test_a_home_directory_is_expanded_wherever_a_path_is_named(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    found = loaded(overrides={"queue": {"file": "~/q"}, "events": {"sinks": ["~/e"]}, "state": {"dir": "~/s"}})
    assert (found.queue.file, found.events.sinks, found.state.dir) == (
        Path("/home/ada/q"),
        ("/home/ada/e",),
        Path("/home/ada/s"),
    )


def test_the_state_directory_is_systemds_where_it_gives_one():
    assert loaded(environ={"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}).state.dir == Path("/var/lib/a")
    assert loaded(environ={"STATE_DIRECTORY": "/a"}, overrides={"state": {"dir": "/b"}}).state.dir == Path("/b")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        pytest.param("ASSET_WORKER_POLL__MAXX", "ASSET_WORKER_POLL__MAX", id="a slip"),
        pytest.param("asset_worker_poll__deadlin", "ASSET_WORKER_POLL__DEADLINE", id="in small letters"),
        pytest.param("ASSET_WORKER_POLL__CONCURRENCY", "ASSET_WORKER_LIMITS__CONCURRENCY", id="wrong section"),
        pytest.param("ASSET_WORKER_ADMIN_PORT", "ASSET_WORKER_ADMIN__PORT", id="one underscore"),
        pytest.param("ASSET_WORKER_POLL_NOT_FOUND_GRACE", "ASSET_WORKER_POLL__NOT_FOUND_GRACE", id="one everywhere"),
        pytest.param("ASSET_WORKER_POLL__NOT__FOUND__GRACE", "ASSET_WORKER_POLL__NOT_FOUND_GRACE", id="two everywhere"),
        pytest.param("ASSET_WORKER_ADMIN__PORT_", "ASSET_WORKER_ADMIN__PORT", id="one too many"),
        pytest.param("ASSET_WORKER_API_KEY", "ASSET_WORKER_API__KEY", id="the key"),
        pytest.param("ASSETWORKER_POLL__MAX", "ASSET_WORKER_POLL__MAX", id="another prefix"),
        pytest.param("assetworker_poll_max", "ASSET_WORKER_POLL__MAX", id="small letters and another prefix"),
        pytest.param("ASSET-WORKER_POLL__MAX", "ASSET_WORKER_POLL__MAX", id="a dash"),
        pytest.param("TWELVE_LABS_BASE_URL", "TWELVELABS_BASE_URL", id="the vendor's, as that of the key"),
    ],
)
def test_a_misspelt_variable_names_the_right_one(name, meant):
    [problem] = problems(environ={name: "1"})
    assert problem.startswith(f"{name}: there is no ")
    assert problem.endswith(f": did you mean {meant}?")


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        pytest.param({"ASSET_WORKER_POLL": "1"}, "poll is a section, with ASSET_WORKER_POLL__BATCH, ", id="a section"),
        pytest.param({"ASSET_WORKER_X__PORT": "tcp://10.0.0.1:80"}, "did you mean ASSET_WORKER_ADMIN__PORT?", id="X"),
        pytest.param({"ASSET_WORKER_XYZZY__PLUGH": "1"}, "asset-worker config shows them all", id="nothing like it"),
    ],
)
def test_an_unknown_variable_is_named_with_what_there_is(environ, said):
    [problem] = problems(environ=environ)
    assert said in problem
    assert problem.startswith(next(iter(environ)))


@pytest.mark.parametrize(
    "environ",
    [
        pytest.param({"ASSETWORKERS": "4", "WORKER_POLL_MAX": "4", "POLL__MAX": "4"}, id="variables of others"),
        pytest.param({"ASSETWORKER_POLL__MAX": " "}, id="an empty one"),
        pytest.param({"ASSETWORKER_ADMIN_PORT": "tcp://10.0.0.1:80"}, id="a service link of Kubernetes"),
        pytest.param({"TWELVELABS_API_KEY": KEY}, id="the key under another name, which another program may read"),
        pytest.param({"TWELVE_LABS_BASE_URL": "x", "TWELVELABS_BASE_URL": "https://a.b"}, id="beside the right name"),
        pytest.param({"TWELVE_LABS_BASE_URL": "x", "ASSET_WORKER_API__BASE_URL": "https://a.b"}, id="beside ours"),
    ],
)
def test_a_variable_that_may_be_for_others_is_left_alone(environ):
    assert load(config=None, environ=environ, overrides={}).poll == Settings().poll


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({}, None),
        ({"TWELVE_LABS_API_KEY": KEY}, None),
        ({"TWELVELABS_API_KEY": KEY}, "TWELVELABS_API_KEY"),
        ({"twelve_labs_api_key": KEY}, "twelve_labs_api_key"),
        ({"TWELVELABS_API_KEY": " "}, None),
    ],
)
def test_the_variable_that_holds_the_key_under_another_name_is_found(environ, name):
    assert misnamed_key(environ) == name


@given(st.sampled_from(sorted(DEFAULTS)), st.data())
def test_any_key_with_one_letter_too_many_or_too_few_is_recognised(key, data):
    place = data.draw(st.integers(1, len(key) - 1))
    typo = data.draw(st.sampled_from([key[:place] + "q" + key[place:], key[:place] + key[place + 1 :]]))
    assume(typo not in DEFAULTS and typo.count(".") == 1)
    assert nearest_key(typo, set(DEFAULTS)) == key


def test_an_unknown_key_in_the_file_is_named_with_the_file(tmp_path):
    [problem] = problems(toml="[poll]\ninital = 1\n", tmp_path=tmp_path)
    assert re.search(r"worker\.toml: poll\.inital: .*did you mean poll\.initial\?", problem)


WRONG = ["text", True, -1, [], {}, [1], 1e400, "\x00"]


@pytest.mark.parametrize("path", sorted(DEFAULTS))
@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_a_wrong_value_is_one_plain_line_or_no_wrong_value(path, wrong):
    section, name = path.split(".")
    try:
        load(config=None, environ={}, overrides={section: {name: wrong}})
    except SettingsError as error:
        assert len(error.problems) == 1
        assert "\n" not in error.problems[0]
        assert "pydantic" not in error.problems[0]
        assert "Input should" not in error.problems[0]


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"ASSET_WORKER_API__BASE_URL": "http://api.example.com"}, "use https"),
        ({"ASSET_WORKER_API__BASE_URL": "http://localhost.example.com"}, "use https"),
        ({"ASSET_WORKER_API__BASE_URL": "ftp://127.0.0.1"}, "write it as https://HOST/PATH"),
        ({"ASSET_WORKER_API__BASE_URL": "https://u:p@example.com"}, "no user"),
        ({"ASSET_WORKER_API__BASE_URL": "https://example.com:99999/v1"}, "https://HOST:PORT/PATH"),
        ({"ASSET_WORKER_API__BASE_URL": "https://example.com:http/v1"}, "https://HOST:PORT/PATH"),
        ({"ASSET_WORKER_API__BASE_URL": "https://[::1"}, "https://HOST:PORT/PATH"),
        ({"ASSET_WORKER_API__BASE_URL": "https://ex ample.com/"}, "without blanks"),
        ({"ASSET_WORKER_API__BASE_URL": "https://example.com/v1\n.3"}, "without blanks"),
        ({"ASSET_WORKER_API__TIMEOUT": "0"}, "more than 0"),
        ({"ASSET_WORKER_API__TIMEOUT": "nan"}, "finite"),
        ({"ASSET_WORKER_API__TIMEOUT": "soon"}, "must be a number"),
        ({"ASSET_WORKER_API__TIMEOUT": "10x"}, "text with units"),
        ({"ASSET_WORKER_API__TIMEOUT": "0s"}, "more than 0"),
        ({"ASSET_WORKER_POLL__STRATEGY": "clever"}, "'adaptive', 'exponential' or 'fixed'"),
        ({"ASSET_WORKER_POLL__MAX": "1"}, "poll.max (1) is less than poll.initial (2)"),
        ({"ASSET_WORKER_POLL__MULTIPLIER": "0.5"}, "1 or more"),
        ({"ASSET_WORKER_LIMITS__CONCURRENCY": "2.5"}, "whole number"),
        ({"ASSET_WORKER_LIMITS__CONCURRENCY": "0"}, "1 or more"),
        ({"ASSET_WORKER_QUEUE__STDIN": "perhaps"}, "true or false"),
        ({"ASSET_WORKER_EVENTS__SINKS": "ftp://x"}, "no sink for other URLs"),
        ({"ASSET_WORKER_EVENTS__SINKS": "[1"}, "not a JSON list"),
        ({"ASSET_WORKER_EVENTS__SINKS": '["-", "-"]'}, "twice"),
        ({"ASSET_WORKER_EVENTS__SINKS": '["e", "./e"]'}, "'e' and './e' are one file"),
        ({"ASSET_WORKER_EVENTS__SINKS": '["-", "/tmp/x/../e", "/tmp/e"]'}, "'/tmp/x/../e' and '/tmp/e' are one file"),
        ({"ASSET_WORKER_EVENTS__SINKS": "~nobody-here/e"}, "'~nobody-here/e' begins with the home directory of nobody"),
        ({"ASSET_WORKER_EVENTS__SINKS": "[]"}, "must not be empty"),
        ({"ASSET_WORKER_QUEUE__ROTATED": "sub/NAME.*"}, "must not contain '/'"),
        ({"ASSET_WORKER_QUEUE__ROTATED": '[""]'}, "must not be empty"),
        ({"ASSET_WORKER_QUEUE__FILE": "~nobody-here/q"}, "ASSET_WORKER_QUEUE__FILE: '~nobody-here/q' begins"),
        ({"ASSET_WORKER_STATE__DIR": "~nobody-here/s"}, "ASSET_WORKER_STATE__DIR: '~nobody-here/s' begins"),
        ({"ASSET_WORKER_API__KEY_FILE": "~nobody-here/k"}, "ASSET_WORKER_API__KEY_FILE: '~nobody-here/k' begins"),
        ({"ASSET_WORKER_STATE__DIR": "\udcff"}, "not UTF-8"),
        ({"STATE_DIRECTORY": "/var/lib/\udcff"}, "STATE_DIRECTORY: it is not UTF-8"),
        ({"ASSET_WORKER_ADMIN__PORT": "70000"}, "65535 or less"),
        ({"ASSET_WORKER_ACCOUNT__INTERVAL": "0"}, "more than 0"),
        ({"ASSET_WORKER_ACCOUNT__OVERLAP": "-1"}, "0 or more"),
        ({"ASSET_WORKER_ACCOUNT__SINCE": "yesterday"}, "start, all, or an instant"),
        ({"ASSET_WORKER_ACCOUNT__SINCE": "08:00"}, "start, all, or an instant"),
        ({"ASSET_WORKER_ACCOUNT__SINCE": "2026-11-27T08:00:00"}, "with its time and offset"),
        ({"ASSET_WORKER_ACCOUNT__SINCE": "0001-01-01T00:00:00+14:00"}, "start, all, or an instant"),
        ({"ASSET_WORKER_ACCOUNT__SINCE": "9999-12-31T23:59:59-14:00"}, "start, all, or an instant"),
        ({"ASSET_WORKER_ACCOUNT__TYPES": "video,film"}, "'image', 'video', 'audio' or 'document'"),
        ({"ASSET_WORKER_ACCOUNT__TYPES": "[1"}, "not a JSON list"),
        ({"ASSET_WORKER_ACCOUNT__METADATA": "{"}, 'not a JSON table: write it as {"project": "launch"}'),
        ({"ASSET_WORKER_ACCOUNT__METADATA": "project=launch"}, "a table of texts, numbers"),
        ({"ASSET_WORKER_ACCOUNT__METADATA": '{"a": null}'}, "a table of texts, numbers"),
        ({"ASSET_WORKER_ACCOUNT__METADATA": '{"a": [1]}'}, "a table of texts, numbers"),
    ],
)
def test_a_bad_value_is_explained(environ, said):
    [problem] = problems(environ=environ)
    assert said in problem


def test_the_account_is_set_in_a_file_as_in_the_environment(tmp_path):
    toml = """
    [account]
    follow = true
    since = 2026-11-27T08:00:00Z
    types = "Video"
    [account.metadata]
    project = "launch"
    "a.b" = [ "x" ]
    draft = false
    """
    environ = {
        "ASSET_WORKER_ACCOUNT__FOLLOW": "true",
        "ASSET_WORKER_ACCOUNT__SINCE": "2026-11-27T08:00:00+00:00",
        "ASSET_WORKER_ACCOUNT__TYPES": "VIDEO",
        "ASSET_WORKER_ACCOUNT__METADATA": '{"project": "launch", "a.b": ["x"], "draft": false}',
    }
    found = loaded(toml, tmp_path=tmp_path)
    assert found == loaded(environ=environ)
    assert found.account.types == ("video",)
    assert found.account.metadata == {"project": "launch", "a.b": ["x"], "draft": False}


@pytest.mark.parametrize("since", ["0001-01-01T00:00:00Z", "1969-12-31", "5", "true", "08:00:00", '""'])
def test_a_since_in_a_file_is_explained_as_well(since, tmp_path):
    [problem] = problems(toml=f"account.since = {since}", tmp_path=tmp_path)
    assert "account.since: it must be start, all, or an instant since 1970" in problem


@pytest.mark.parametrize(
    ("since", "instant"),
    [
        ("2026-11-27T08:00:00Z", 1_795_766_400.0),
        ("2026-11-27T10:00:00+02:00", 1_795_766_400.0),
        ("2026-11-27", 1_795_737_600.0),
        ("ALL", None),
        (" start ", None),
    ],
)
def test_since_is_an_instant_or_a_word(since, instant):
    assert loaded(environ={"ASSET_WORKER_ACCOUNT__SINCE": since}).account.since_instant == instant


def test_a_fixed_delay_may_be_longer_than_poll_max():
    """It plays no part there."""
    environ = {"ASSET_WORKER_POLL__STRATEGY": "fixed", "ASSET_WORKER_POLL__INITIAL": "60"}
    found = loaded(environ=environ)
    assert (found.poll.initial, found.poll.max) == (60, 30)
    for strategy in ("exponential", "adaptive"):
        [problem] = problems(environ=environ | {"ASSET_WORKER_POLL__STRATEGY": strategy})
        assert "poll.max (30) is less than poll.initial (60)" in problem


@pytest.mark.parametrize("url", ["http://localhost:1", "http://127.0.0.1:1", "http://127.9.9.9", "http://[::1]:1"])
def test_plain_http_is_for_this_machine(url):
    assert loaded(environ={"TWELVELABS_BASE_URL": url}).api.base_url == url


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ('[poll]\ndeadline = "600"\n', "must be a number"),
        ("[poll]\ndeadline = true\n", "must be a number"),
        ("[poll]\ndeadline = []\n", "must be a number"),
        ('[poll]\ndeadline = "1m30"\n', "text with units"),
        ('[queue]\nstdin = "yes"\n', "true or false"),
        ("[queue]\nstdin = 1\n", "true or false"),
        ("[queue]\nmax_pending = 5.0\n", "whole number"),
        ('[admin]\nport = "9"\n', "whole number"),
        ('[queue]\nfile = ""\n', "empty"),
        ('[state]\ndir = ""\n', "empty"),
        ('[api]\nkey_file = ""\n', "empty"),
        ('[admin]\nhost = ""\n', "at least 1 character"),
    ],
)
def test_a_file_has_types_of_its_own(toml, said, tmp_path):
    [problem] = problems(toml=toml, tmp_path=tmp_path)
    assert said in problem


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("1.5", 1.5), ("90s", 90), ("1h30m", 5400), ("500ms", 0.5)])
def test_a_duration_may_have_units(text, seconds, tmp_path):
    """In the environment, a plain number is text as well."""
    assert loaded(environ={"ASSET_WORKER_POLL__DEADLINE": text}).poll.deadline == seconds
    literal = text if text.replace(".", "").isdigit() else f'"{text}"'
    assert loaded(f"[poll]\ndeadline = {literal}\n", tmp_path=tmp_path).poll.deadline == seconds


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path):
    assert loaded("\ufeff[poll]\nmax = 60\n", tmp_path=tmp_path).poll.max == 60


@pytest.mark.parametrize("service", ["ASSET_WORKER", "ASSET_WORKER_METRICS", "ASSET_WORKER_QUEUE_2"])
def test_a_service_link_of_kubernetes_is_no_setting(service):
    """For a Service named asset-worker, and for one whose name begins like that."""
    links = {"SERVICE_HOST": "10.0.0.1", "SERVICE_PORT": "80", "SERVICE_PORT_HTTP": "80", "SERVICE_PORT_WEB_2": "80"}
    links |= {"PORT": "tcp://10.0.0.1:80", "PORT_80_TCP": "tcp://10.0.0.1:80", "PORT_80_TCP_PROTO": "tcp"}
    links |= {"PORT_80_TCP_PORT": "80", "PORT_80_TCP_ADDR": "10.0.0.1", "PORT_53_UDP": "udp://10.0.0.1:53"}
    assert loaded(environ={f"{service}_{name}": text for name, text in links.items()}) == Settings()


def test_a_level_may_be_shouted():
    assert loaded(environ={"ASSET_WORKER_LOG__LEVEL": "WARNING"}).log.level == "warning"


def test_all_problems_are_reported_at_once(tmp_path):
    found = problems(
        toml="[poll]\nmax = 'x'\nmin = 1\n", environ={"ASSET_WORKER_API__TIMEOUT": "-1"}, tmp_path=tmp_path
    )
    assert len(found) == 3


def test_a_file_that_is_no_toml_says_where(tmp_path):
    [problem] = problems(toml="[poll\n", tmp_path=tmp_path)
    assert "line 1" in problem
    [problem] = _unreadable(tmp_path)
    assert "can't be read" in problem


def _unreadable(tmp_path):
    with pytest.raises(SettingsError) as raised:
        load(config=tmp_path / "absent.toml", environ={}, overrides={})
    return raised.value.problems


def test_the_key_is_in_no_text_that_settings_make():
    environ = {"TWELVE_LABS_API_KEY": KEY, "ASSET_WORKER_API__TIMEOUT": "x", "ASSET_WORKER_API__KEYFILE": KEY}
    assert KEY not in "\n".join(problems(environ=environ))
    found = loaded(environ={"TWELVE_LABS_API_KEY": KEY})
    for text in (repr(found), str(found), as_toml(found), found.model_dump_json()):
        assert KEY not in text
    assert KEY not in as_toml(loaded(environ={"ASSET_WORKER_API__KEY_FILE": KEY}))


def test_what_config_prints_is_a_settings_file(tmp_path):
    found = loaded(environ={"ASSET_WORKER_POLL__MAX": "61.5", "ASSET_WORKER_EVENTS__SINKS": '["a\\"b"]'})
    assert loaded(as_toml(found), tmp_path=tmp_path) == found


def test_what_config_prints_holds_nothing_that_a_terminal_obeys(tmp_path):
    evil = "/e\x1b]52;c;eA==\x07\n\x7f\x9b\u202eé"
    found = loaded(overrides={"events": {"sinks": [evil]}, "state": {"dir": evil}})
    assert all(line.isprintable() for line in as_toml(found).split("\n"))
    assert loaded(as_toml(found), tmp_path=tmp_path) == found


tomls = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda x: st.lists(x, max_size=4) | st.dictionaries(st.text(), x, max_size=4),
    max_leaves=12,
)
keys = st.sampled_from(sorted(DEFAULTS))


@pytest.mark.timeout(3600)
@given(st.dictionaries(keys, tomls) | st.dictionaries(st.text(), tomls))
@settings(max_examples=300)
def test_any_tree_makes_settings_or_a_settings_error(tree):
    nested = {}
    for path, leaf in tree.items():
        section, _, name = path.partition(".")
        nested.setdefault(section, {})[name] = leaf
    try:
        load(config=None, environ={}, overrides=nested)
    except SettingsError as error:
        assert error.problems


def test_the_starter_file_is_good_and_shows_every_setting_with_its_default(tmp_path):
    text = starter()
    assert loaded(text, tmp_path=tmp_path) == Settings()
    shown = tomllib.loads(re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE))
    found = {f"{section}.{name}": leaf for section, leaves in shown.items() for name, leaf in leaves.items()}
    assert sorted(found) == sorted(known_keys())
    examples = {path for path, default in DEFAULTS.items() if default is None} | MACHINES
    for path in set(found) - examples:
        default = DEFAULTS[path]
        assert found[path] == ([*default] if isinstance(default, tuple) else default), path


def test_every_line_of_the_starter_file_can_be_put_into_force(tmp_path):
    """Examples, too."""
    lines = re.sub(r"^# (For example: )?(\w+ = )", r"\2", starter(), flags=re.MULTILINE).splitlines()
    section, tried = "", 0
    for line in lines:
        if line.startswith("["):
            section = line
        elif line and not line.startswith("#"):
            tried += 1
            extra = "" if "secret_file" in line or "sinks" not in line else 'secret_file = "/run/secret"\n'
            loaded(f"{section}\n{extra}{line}\n", tmp_path=tmp_path)
    assert tried > len(DEFAULTS)


def test_the_starter_file_has_no_long_lines_but_those_of_values():
    assert [line for line in starter().splitlines() if len(line) > 100 and " = " not in line] == []


def test_the_example_file_in_the_tree_is_fresh():
    """Else: `make reference`."""
    assert (ROOT / "config" / "worker.toml").read_text("utf-8") == f"#:schema ./schema.json\n{starter()}"


@pytest.mark.parametrize(
    ("tree", "is_valid"),
    [
        pytest.param({}, True, id="nothing"),
        pytest.param({"poll": {"initial": 0.5, "looks": 12}, "events": {"sinks": ["-"]}}, True, id="good"),
        pytest.param({"poll": {"initial": "500ms", "deadline": "1h30m"}}, True, id="durations with units"),
        pytest.param({"poll": {"initial": "5 parsecs"}}, False, id="an unknown unit"),
        pytest.param({"poll": {"initial": 0}}, False, id="not more than 0"),
        pytest.param({"poll": {"looks": 1}}, False, id="not more than 1"),
        pytest.param({"limits": {"share": 1.5}}, False, id="more than 1"),
        pytest.param({"limits": {"concurrency": 0}}, False, id="less than 1"),
        pytest.param({"admin": {"port": 70_000}}, False, id="no port"),
        pytest.param({"events": {"sinks": []}}, False, id="an empty list"),
        pytest.param({"poll": {"deadlin": 1}}, False, id="an unknown setting"),
    ],
)
def test_an_editor_with_the_schema_sees_what_is_wrong(tree, is_valid):
    assert Draft202012Validator(json_schema()).is_valid(tree) == is_valid


def test_the_schema_in_the_tree_is_fresh():
    assert json.loads((ROOT / "config" / "schema.json").read_text()) == json_schema()


@pytest.mark.parametrize("seconds", [1_234_567, 2_592_001, 0.1, 14_400])
def test_a_number_is_shown_as_it_is(seconds: float):
    """`1.23457e+06` would be another."""
    shown = as_toml(Settings.model_validate({"poll": {"deadline": seconds}}))
    assert tomllib.loads(shown)["poll"]["deadline"] == seconds
