"""Every example of the page on Python is a program: it is run as it is written, and so is the service that it names."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import aiohttp
import pytest

from asset_worker.simulator.lifecycles import Lifecycle, Rendition
from tests.integration.processes import KEY, QUICK, ROOT, eventually

PAGE = (ROOT / "docs" / "python.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SERVICE = ROOT / "deploy" / "examples" / "upload_service.py"
ID = re.compile(r"6298d673f1090f1100476d4\w")
PRINTED = [
    ("ready {'hls': 'ready', 'thumbnail': None}", 1),
    ("ID ready\nID ready\nID ready", 3),
    ("playable: {'status': 'ready'", 1),
    ("ada may index ID", 1),
    ("ID ready\nID ready\nID ready", 3),
    ("ID ready", 1),
    ("INFO asset.completed asset_id='ID' outcome='ready'", 3),
]
END = "-- end --"
"""What each example prints, in the order of the page, and how many lines; an ID stands for any."""


def environ_of(simulator):
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("ASSET_WORKER", "TWELVE"))}
    settings = {f"ASSET_WORKER_{name}": value for name, value in QUICK.items()}
    ours = {"TWELVE_LABS_API_KEY": KEY, "TWELVELABS_BASE_URL": simulator.base_url, "PYTHONPATH": str(ROOT / "worker")}
    return clean | settings | ours


def add(simulator):
    return simulator.store.add(Lifecycle(ends_after=0.2, hls=Rendition(ends_after=0.1)))


async def outputs_of(programs, simulator, folder: Path, *, warnings="error"):
    """What each program prints, stderr included, with `ID` for each asset ID. One interpreter runs them in turn."""
    known: dict[str, str] = {}
    sources = [ID.sub(lambda found: known.setdefault(found[0], add(simulator)), program) for program in programs]
    runner = f"for source in {sources!r}:\n    exec(source, {{}})\n    print({END!r}, flush=True)"
    process = await asyncio.create_subprocess_exec(
        sys.executable, f"-W{warnings}", "-c", runner, env=environ_of(simulator), cwd=folder, stdout=-1, stderr=-2
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, output.decode()
    *parts, rest = re.sub(r"\b[0-9a-f]{24}\b", "ID", output.decode()).split(f"{END}\n")
    assert rest == ""
    return parts


async def test_each_example_does_what_the_page_says(serve, tmp_path):
    simulator = await serve(key=KEY, time_scale=20, seed=1)
    (tmp_path / "talk.mp4").write_bytes(b"\0" * 1000)
    with_sdk = [each for each in EXAMPLES if "twelvelabs" in each]  # which leaves its connections open
    others = [each for each in EXAMPLES if each not in with_sdk]
    found = dict(zip(others, await outputs_of(others, simulator, tmp_path), strict=True))
    found |= zip(with_sdk, await outputs_of(with_sdk, simulator, tmp_path, warnings="ignore"), strict=True)
    for example, (printed, lines) in zip(EXAMPLES, PRINTED, strict=True):
        assert printed in found[example]
        assert found[example].count("\n") == lines


async def test_the_service_answers_when_an_asset_is_done(serve, reserved_port, tmp_path):
    simulator = await serve(key=KEY)
    environ = environ_of(simulator) | {"PORT": str(reserved_port)}
    process = await asyncio.create_subprocess_exec(sys.executable, str(SERVICE), env=environ, stdout=-1, stderr=-2)
    url = f"http://127.0.0.1:{reserved_port}/assets/"
    try:
        assert process.stdout is not None
        await asyncio.wait_for(process.stdout.readline(), 60)
        async with aiohttp.ClientSession() as session:

            async def get(asset_id):
                async with session.get(url + asset_id) as response:
                    return response.status, await response.text()

            asset_id = add(simulator)
            answers = await asyncio.gather(*(get(asset_id) for _ in range(50)))
            assert {status for status, _ in answers} == {200}
            assert all('"outcome": "ready"' in text for _, text in answers)
            assert (await get("a.b"))[0] == 400
            unending = simulator.store.add(Lifecycle(ends_after=1e9))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(get(unending), 0.5)
            await eventually(lambda: simulator.stats.looks[unending] > 0)
        await asyncio.sleep(0.7)
        looks = simulator.stats.looks[unending]
        await asyncio.sleep(0.7)
        assert simulator.stats.looks[unending] == looks
    finally:
        process.terminate()
        await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0


def test_a_module_of_the_readme_links_the_page():
    assert "docs/python.md" in (ROOT / "README.md").read_text()
