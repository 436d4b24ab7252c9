"""The admin endpoints of a run with `--admin-port 0`."""

from __future__ import annotations

import asyncio

import aiohttp

from tests.integration.processes import Run


async def admin_of(run: Run) -> str:
    """The URL of the admin endpoints."""
    [address] = (await run.until("admin.serving"))["addresses"]
    return f"http://{address}"


async def status_of(admin: str) -> tuple[int, list[str]]:
    """The status and the problems of `/readyz`; `/healthz` must answer 200."""
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{admin}/healthz") as response:
            assert response.status == 200
        async with session.get(f"{admin}/readyz") as response:
            return response.status, (await response.json())["problems"]


async def until_ready(run: Run, *problems: str) -> None:
    """Wait until `/readyz` reports exactly these problems.

    Raises:
        AssertionError: it does not within a minute.
    """
    admin = await admin_of(run)
    wanted = (503 if problems else 200, list(problems))
    deadline = asyncio.get_running_loop().time() + 60
    while (found := await status_of(admin)) != wanted:
        assert asyncio.get_running_loop().time() < deadline, f"{found} instead of {wanted}: {run.stderr[-4000:]}"
        await asyncio.sleep(0.05)
