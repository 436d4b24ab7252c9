"""What comes from outside reaches a terminal as text, and is never obeyed by it."""

from __future__ import annotations

import re
import signal

from aiohttp import web

from tests.integration.processes import eventually
from tests.integration.terminals import on_a_terminal

EVIL = "\x1b]52;c;ZXZpbA==\x07\x9b31m\u202e\x7f\r\nforged"
SHOWN = r"\x1b]52;c;ZXZpbA==\x07\x9b31m\u202e\x7f\r\nforged"
IDS = [f"{number:024x}" for number in range(2)]
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def assert_harmless(shown: str) -> None:
    """Colours and line ends are the program's own; nothing else may be there that a terminal obeys."""
    text = COLOURS.sub("", shown).replace("\r\n", "\n")
    assert all(line.isprintable() for line in text.split("\n")), shown
    assert not re.search(r"^forged", text, re.MULTILINE)


async def test_a_terminal_obeys_neither_the_api_nor_file_names(worker, aiohttp_server_of):
    async def retrieve(request: web.Request) -> web.Response:
        asset_id = request.match_info["id"]
        status, reason = ("failed", EVIL) if asset_id == IDS[0] else (EVIL, None)
        return web.json_response({"_id": asset_id, "status": status, "error": {"message": reason}, "filename": EVIL})

    base_url = await aiohttp_server_of(web.get("/v1.3/assets/{id}", retrieve))
    queue = worker.folder / "q\x1b[5m\x7f"
    queue.write_text("\n".join([*IDS, "bad \x1b[m\x9b", ""]))
    arguments = ["--queue-file", queue, "--state-dir", worker.state]
    async with on_a_terminal(worker, "run", *arguments, base_url=base_url, POLL__BATCH="off") as it:
        await eventually(lambda: b"api.unknown_status" in it.shown, otherwise=lambda: it.shown)
        await eventually(lambda: len(it.events()) == 2, otherwise=lambda: it.shown)
        it.run.send(signal.SIGTERM)
        assert await it.run.end() == 0
    shown = it.shown.decode()
    assert_harmless(shown)
    assert COLOURS.search(shown)
    assert r"q\x1b[5m\x7f:1" in shown
    assert [event["data"]["reason"] for event in it.events() if event.get("subject") == IDS[0]] == [EVIL]
    async with on_a_terminal(worker, "status", "--state-dir", worker.state) as it:
        assert await it.run.end() == 0
    assert_harmless(it.shown.decode())
    assert f"{SHOWN}  waiting for asset" in it.shown.decode()


async def test_a_terminal_obeys_no_argument(worker):
    for arguments in (
        ["run", "--\x1b]0;x\x07\x9b"],
        ["run", "--config", EVIL],
        ["wait", EVIL],
        ["submit", "a1", "--queue-file", f"{EVIL}/q"],
        ["simulate", "--fault", EVIL],
    ):
        async with on_a_terminal(worker, *arguments) as it:
            assert await it.run.end() == 2
        assert_harmless(it.shown.decode())
        assert r"\x1b]" in it.shown.decode()


async def test_a_terminal_obeys_no_traceback(worker):
    program = worker.folder / "fails.py"
    program.write_text(
        "from asset_worker.runtime.stderr import write_stderr_in_background\n"
        "write_stderr_in_background()\n"
        f"raise ValueError({EVIL!r})\n"
    )
    async with on_a_terminal(worker, program=("fails",)) as it:
        assert await it.run.end() == 1
    assert all(line.isprintable() for line in it.lines)
    assert r"ValueError: \x1b]52;c;" in it.shown.decode()
