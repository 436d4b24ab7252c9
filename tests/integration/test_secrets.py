"""A server that sends the key back, and lines that hold it: it gets no further, in whatever form."""

from __future__ import annotations

import signal
from urllib.parse import unquote_to_bytes

import pytest
from aiohttp import web

from tests.integration.processes import KEY, eventually

FORMS = {
    "as it is": KEY,
    "upper case": KEY.upper(),
    "percent": "".join(f"%{ord(each):02x}" for each in KEY),
    "JSON": "".join(f"\\u{ord(each):04X}" for each in KEY),
}


def shown(data):
    """The text of a file in lower case, once as it is, and once without its escapes."""
    plain = unquote_to_bytes(data.replace(b"\\\\", b"\\").replace(b"\\u00", b"%"))
    return data.lower() + plain.lower()


@pytest.mark.parametrize("form", FORMS)
async def test_a_key_that_comes_back_is_in_no_file_and_no_output(worker, aiohttp_server_of, form):
    """Nor in the journal, which `status` shows without knowing the key."""
    text, answers = FORMS[form], {}

    def asset(asset_id, **fields):
        return {"_id": asset_id, "method": text, "file_type": text, "filename": text, **fields}

    async def answer(request):
        asset_id = request.match_info["id"]
        answers[asset_id] = number = answers.get(asset_id, 0) + 1
        if asset_id == "refused":
            return web.json_response({"code": "parameter_invalid", "message": "x" * 270 + text}, status=400)
        if number == 1:
            return web.Response(status=503, reason="y" * 270 + text, headers={"X": text})
        if number == 2 or asset_id == "waits":
            return web.json_response(asset(asset_id, status=text, hls={"status": text}))
        return web.json_response(asset(asset_id, status="failed", error={"message": text}))

    base_url = await aiohttp_server_of(web.get("/v1.3/assets/{id}", answer))
    lines = ["waits", "fails", "refused", text, f"{text} {text}", f'{{"asset_id": "{text}", "metadata": {{}}}}']
    lines.append(f'{{"asset_id": "noted", "metadata": {{"{text}": "{text}"}}, "deadline": 100000}}')
    worker.submit(*lines)
    run = worker.run("--events", "-", base_url=base_url, POLL__BATCH="off", LOG__LEVEL="debug")
    wanted = {"fails", "refused", "noted"}
    await eventually(lambda: {event.get("subject") for event in run.events()} >= wanted, otherwise=lambda: run.stderr)
    await eventually(lambda: answers.get("waits", 0) > 3)
    run.send(signal.SIGTERM)
    assert await run.end() == 0
    status = worker.start("status", "--state-dir", str(worker.state))
    assert await status.end() == 0
    assert b"********" in status.stdout
    written = [path for path in worker.folder.rglob("*") if path.is_file() and path != worker.queue_file]
    assert len(written) > 4
    for path in written:
        assert KEY.lower().encode() not in shown(path.read_bytes()), path
    assert len([event for event in run.events() if event["data"]["outcome"] == "rejected"]) == 3


async def test_a_key_file_that_others_may_read_is_reported_once(serve, worker):
    simulator = await serve()
    key_file = worker.folder / "key"
    key_file.write_text(KEY)
    key_file.chmod(0o644)
    run = worker.run(base_url=simulator.base_url, API__KEY_FILE=str(key_file))
    await run.until("worker.started")
    assert [log["level"] for log in run.logs("api.key_exposed")] == ["warning"]
    run.send(signal.SIGTERM)
    assert await run.end() == 0
    assert len(run.logs("api.key_exposed")) == 1
