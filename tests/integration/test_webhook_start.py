"""Starts with webhooks: what is refused, what is awaited, and what of their secrets is shown."""

from __future__ import annotations

import json
import signal

import pytest

NO_API = "http://127.0.0.1:1/v1.3"
ONE = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


async def ends(run, code, *says):
    assert await run.end() == code, run.stderr
    for each in says:
        assert each in run.stderr
    assert "Traceback" not in run.stderr
    assert "S3CRET" not in run.stderr


@pytest.mark.parametrize("once", [[], ["--once"]], ids=["service", "once"])
async def test_a_url_elsewhere_without_a_secret_is_refused(worker, once):
    worker.submit("a1")
    run = worker.run(*once, "--events", "https://u:S3CRET@app.example/hooks?S3CRET", base_url=NO_API)
    await ends(run, 2, "events.secret_file", "secret_file in the table", "https://app.example/hooks#")
    assert not worker.state.exists()


@pytest.mark.parametrize(
    ("content", "code"),
    [(None, 75), ("", 75), ("S3CRET", 2), ("whsec_S3CRET!\n", 2)],
    ids=["missing", "empty", "another secret", "no base64"],
)
@pytest.mark.parametrize("command", ["run", "once", "check"])
async def test_secrets_that_are_not_there_yet_are_awaited_and_bad_ones_refused(worker, command, content, code):
    worker.submit("a1")
    file = worker.folder / "secrets"
    if content is not None:
        file.write_text(content)
    settings = {"EVENTS__SECRET_FILE": str(file), "EVENTS__SINKS": "https://app.example/hooks"}
    match command:
        case "run":
            run = worker.start("run", "--queue-file", "queue", base_url=NO_API, **settings)
        case "once":
            run = worker.start("run", "--queue-file", "queue", "--once", base_url=NO_API, **settings)
        case _:
            run, code = worker.start("config", "--check", base_url=NO_API, **settings), 2
    await ends(run, code, str(file))


async def test_config_masks_what_is_secret_and_names_what_is_not(worker):
    file = worker.folder / "secrets"
    file.write_text(ONE)
    file.chmod(0o644)
    sinks = [
        "-",
        {
            "url": "https://S3CRETuser:S3CRETpass@app.example/hooks?S3CRETquery",
            "headers": {"X-Token": "S3CRET"},
            "timeout": "1m30s",
        },
    ]
    settings = {"EVENTS__SECRET_FILE": str(file), "EVENTS__SINKS": json.dumps(sinks)}
    shown = worker.start("config", **settings)
    await ends(shown, 0)
    text = shown.stdout.decode()
    assert "S3CRET" not in text
    assert 'url = "https://********@app.example/hooks?********"' in text
    assert 'headers = {X-Token = "********"}' in text
    assert "timeout = 90" in text
    checked = worker.start("config", "--check", **settings)
    await ends(checked, 0, f"the file {file} of https://app.example/hooks#", "is exposed: every user may read it")


async def test_a_slip_in_a_table_names_file_entry_and_key(worker):
    file = worker.folder / "worker.toml"
    file.write_text('[events]\nsinks = ["-", {url = "http://127.0.0.1:1/", secretfile = "S3CRET"}]\n')
    run = worker.start("config", "--check", "--config", str(file))
    await ends(
        run, 2, "worker.toml: events.sinks, entry 2: there is no 'secretfile' in this table: did you mean secret_"
    )


async def test_wait_ignores_webhooks(worker):
    """The settings file may be a service's."""
    run = worker.start(
        "wait",
        "a1",
        "--timeout",
        "500ms",
        base_url=NO_API,
        EVENTS__SINKS="http://127.0.0.1:1/hooks",
        POLL__INITIAL="0.1",
    )
    await ends(run, 4)
    assert json.loads(run.stdout)["data"]["outcome"] == "timed_out"


async def test_secrets_on_the_command_line_are_reported_and_not_shown(worker):
    """Every user of the machine sees them."""
    worker.submit("a1")
    run = worker.run("--events", "http://u:S3CRET@127.0.0.1:1/hooks?S3CRET", "--events", "-", base_url=NO_API)
    warning = await run.until("sink.url_exposed")
    assert warning["sink"].startswith("http://127.0.0.1:1/hooks#")
    assert "events.sinks" in warning["detail"]
    run.send(signal.SIGTERM)
    await run.end()
    assert len(run.logs("sink.url_exposed")) == 1
    assert "S3CRET" not in run.stderr
