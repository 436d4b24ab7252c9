"""Logs: one JSON object a line, and the key in none of them."""

from __future__ import annotations

import json
import logging

import pytest
import structlog

from asset_worker.runtime.redaction import REDACTED, Secrets
from asset_worker.telemetry import logs
from asset_worker.telemetry.events import EVENTS
from asset_worker.telemetry.logs import configure
from asset_worker.telemetry.runbook import EVENTS_WITH_SECTION, REASONS

KEY = "tlk_4F2SECRET"


@pytest.fixture
def lines(capsys):
    def read():
        return [json.loads(line) for line in capsys.readouterr().err.splitlines()]

    return read


def configured(level="info", format_="json"):
    secrets = Secrets()
    secrets.add(KEY)
    configure(format_, level, secrets)
    return structlog.get_logger()


def test_a_line_has_event_level_and_timestamp(lines):
    configured().info("asset.completed", asset_id="a", outcome="ready", polls=7)
    [line] = lines()
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "asset.completed", "level": "info", "asset_id": "a", "outcome": "ready", "polls": 7}


@pytest.mark.parametrize(("event", "reason"), REASONS.items(), ids=REASONS)
def test_a_line_that_tells_of_a_problem_names_its_section_of_the_runbook(lines, event, reason):
    configured().warning(event, error="no")
    assert [line["runbook"] for line in lines()] == [f"docs/runbook.md#{reason.value}"]


@pytest.mark.parametrize(("trouble", "section"), [("failing", "sink_failing"), ("down", "sink_down")])
def test_a_sink_that_fails_has_the_section_of_its_trouble(lines, trouble, section):
    configured().error("sink.failed", trouble=trouble)
    assert [line["runbook"] for line in lines()] == [f"docs/runbook.md#{section}"]


def test_no_other_line_names_a_section(lines):
    log = configured(level="debug")
    for event in EVENTS:
        if event.name not in EVENTS_WITH_SECTION:
            log.warning(event.name)
    log.warning("a sentence")
    assert [line for line in lines() if "runbook" in line] == []


def test_people_are_shown_the_section_after_the_text(capsys):
    configured(format_="console").error("journal.failed", error="full")
    [line] = capsys.readouterr().err.splitlines()
    assert line.split("journal.failed", 1)[1].split() == ["error=full", "runbook=docs/runbook.md#journal_failing"]


@pytest.mark.parametrize("format_", ["json", "console"])
@pytest.mark.parametrize(
    "value",
    [
        pytest.param(f"x-api-key: {KEY}", id="text"),
        pytest.param({"headers": {"x-api-key": KEY, KEY: 1}}, id="nested, as a key too"),
        pytest.param([f"a{KEY}", (KEY,)], id="lists"),
        pytest.param(ValueError(KEY), id="an exception"),
        pytest.param(KEY.encode(), id="bytes"),
    ],
)
def test_the_key_is_redacted_wherever_it_is(lines, capsys, value, format_):
    configured(format_=format_).info("x", value=value)
    out = capsys.readouterr().err
    assert KEY not in out
    assert REDACTED in out


def test_the_key_is_redacted_in_tracebacks_and_logs_of_other_libraries(lines, capsys):
    log = configured()
    key = KEY
    try:
        raise ValueError(f"header {key}")
    except ValueError:
        log.exception("worker.stopped")
        logging.getLogger("aiohttp.client").exception("failed with %s", key)
    out = capsys.readouterr().err
    assert KEY not in out
    assert len([json.loads(line) for line in out.splitlines()]) == 2
    assert "Traceback" in out


def test_the_key_is_redacted_in_logs_for_people(lines, capsys):
    log = configured(format_="console")
    key, sentence = KEY, f"a sentence with {KEY}"
    try:
        raise ValueError(f"header {key}")
    except ValueError:
        log.exception("worker.stopped", asset_id="a1", header=key)
        logging.getLogger("aiohttp.client").exception("failed with %s", key)
    log.info(sentence)
    out = capsys.readouterr().err
    assert KEY not in out
    assert out.count("Traceback") == 2
    for text in ("worker.stopped", "asset_id=a1", f"failed with {REDACTED}", f"a sentence with {REDACTED}"):
        assert text in out


def test_people_see_the_first_values_of_a_long_list_and_programs_all(lines, capsys):
    ids = [f"a{number}" for number in range(100)]
    configured(format_="console").info("intake.accepted", asset_ids=ids, sinks=ids[:10])
    shown = capsys.readouterr().err
    assert "asset_ids=['a0', 'a1', 'a2', '… 97 more'] " in shown
    assert str(ids[:10]) in shown
    configured().info("intake.accepted", asset_ids=ids)
    assert lines()[0]["asset_ids"] == ids


def test_an_event_that_people_see_in_another_form_is_logged_only_as_a_warning(lines):
    configure("json", "info", Secrets(), shown_elsewhere={"worker.heartbeat"})
    log = structlog.get_logger()
    log.info("worker.heartbeat")
    log.warning("worker.heartbeat")
    log.info("worker.stopped")
    assert [(line["event"], line["level"]) for line in lines()] == [
        ("worker.heartbeat", "warning"),
        ("worker.stopped", "info"),
    ]


def test_a_text_that_is_not_utf_8_is_logged(lines):
    """For example a path of other bytes."""
    configured()
    structlog.get_logger().info("test.event", path="q\udce9", count=1)
    [line] = lines()
    assert (line["path"], line["count"]) == ("q\udce9", 1)


def test_lines_that_were_dropped_are_counted_in_the_log(lines, monkeypatch):
    reports = []
    monkeypatch.setattr(logs, "report_dropped_lines", reports.append)
    configured()
    [report] = reports
    report(7)
    [line] = lines()
    assert (line["event"], line["level"], line["lines"]) == ("log.dropped", "warning", 7)


