"""Tests of where the log goes: to structlog in the command, to logging in a program that embeds the worker."""

from __future__ import annotations

import logging
import threading
from contextvars import copy_context

import pytest
from structlog.testing import capture_logs

from asset_worker.runtime.log import HOST_LOGGER, get_logger, line_of, log_to_host
from asset_worker.runtime.threads import DaemonThread, record_threads

LOG = get_logger()


def embedded(call):
    """Call it as an embedded worker, whose key is SECRET."""

    def work():
        log_to_host(lambda text: text.replace("SECRET", "***"))
        return call()

    return copy_context().run(work)


def test_a_command_logs_to_structlog():
    with capture_logs() as logged:
        LOG.warning("api.retry", attempt=1)
    assert logged == [{"event": "api.retry", "attempt": 1, "log_level": "warning"}]


def test_an_embedded_worker_prints_nothing(capfd):
    with capture_logs() as logged:
        embedded(lambda: LOG.error("api.unavailable", error="no answer in time"))
    assert (logged, capfd.readouterr()) == ([], ("", ""))


def test_an_embedded_worker_logs_to_the_host_without_secrets_on_one_line(caplog):
    caplog.set_level(logging.INFO, HOST_LOGGER)
    embedded(lambda: LOG.info("api.retry", error="SECRET\nrefused\x1b[2J", attempt=2))
    embedded(lambda: LOG.debug("asset.changed"))
    [record] = caplog.records
    assert (record.name, record.levelno) == (HOST_LOGGER, logging.INFO)
    assert record.message == line_of("api.retry", {"error": "***\nrefused\x1b[2J", "attempt": 2})
    assert "\n" not in record.message
    assert "\x1b" not in record.message


def test_the_traceback_of_an_error_is_redacted(caplog):
    def fail():
        try:
            raise ValueError("the key SECRET")
        except ValueError:
            LOG.exception("worker.failed")

    embedded(fail)
    [record] = caplog.records
    assert (record.exc_info, record.message.splitlines()[-1]) == (None, "ValueError: the key ***")


async def test_a_thread_logs_where_its_maker_logs_and_is_recorded(caplog):
    async def log_in_a_thread() -> list[threading.Thread]:
        log_to_host(str)
        threads = record_threads()
        thread = DaemonThread("test")
        await thread.run(LOG.warning, "schedule.not_kept", path="x")
        thread.close()
        return threads

    with capture_logs() as logged:
        [thread] = await log_in_a_thread()
    thread.join(5)
    assert (logged, [record.message for record in caplog.records]) == ([], ["schedule.not_kept path='x'"])


@pytest.mark.parametrize(
    ("fields", "line"), [({}, "a.b"), ({"n": 1, "text": "c d", "none": None}, "a.b n=1 text='c d' none=None")]
)
def test_a_line_has_the_event_and_its_fields(fields, line):
    assert line_of("a.b", fields) == line
