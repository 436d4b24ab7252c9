"""The shell script of the page on events uploads a file, waits for it, and tells its outcomes apart."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess

import pytest

from asset_worker.simulator.lifecycles import Lifecycle, Rendition
from tests.integration.processes import KEY, QUICK, ROOT
from tests.programs import BIN, program

PAGE = (ROOT / "docs" / "events.md").read_text()
[SCRIPT] = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def run_script(tmp_path):
    """Runs the script in a folder with a video: `code, stdout = await run_script(simulator, key=…)`."""
    program("curl"), program("jq")
    (tmp_path / "talk.mp4").write_bytes(b"\0" * 1000)

    async def run(simulator, *, key=KEY, longest="1h"):
        settings = {f"ASSET_WORKER_{name}": value for name, value in QUICK.items()}
        ours = {"TWELVELABS_BASE_URL": simulator.base_url, "TWELVE_LABS_API_KEY": key, "no_proxy": "*"}
        path = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
        process = await asyncio.create_subprocess_exec(
            "sh",
            "-c",
            SCRIPT.replace("1h", longest),
            cwd=tmp_path,
            env=os.environ | settings | ours | path,
            stdout=-1,
            stdin=subprocess.DEVNULL,
        )
        stdout, _ = await asyncio.wait_for(process.communicate(), 100)
        return process.returncode, stdout.decode()

    return run


@pytest.mark.parametrize(
    ("lifecycle", "changes", "printed"),
    [
        (
            Lifecycle(ends_after=0.2, hls=Rendition(ends_after=0.1)),
            {},
            "playable: https://media.example/ID/hls/index.m3u8\n",
        ),
        (Lifecycle(ends_after=0.1, ends_in="failed", reason="bad codec"), {}, "not ready: failed\nbad codec\n"),
        (Lifecycle(), {"key": "another"}, "the API refuses the key\n"),
        (Lifecycle(ends_after=1e9), {"longest": "1s"}, "not done yet: wait for ID again later\n"),
    ],
    ids=["ready", "failed", "refused", "late"],
)
async def test_the_script_tells_outcomes_apart(serve, run_script, monkeypatch, lifecycle, changes, printed):
    simulator = await serve(key=KEY)
    upload = simulator.store.upload

    def add(**about):
        asset_id = upload(**about)
        simulator.store.change(asset_id, lifecycle)
        simulator.key = changes.get("key", KEY)
        return asset_id

    monkeypatch.setattr(simulator.store, "upload", add)
    code, stdout = await run_script(simulator, longest=changes.get("longest", "1h"))
    assert (code, re.sub(r"\b[0-9a-f]{24}\b", "ID", stdout)) == (0, printed)


async def test_the_script_ends_where_the_upload_fails(serve, run_script):
    simulator = await serve(key=KEY)
    code, stdout = await run_script(simulator, key="another")
    assert (code != 0, stdout) == (True, "")