def test_a_level_that_is_off_makes_no_line(lines):
    configured("warning").info("x", value=object())
    assert lines() == []


def test_a_closed_stderr_does_not_end_the_work(monkeypatch):
    class Closed:
        def write(self, _text):
            raise BrokenPipeError

        def flush(self):
            raise BrokenPipeError

    log = configured()
    monkeypatch.setattr("sys.stderr", Closed())
    log.info("x")
    logging.getLogger("x").error("y")


def test_a_short_key_is_redacted_as_a_whole_word_only(lines):
    secrets = Secrets()
    secrets.add("work")
    configure("json", "info", secrets)
    structlog.get_logger().info("worker.started", path="/var/worker", header="x-api-key: work")
    [line] = lines()
    assert (line["event"], line["path"], line["header"]) == ("worker.started", "/var/worker", f"x-api-key: {REDACTED}")


def test_the_level_can_be_changed_while_the_process_runs(lines):
    """For loggers that are in use already, too."""
    log = configured("warning")
    log.info("x")
    configure("json", "debug", Secrets())
    log.debug("y")
    configure("json", "error", Secrets())
    log.warning("z")
    assert [line["event"] for line in lines()] == ["y"]


@pytest.mark.parametrize(("level", "shown"), [("debug", ["warning", "error"]), ("error", ["error"])])
def test_other_libraries_log_their_warnings_and_errors_only(lines, level, shown):
    """What they log below that is not for operators, and may hold whole requests."""
    configured(level)
    for each in ("debug", "info", "warning", "error"):
        getattr(logging.getLogger("aiohttp.client"), each)(each)
    assert [line["event"] for line in lines()] == shown


def raised(text, kind=RuntimeError):
    try:
        raise kind(text)
    except kind as error:
        return error


def test_equal_errors_of_a_library_are_one_line_a_spell(lines):
    """Such as those of the event loop, which a client may be able to cause without end."""
    configured()
    other = logging.getLogger("asyncio")
    for number in range(50):
        other.error(f"Exception in callback\nhandle: <Handle {number}>", exc_info=raised(f"no {number}"))
        other.warning("Unclosed connection\n%s", number)
    other.error("another")
    logging.getLogger("aiohttp.server").error("another")
    found = [(line["logger"], line["event"]) for line in lines()]
    assert found == [
        ("asyncio", "Exception in callback\nhandle: <Handle 0>"),
        ("asyncio", "Unclosed connection\n0"),
        ("asyncio", "another"),
        ("aiohttp.server", "another"),
    ]


def test_errors_of_a_library_are_equal_if_they_were_raised_at_the_same_place(lines):
    """Whatever their text, which may hold what a client has sent. Another error under the same text is a line."""
    configured()
    server = logging.getLogger("aiohttp.server")
    for number in range(50):
        server.error(f"Error handling request from 192.0.2.{number}", exc_info=raised(f"no {number}"))
    server.error("Error handling request from 192.0.2.0", exc_info=raised("of another kind", ValueError))
    try:
        raise RuntimeError("at another place")
    except RuntimeError as error:
        server.error("Error handling request from 192.0.2.0", exc_info=error)
    assert [line["exception"].splitlines()[-1] for line in lines()] == [
        "RuntimeError: no 0",
        "ValueError: of another kind",
        "RuntimeError: at another place",
    ]


def test_the_next_spell_says_how_many_lines_there_were(lines, monkeypatch):
    configured()
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    for _ in range(3):
        logging.getLogger("asyncio").error("again")
    now += 61
    logging.getLogger("asyncio").error("again")
    assert [line.get("unlogged") for line in lines()] == [None, 2]


EVIL = "\x1b]52;c;ZXZpbA==\x07\x9b31m\u202e\x7f\udcff\r\n2026-11-27T00:00:00Z [info] forged"


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(EVIL, id="text"),
        pytest.param(EVIL.replace(" ", ""), id="text without spaces"),
        pytest.param({EVIL: [EVIL, (EVIL,)]}, id="nested, as a key too"),
        pytest.param(ValueError(EVIL), id="an exception"),
        pytest.param(EVIL.encode(errors="surrogateescape"), id="bytes"),
    ],
)
def test_no_value_reaches_a_terminal_raw_or_begins_a_line(capsys, value):
    configured(format_="console").warning("intake.rejected", source=value)
    err = capsys.readouterr().err
    assert err.endswith("\n")
    assert err[:-1].isprintable()
    assert r"\x1b]52;c;" in err


def test_sentences_of_other_libraries_reach_no_terminal_raw(capsys):
    configured(format_="console")
    logging.getLogger("aiohttp.server").error("bad request line %s", EVIL)
    assert capsys.readouterr().err[:-1].isprintable()


def test_a_traceback_reaches_no_terminal_raw_and_its_text_begins_no_line(capsys):
    log = configured(format_="console")
    evil = EVIL
    try:
        raise ValueError(evil)
    except ValueError:
        log.exception("worker.stopped")
    first, *others = capsys.readouterr().err.removesuffix("\n").split("\n")
    assert "worker.stopped" in first
    assert others[0].startswith("Traceback")
    assert all(line.isprintable() and line.startswith("  ") for line in others[1:])
    assert any(r"ValueError: \x1b]52" in line for line in others)


@pytest.mark.parametrize("value", [EVIL, EVIL.replace("\udcff", "")], ids=["not UTF-8", "UTF-8"])
def test_a_json_line_holds_no_character_that_a_terminal_obeys(capsys, value):
    configured().info("test.event", value=value)
    err = capsys.readouterr().err
    assert err[:-1].isprintable()
    assert json.loads(err)["value"] == value
